"""Sound and detections -> files that other programs open: the sound, labels beside it, tables.

    Request ──► SoundReader ──► passages ──► name.wav  name-2.wav  …   one file a passage
                                      └────► name.txt  name-2.txt  …   its labels, from its first sample
    detections ────────────────────────────► name.parquet             all of them, one file

While it is written, sound takes twice its size on the disk, and little memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.analysis.asked import Asked, AskedSamples
from earwitness.analysis.passage import Passage, passages
from earwitness.analysis.piece import Cut, SampleCut
from earwitness.analysis.sound import SoundReader, Whereabouts
from earwitness.analysis.soundfiles import describe, write_flac, write_wav
from earwitness.analysis.tables import (
    labels_in,
    write_audacity,
    write_csv,
    write_jsonl,
    write_parquet,
    write_raven,
)
from earwitness.analysis.target import LABELS, SOUND, Form, Target, check_target, part_of
from schemas.detection import Detection
from schemas.errors import ConfigurationError

_LABEL_WRITERS = {Form.RAVEN: write_raven, Form.AUDACITY: write_audacity}
_TABLE_WRITERS = {Form.CSV: write_csv, Form.JSONL: write_jsonl}


@dataclass(frozen=True, slots=True)
class Request:
    """Sound to write: where it is, what of it, the labels in it; `asked` is None where nobody can say."""

    where: Sequence[Whereabouts]
    cut: Cut
    labelled: Sequence[Detection]
    asked: Asked | None = None
    detection: Detection | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written, what is in it, and what is to be known about it."""

    file: Path
    form: Form
    content: Mapping[str, object]
    remark: str = ""

    def as_line(self) -> str:
        """Return what a person wants to know."""
        if self.form not in SOUND:
            return f"{self.file}: {self.content['rows']} detections"
        told: Any = self.content
        samples, rate_hz = told["end_sample"] - told["first_sample"], told["sample_rate_hz"]
        remark = f"; {self.remark}" if self.remark else ""
        heard = f"{told['start_utc']} to {told['end_utc']}, {samples / rate_hz:.3f} s at {rate_hz} Hz"
        return f"{self.file}: {told['sensor']} {heard}, {self._wholeness()}{remark}"

    def _wholeness(self) -> str:
        told: Any = self.content
        known = told["missing_before_samples"] is not None
        missing = [
            f"{told[key] / told['sample_rate_hz']:.3f} s {words}"
            for key, words in (
                ("missing_before_samples", "before it"),
                ("missing_samples", "in it (zeros)"),
                ("missing_after_samples", "after it"),
            )
            if told[key]
        ]
        if missing:
            return f"NOT WHOLE: missing {', '.join(missing)}"
        return "whole" if known else "nothing missing in it"


class Exporter:
    """Writes what is asked for into `targets`.

    Raises:
        ConfigurationError: a file is there already and nobody said `force`, or its folder is not there.

    """

    def __init__(self, sounds: SoundReader, targets: Sequence[Target], *, force: bool = False) -> None:
        self._sounds, self._targets, self._force = sounds, targets, force
        self.heard_us, self._numbers = 0, 0
        """How much sound has been exported so far, without what is missing in it."""
        for target in targets:
            check_target("--out", target.file(), (target.form,), force=force)

    @property
    def wants_sound(self) -> bool:
        """Whether frames have to be read at all."""
        return any(target.form in (*SOUND, *LABELS) for target in self._targets)

    def around(
        self, detection: Detection, margin_s: float, labelled: Sequence[Detection]
    ) -> Iterator[Written]:
        """Write the sound of a detection with as much before and after it.

        Raises:
            ConfigurationError: its sound is not there any more.

        """
        margin = round(margin_s * detection.sample_rate_hz)
        begin, end = detection.start_sample, detection.end_sample
        cut = SampleCut(detection.epoch, max(0, begin - margin), end + margin)
        where, number = _around(detection, margin_s), self._numbers
        yield from self.sound(Request([where], cut, labelled, AskedSamples(begin, end), detection))
        if self._numbers == number:
            raise ConfigurationError("sound", where.text, "offsets that still hold the detection's sound")

    def sound(self, request: Request) -> Iterator[Written]:
        """Write the sound that is requested, and labels beside it."""
        found = request.where
        if len(found) > 1:  # partitions were added: its sound may be in either, or in both
            found = self._sounds.sounding(found, request.cut)
        for number, where in enumerate(found, 1):
            for passage in passages(self._sounds.pieces(where, request.cut), where.sensor):
                passage.followed |= number < len(found)
                self._numbers += 1
                missing_us = passage.missing_samples * 1_000_000 // passage.sample_rate_hz
                self.heard_us += passage.end_us - passage.start_us - missing_us
                yield from self._passage(passage, where, request)

    def tables(self, detections: Sequence[Detection]) -> Iterator[Written]:
        """Write the tables, one row a detection."""
        for target in self._targets:
            rows = {"rows": len(detections)}
            if target.form is Form.PARQUET:
                yield self._write(target, 1, lambda part: write_parquet(detections, part), rows)
            elif target.form in _TABLE_WRITERS:
                write = _TABLE_WRITERS[target.form]
                yield self._write(target, 1, _into(lambda out, write=write: write(detections, out)), rows)

    def _passage(self, passage: Passage, where: Whereabouts, request: Request) -> Iterator[Written]:
        edges = None if request.asked is None else request.asked.edges(passage)
        for target in self._targets:
            if target.form in LABELS:
                yield self._labels(target, passage, request.labelled)
            elif target.form in SOUND:
                yield self._sound(target, passage, describe(passage, where, request.detection, edges))

    def _labels(self, target: Target, passage: Passage, labelled: Sequence[Detection]) -> Written:
        labels = labels_in(labelled, passage.epoch, passage.first_sample, passage.end_sample)
        write = _into(lambda out: _LABEL_WRITERS[target.form](labels, out))
        return self._write(target, self._numbers, write, {"rows": len(labels)})

    def _sound(self, target: Target, passage: Passage, content: Mapping[str, object]) -> Written:
        write = write_wav if target.form is Form.WAV else write_flac
        rounded = target.form is Form.FLAC and passage.dtype != "int16"
        remark = "24 bits a sample: FLAC has no floats" if rounded else ""
        return self._write(target, self._numbers, lambda part: write(passage, content, part), content, remark)

    def _write(
        self,
        target: Target,
        number: int,
        write: Callable[[Path], None],
        content: Mapping[str, object],
        remark: str = "",
    ) -> Written:
        file = target.file(number)
        check_target("--out", file, (target.form,), force=self._force)
        with part_of(file) as part:
            write(part)
        return Written(file, target.form, content, remark)


def _around(detection: Detection, margin_s: float) -> Whereabouts:
    return Whereabouts(
        topic=detection.topic,
        partition=detection.partition,
        sensor=detection.sensor,
        first_offset=detection.first_offset,
        last_offset=detection.last_offset,
        length_ms=(detection.end_us - detection.start_us) // 1000,
        before_ms=round(margin_s * 1000),
        after_ms=round(margin_s * 1000),
    )


def _into(write: Callable[..., None]) -> Callable[[Path], None]:
    """Return what writes a text file."""

    def into(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as out:
            write(out)

    return into
