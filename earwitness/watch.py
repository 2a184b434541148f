"""Detections as they come: a table for people, JSON lines for programs."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TypeVar

from earwitness.analysis.wanted import utc_time
from processors.ledger import SCORER_HEADER
from processors.log import LogReader, Record, read_as
from schemas.codec import Codec
from schemas.detection import Detection, DetectionState
from schemas.latency import LATENCY_HEADER, Readings

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Published:
    """A detection as it stands in the log."""

    detection: Detection
    appended_ms: int
    offset: int
    scorer: str | None
    latency: Readings | None

    @property
    def latency_ms(self) -> float | None:
        """Capture of the deciding window's last sample to append, for a detection that begins."""
        if self.detection.state is not DetectionState.ACTIVE:
            return None
        return self.appended_ms - self.detection.end_us / 1000

    @property
    def readings(self) -> Readings | None:
        """What its header says, and when it was appended."""
        return self.latency and self.latency.published(self.appended_ms)

    def as_json(self) -> str:
        """Return everything on one line."""
        seen = {"appended_ms": self.appended_ms, "offset": self.offset, "scorer": self.scorer}
        stages = self.latency and self.latency.as_json()
        return json.dumps({**asdict(self.detection), **seen, "latency_ms": self.latency_ms, "stages": stages})

    def as_line(self) -> str:
        """Return what a person wants to see."""
        return as_text_line(self.detection, self.latency_ms)


def as_text_line(found: Detection, latency_ms: float | None = None) -> str:
    """Return when, who, what and how surely, and how late it was or how long."""
    start = utc_time(found.start_us).strftime("%H:%M:%S.%f")[:-3]
    length_s = (found.end_sample - found.start_sample) / found.sample_rate_hz
    score = "    -" if found.peak_score is None else f"{found.peak_score:5.2f}"
    tail = f"{length_s:5.1f} s" if latency_ms is None else f"latency {latency_ms:.0f} ms"
    again = " (goes on)" if found.continued else ""
    return f"{start}Z  {found.sensor:<16} {found.state:<6} {found.label:<16} {score}  {tail}{again}"


def as_json_line(found: Detection) -> str:
    """Return every field of a detection on one line."""
    return json.dumps(asdict(found), ensure_ascii=False)


def detections(
    reader: LogReader, topic: str, codec: Codec, stop: threading.Event, *, earliest: bool = False
) -> Iterator[Published]:
    """Yield the detections of a topic, from now on or from its start, until `stop` is set.

    Raises:
        ConfigurationError: the topic does not exist, or no broker answers.

    """
    begin = {number: low if earliest else high for number, (low, high) in reader.limits(topic).items()}
    headers = Headers()
    for record in reader.follow(topic, begin, stop.is_set):
        detection = None if record is None else read_as(codec, Detection, record)
        if record is not None and detection is not None:
            yield headers.published(detection, record)


class Headers:
    """Reads headers that anybody may have written: what is not as we write it is None, and said once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def published(self, detection: Detection, record: Record) -> Published:
        """Return a detection with what the headers of its record say."""
        return Published(
            detection=detection,
            appended_ms=record.timestamp,
            offset=record.offset,
            scorer=self._read(record, SCORER_HEADER, _text),
            latency=self._read(record, LATENCY_HEADER, Readings.from_wire),
        )

    def _read(self, record: Record, name: str, as_ours: Callable[[bytes], T]) -> T | None:
        value = dict(record.headers).get(name)
        try:
            return as_ours(value) if value else None
        except (ValueError, RecursionError) as exc:
            level = logging.DEBUG if name in self._said else logging.WARNING
            self._said.add(name)
            logger.log(level, "%s: header %s is not one of ours: %s", record.place, name, exc)
            return None


def _text(value: bytes) -> str:
    return value.decode()
