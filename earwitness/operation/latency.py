"""audio.detections -> how long each stage took, against its target, and which of them is over.

Detections that begin are counted: of them the time from the window's last sample to the log is known.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from earwitness.analysis.wanted import Wanted
from earwitness.operation.health import Severity
from earwitness.watch import Headers, Published
from processors.log import LogReader, Stretches, read_as
from schemas.codec import Codec
from schemas.detection import Detection, DetectionState
from schemas.latency import LATENCY_HEADER, READINGS, TOTAL_P50_MS, TOTAL_P99_MS, Readings, target_ms

TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Timed:
    """A detection that begins, and its readings, that of its append among them."""

    published: Published
    readings: Readings

    def as_json(self) -> dict[str, Any]:
        """Return where it is, where its time went, and what is to blame."""
        found, stages = self.published.detection, self.readings.stages()
        return {
            "id": found.id,
            "sensor": found.sensor,
            "label": found.label,
            "appended_ms": self.published.appended_ms,
            "total_ms": self.readings.total_us / 1000,
            "stages_ms": {stage.name: stage.length_ms for stage in stages},
            "blame": self.readings.worst().name,
        }


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a range of the log says; detections without a header, or with somebody else's, are counted."""

    timed: Sequence[Timed]
    missing: int
    foreign: int

    def slowest(self, count: int) -> list[Timed]:
        """Return the detections that took longest, the slowest first."""
        return sorted(self.timed, key=lambda timed: -timed.readings.total_us)[:count]

    def blamed(self) -> Counter[str]:
        """Count, by the stage that is to blame, the detections that took longer than 99 % of them may."""
        slow = [one.readings for one in self.timed if one.readings.total_us > TOTAL_P99_MS * 1000]
        return Counter(readings.worst().name for readings in slow)

    def offsets_ms(self) -> dict[str, float]:
        """Return, by sensor, its smallest captured to appended, what is farthest from 0 first.

        It is an estimate of how far the sensor's clock is behind the broker's, plus its fastest transit.
        """
        found: dict[str, float] = {}
        for timed in self.timed:
            sensor, first = timed.published.detection.sensor, timed.readings.stages()[0]
            found[sensor] = min(found.get(sensor, first.length_ms), first.length_ms)
        return dict(sorted(found.items(), key=lambda item: -abs(item[1])))


@dataclass(frozen=True, slots=True)
class Figures:
    """How long a stage took; `target_ms` is of its p50, `target_p99_ms` the total alone has."""

    stage: str
    before: str
    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    target_ms: float
    target_p99_ms: float | None = None

    @property
    def over(self) -> bool:
        """Whether it took longer than it may."""
        slow = self.target_p99_ms is not None and self.p99_ms > self.target_p99_ms
        return slow or self.p50_ms > self.target_ms

    @property
    def level(self) -> Severity:
        """How bad that is: a stage may be slow where the whole is quick enough."""
        if not self.over:
            return Severity.OK
        return Severity.BROKEN if self.stage == TOTAL else Severity.WARN


def read_ledger(reader: LogReader, topic: str, codec: Codec, wanted: Wanted) -> Ledger:
    """Read the detections that were appended in a range.

    Raises:
        ConfigurationError: the topic does not exist, or no broker answers.

    """
    headers, timed, unread = Headers(), list[Timed](), Counter[bool]()
    for record in reader.read(topic, _stretches(reader, topic, wanted)):
        found = read_as(codec, Detection, record)
        if found is None or found.state is not DetectionState.ACTIVE or not wanted.names(found.sensor):
            continue
        published = headers.published(found, record)
        if published.readings is None:
            unread[LATENCY_HEADER in dict(record.headers)] += 1
        else:
            timed.append(Timed(published, published.readings))
    return Ledger(timed, missing=unread[False], foreign=unread[True])


def _stretches(reader: LogReader, topic: str, wanted: Wanted) -> Stretches:
    limits = reader.limits(topic)
    begin = {} if wanted.begin_us is None else reader.offsets_at(topic, wanted.begin_us // 1000)
    end = {} if wanted.end_us is None else reader.offsets_at(topic, wanted.end_us // 1000)
    return {number: (begin.get(number, low), end.get(number, high)) for number, (low, high) in limits.items()}


def _in_order(lengths: Mapping[tuple[str, str], list[float]]) -> list[tuple[tuple[str, str], list[float]]]:
    """Sort stages by where they end, then by where they begin: not all headers have all readings."""
    return sorted(lengths.items(), key=lambda found: tuple(READINGS.index(at) for at in reversed(found[0])))


def figures(timed: Iterable[Timed]) -> list[Figures]:
    """Return the figures of each stage in their order, and of the total."""
    lengths: dict[tuple[str, str], list[float]] = {}
    totals: list[float] = []
    for one in timed:
        totals.append(one.readings.total_us / 1000)
        for stage in one.readings.stages():
            lengths.setdefault((stage.before, stage.name), []).append(stage.length_ms)
    found = [_figures(name, since, ms, target_ms(since, name)) for (since, name), ms in _in_order(lengths)]
    if totals:
        found.append(_figures(TOTAL, "captured", totals, TOTAL_P50_MS, TOTAL_P99_MS))
    return found


def _figures(
    stage: str, before: str, lengths_ms: list[float], target: float, target_p99: float | None = None
) -> Figures:
    p50, p90, p99, longest = (float(value) for value in np.percentile(lengths_ms, (50, 90, 99, 100)))
    return Figures(stage, before, len(lengths_ms), p50, p90, p99, longest, target, target_p99)


def over(found: Iterable[Figures]) -> list[Figures]:
    """Return the stages that are over their targets, worst first."""
    slow = [one for one in found if one.over and one.stage != TOTAL]
    return sorted(slow, key=lambda one: one.target_ms - one.p50_ms)


def ledger_lines(ledger: Ledger, slowest: int) -> Iterator[str]:
    """Return it as JSON, an object a line: stages and total, sensors, detections, what is slow, left out."""
    for one in figures(ledger.timed):
        yield _line("stage" if one.stage != TOTAL else TOTAL, {**asdict(one), "over": one.over})
    for sensor, least_ms in ledger.offsets_ms().items():
        yield _line("sensor", {"sensor": sensor, "least_captured_to_appended_ms": least_ms})
    for timed in ledger.slowest(slowest):
        yield _line("detection", timed.as_json())
    yield _line("slow", {"over_ms": TOTAL_P99_MS, "blame": dict(ledger.blamed().most_common())})
    yield _line("left_out", {"missing": ledger.missing, "foreign": ledger.foreign})


def _line(kind: str, fields: dict[str, Any]) -> str:
    return json.dumps({"kind": kind, **fields}, ensure_ascii=False)
