"""Detections or a time -> files that other programs open: the sound, labels beside it, tables.

    Place, Cut ──► SoundReader ──► stretches ──► name.wav  name-2.wav  …   one file a stretch
                                       └───────► name.txt  name-2.txt  …   its labels, from its first sample
    detections ─────────────────────────────────► name.parquet             all of them, one file

Every file is written beside its place and moved there when it is whole. While it is written, sound takes
twice its size on the disk, and little memory.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from earwitness.analysis.piece import Cut, SampleCut
from earwitness.analysis.sound import Place, SoundReader
from earwitness.analysis.soundfiles import describe, write_flac, write_wav
from earwitness.analysis.stretch import Stretch, stretches
from earwitness.analysis.tables import (
    labels_in,
    write_audacity,
    write_csv,
    write_jsonl,
    write_parquet,
    write_raven,
)
from schemas.detection import Detection
from schemas.errors import ConfigurationError


class Form(StrEnum):
    """What a file holds, by how its name ends; the first ending that fits counts."""

    RAVEN = ".selections.txt"
    AUDACITY = ".txt"
    WAV = ".wav"
    FLAC = ".flac"
    PARQUET = ".parquet"
    CSV = ".csv"
    JSONL = ".jsonl"


PICTURE = ".png"
SOUND, LABELS = (Form.WAV, Form.FLAC), (Form.RAVEN, Form.AUDACITY)
_LABEL_WRITERS = {Form.RAVEN: write_raven, Form.AUDACITY: write_audacity}
_TABLE_WRITERS = {Form.CSV: write_csv, Form.JSONL: write_jsonl}


@dataclass(frozen=True, slots=True)
class Target:
    """A file that is asked for.

    Raises:
        ConfigurationError: from `named`, where the name ends in nothing that we write.

    """

    stem: str
    form: Form
    folder: Path

    @classmethod
    def named(cls, file: Path) -> "Target":
        """Read what is asked for from a file's name."""
        for form in Form:
            if file.name.lower().endswith(form) and len(file.name) > len(form):
                return cls(file.name[: -len(form)], form, file.parent)
        raise ConfigurationError("--out", str(file), f"a name that ends in {', '.join(Form)}")

    def file(self, number: int = 1) -> Path:
        """Return the file's name; the second is `name-2`."""
        return self.folder / f"{self.stem}{'' if number == 1 else f'-{number}'}{self.form}"


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
        missing, lost = "whole", told["missing_samples"]
        if lost:
            missing = f"{lost} samples ({lost / rate_hz:.3f} s) of it missing, as zeros"
        remark = f"; {self.remark}" if self.remark else ""
        heard = f"{told['start_utc']} to {told['end_utc']}, {samples / rate_hz:.3f} s at {rate_hz} Hz"
        return f"{self.file}: {told['sensor']} {heard}, {missing}{remark}"


def heard_us(files: Iterable[Written]) -> int:
    """Return how much time the sound in some files takes, each sound counted once."""
    sounds: Any = {file.content["first_offset"]: file.content for file in files if file.form in SOUND}
    return int(sum(one["end_us"] - one["start_us"] for one in sounds.values()))


def check_file(file: Path, endings: Sequence[str], *, force: bool) -> None:
    """Refuse a file that cannot be written.

    Raises:
        ConfigurationError: its name ends in something else, its folder is not there, or it is and nobody said
            `force`.

    """
    if not file.name.lower().endswith(tuple(endings)):
        raise ConfigurationError("--out", str(file), f"a name that ends in {', '.join(endings)}")
    if not file.parent.is_dir():
        raise ConfigurationError("--out", str(file), "a file in a folder that exists")
    if file.exists() and not force:
        raise ConfigurationError("--out", str(file), "a file that is not there yet, or --force")


class Exporter:
    """Writes what is asked for into `targets`.

    Raises:
        ConfigurationError: a file is there already and nobody said `force`, or its folder is not there.

    """

    def __init__(self, sounds: SoundReader, targets: Sequence[Target], *, force: bool = False) -> None:
        self._sounds, self._targets, self._force = sounds, targets, force
        self._numbers = 0
        for target in targets:
            check_file(target.file(), (target.form,), force=force)

    @property
    def wants_sound(self) -> bool:
        """Whether frames have to be read at all."""
        return any(target.form in (*SOUND, *LABELS) for target in self._targets)

    def around(
        self, detection: Detection, margin_s: float, labelled: Iterable[Detection]
    ) -> Iterator[Written]:
        """Write the sound of a detection with as much before and after it.

        Raises:
            ConfigurationError: its sound is not there any more.

        """
        margin = round(margin_s * detection.sample_rate_hz)
        cut = SampleCut(
            detection.epoch, max(0, detection.start_sample - margin), detection.end_sample + margin
        )
        place = Place(
            topic=detection.topic,
            partition=detection.partition,
            sensor=detection.sensor,
            first_offset=detection.first_offset,
            last_offset=detection.last_offset,
            length_ms=(detection.end_us - detection.start_us) // 1000,
            before_ms=round(margin_s * 1000),
            after_ms=round(margin_s * 1000),
        )
        yield from self.sound([(place, cut)], list(labelled), detection)

    def sound(
        self,
        places: Iterable[tuple[Place, Cut]],
        labelled: Sequence[Detection],
        detection: Detection | None = None,
    ) -> Iterator[Written]:
        """Write the sound that places hold, and labels beside it."""
        for place, cut in places:
            for stretch in stretches(self._sounds.pieces(place, cut), place.sensor):
                self._numbers += 1
                for target in self._targets:
                    if target.form in (*SOUND, *LABELS):
                        yield self._stretch(target, stretch, place, labelled, detection)

    def tables(self, detections: Sequence[Detection]) -> Iterator[Written]:
        """Write the tables, one row a detection."""
        for target in self._targets:
            file, rows = target.file(), {"rows": len(detections)}
            if target.form is Form.PARQUET:
                self._write(file, lambda part: write_parquet(detections, part))
                yield Written(file, target.form, rows)
            elif target.form in _TABLE_WRITERS:
                self._write_text(file, lambda out, form=target.form: _TABLE_WRITERS[form](detections, out))
                yield Written(file, target.form, rows)

    def _stretch(
        self,
        target: Target,
        stretch: Stretch,
        place: Place,
        labelled: Sequence[Detection],
        detection: Detection | None,
    ) -> Written:
        file, remark = target.file(self._numbers), ""
        if target.form in LABELS:
            labels = labels_in(labelled, stretch.epoch, stretch.first_sample, stretch.end_sample)
            self._write_text(file, lambda out: _LABEL_WRITERS[target.form](labels, out))
            return Written(file, target.form, {"rows": len(labels)})
        content = describe(stretch, place, detection)
        if target.form is Form.WAV:
            self._write(file, lambda part: write_wav(stretch, content, part))
        else:
            self._write(file, lambda part: write_flac(stretch, content, part))
            remark = "24 bits a sample: FLAC has no floats" if stretch.dtype != "int16" else ""
        return Written(file, target.form, content, remark)

    def _write_text(self, file: Path, write: Callable[..., None]) -> None:
        def into(part: Path) -> None:
            with part.open("w", encoding="utf-8", newline="") as out:
                write(out)

        self._write(file, into)

    def _write(self, file: Path, write: Callable[[Path], None]) -> None:
        check_file(file, tuple(Form), force=self._force)
        with _part_of(file) as part:
            write(part)


@contextmanager
def _part_of(file: Path) -> Iterator[Path]:
    """Give a file to write to that becomes `file` when it is whole, and is gone when it is not."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
