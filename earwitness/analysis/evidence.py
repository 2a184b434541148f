"""A sensor's time, or detections -> their files, and what could not be had of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from earwitness.analysis.asked import AskedTime
from earwitness.analysis.export import Exporter, Request, Written
from earwitness.analysis.lookup import Lookup, upserted
from earwitness.analysis.outcome import SEAM_US
from earwitness.analysis.piece import TimeCut, WholeFrames
from earwitness.analysis.tables import detections_in
from earwitness.analysis.wanted import TimeBase, Wanted
from earwitness.analysis.whereabouts import bounded, nothing_there, whereabouts
from schemas.detection import Detection
from schemas.errors import ConfigurationError

FROM_STDIN = "-"
MAX_STDIN_DETECTIONS = 10_000


@dataclass(frozen=True, slots=True)
class Lack:
    """What could not be had; `failed` where nothing was written of what was asked for."""

    text: str
    failed: bool = False

    def as_line(self) -> str:
        """Return what a person wants to know."""
        return f"earwitness: {self.text}"


def of_time(lookup: Lookup, exporter: Exporter, wanted: Wanted) -> Iterator[Written | Lack]:
    """Write the sound of one sensor in a time, and what was detected in it.

    Raises:
        ConfigurationError: there is no sound.

    """
    detections = lookup.detections(wanted)
    if exporter.wants_sound:
        written = False
        for written_file in exporter.sound(_request(lookup, wanted, detections)):
            written = True
            yield written_file
        if not written:
            raise nothing_there(lookup, wanted)
        yield from _without(wanted, exporter.heard_us)
    yield from exporter.tables(detections)


def of_detections(
    exporter: Exporter, detections: Sequence[Detection], margin_s: float
) -> Iterator[Written | Lack]:
    """Write the sound of detections with some more around each, and all of them into tables.

    Raises:
        ConfigurationError: it is one detection, and its sound is not there any more.

    """
    for detection in detections if exporter.wants_sound else ():
        try:
            yield from exporter.around(detection, margin_s, detections)
        except ConfigurationError as exc:
            if len(detections) == 1:
                raise
            yield Lack(f"{detection.id}: {exc}", failed=True)
    yield from exporter.tables(detections)


def named(lookup: Lookup, names: Sequence[str], stdin: IO[bytes]) -> list[Detection]:
    """Return detections that are named by id or place; those of `-` come as lines of JSON.

    Raises:
        ConfigurationError: there is none, or too many.

    """
    found: list[Detection] = []
    for name in names:
        found.extend(_from(stdin) if name == FROM_STDIN else [lookup.detection(name)])
    if not found:
        raise ConfigurationError(
            "detections", "none", "at least one, such as `earwitness watch --json` prints"
        )
    return upserted(found)


def _from(stdin: IO[bytes]) -> Iterator[Detection]:
    for number, detection in enumerate(detections_in(stdin, "standard input")):
        if number == MAX_STDIN_DETECTIONS:
            accepted = f"at most {MAX_STDIN_DETECTIONS} detections at a time"
            raise ConfigurationError("standard input", "more lines", accepted)
        yield detection


def _request(lookup: Lookup, wanted: Wanted, detections: Sequence[Detection]) -> Request:
    begin_us, end_us = bounded(wanted)
    where = whereabouts(lookup, wanted)
    if wanted.clock is TimeBase.BROKER:
        return Request(where, WholeFrames(), detections)
    return Request(where, TimeCut(begin_us, end_us), detections, AskedTime(begin_us, end_us))


def _without(wanted: Wanted, heard_us: int) -> Iterator[Lack]:
    begin_us, end_us = bounded(wanted)
    without_us = end_us - begin_us - heard_us
    if wanted.clock is TimeBase.SENSOR and without_us > SEAM_US:
        without = f"{without_us / 1e6:.3f} s of the {(end_us - begin_us) / 1e6:.3f} s that were asked for"
        yield Lack(f"no sound of {without}: `earwitness timeline` shows when and why")
