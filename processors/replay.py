"""Stretches of partitions' logs -> what a worker says of them: as fast as it goes, or paced by append times.

    scan_from ......... first .................................... end
    |-- who is live ---|-- the pipeline that runs live ------------|

It says what a worker that took over at `first` would say. Where the range that is meant begins `lead_s` later
and ends `tail_s` earlier, all that is said of the range is as if the whole log had been heard: by then it is
known what is active and a segment boundary has passed, and at the end what was open has ended.

Where rollouts change what decides, these times are the longest of all that may decide. A run that a rollout
opens needs less of a lead, since everything is off before it, and what a rollout closes has ended at once.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from processors.course import Course
from processors.decision import Decision, DecisionSettings
from processors.log import LogReader, Record
from processors.partition import Output, Start
from processors.pipeline import PartitionKey, Pipeline, decision_of
from processors.run import COVERAGE_WINDOWS, Feed
from processors.score import Pcm, Scores
from schemas.codec import Codec
from schemas.errors import SchemaUnresolvedError, ScorerError, UnknownSchemaError

logger = logging.getLogger(__name__)

SETTLE_RECORDS = 64
"""Records between two looks at what waits: frames may be a minute long."""
TICK_S = 5.0
"""A worker's tick is in the log by then, after a partition has gone quiet for as long as closes its runs."""


class Stop(Protocol):
    """A threading.Event, or one that processes share."""

    def is_set(self) -> bool:
        """Say whether to stop."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds, or until it is set; say whether it is."""
        ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """What to listen to again: the records `[first, end)` of a partition."""

    topic: str
    partition: int
    first: int
    end: int

    @property
    def key(self) -> PartitionKey:
        """The topic and the partition number."""
        return self.topic, self.partition


def deciding(course: Course) -> tuple[Decision, ...]:
    """Return all that may ever decide, each once."""
    stages = course.since(-1)
    return tuple({decision.digest: decision for stage in stages for decision in stage.decisions}.values())


def lead_s(course: Course) -> float:
    """Return how long before a range listening has to begin, for everything in the range to be known.

    A segment that reaches into the range begins after the boundary before it; to know what is active there,
    n windows before it must have been heard, and the first of these must be whole.
    """
    return max((_lead_s(decision) for decision in deciding(course)), default=0.0)


def tail_s(course: Course) -> float:
    """Return how long after a range listening has to go on, for everything in the range to have ended."""
    return max((_tail_s(decision) for decision in deciding(course)), default=0.0)


def settled_s(course: Course) -> float:
    """Return how long after a run's last record it is closed, and what was said of it complete."""
    return max((_settled_s(decision) for decision in deciding(course)), default=0.0)


def _lead_s(decision: Decision) -> float:
    spec = decision.spec
    return spec.window_s + (decision.rules.segment_windows + spec.n + 1) * spec.hop_s


def _tail_s(decision: Decision) -> float:
    return decision.spec.window_s + (decision.rules.segment_windows + 1) * decision.spec.hop_s


def _settled_s(decision: Decision) -> float:
    rules = decision.rules
    return rules.idle_s + rules.margin_s + COVERAGE_WINDOWS * decision.spec.hop_s


def start_of(reader: LogReader, stretch: Stretch, rules: DecisionSettings) -> Start:
    """Return where to begin, and from where to look who is live, as a worker that takes over does."""
    low, high = reader.limits_of(stretch.topic, stretch.partition)
    first = max(low, min(stretch.first, high))
    if first == low:
        return Start(first, first, cut=low > 0)
    before = reader.at(stretch.topic, stretch.partition, first - 1)
    if before is None:
        return Start(first, first, cut=True)
    since_ms = before.timestamp - round((rules.idle_s + 3 * rules.margin_s) * 1000)
    scan_from = reader.offset_at(stretch.topic, stretch.partition, since_ms)
    scan_from = max(low, min(scan_from, first))
    return Start(first, scan_from, cut=0 < low == scan_from)


class Replayer:
    """Drives the pipeline over stretches; `wanted` says of a record's key whether its sensor is meant.

    `score` scores windows for what decides about them.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        codec: Codec,
        score: Callable[[Decision, Pcm], Scores],
        wanted: Callable[[bytes], bool],
    ) -> None:
        self._pipeline, self._codec, self._score, self._wanted = pipeline, codec, score, wanted
        self.records = 0
        """How many were read so far, the scan included."""
        self.frames = 0
        """How many of them are of sensors that are meant."""

    def run(self, starts: Mapping[PartitionKey, Start], records: Iterable[Record | None]) -> Iterator[Output]:
        """Yield what is said of the records of some partitions, as soon as it is decided.

        The records of each partition begin at its `scan_from`. None among them means that the next one is not
        there yet. Runs that are open at the end stay open: `finish` closes them.

        Raises:
            LogOrderError: the records are not those of whole logs.
            SchemaUnresolvedError: the schema registry does not answer.

        """
        self._pipeline.assign(starts)
        self.records = self.frames = 0
        for record in records:
            if record is not None:
                self._take(record)
            if record is None or self.records % SETTLE_RECORDS == 0:
                yield from self._settle()
        yield from self._settle()

    def finish(self, keys: Iterable[PartitionKey]) -> Iterator[Output]:
        """Close what is open in some partitions, as a worker would once they have gone quiet."""
        for key in keys:
            self._pipeline.partitions[key].finish()
        yield from self._settle()

    def _take(self, record: Record) -> None:
        self.records += 1
        partition = self._pipeline.partitions[record.topic, record.partition]
        if record.key is not None and not self._wanted(record.key):
            partition.skip(record)
            return
        self.frames += record.key is not None
        try:
            partition.feed(record, Feed(0.0))
        except SchemaUnresolvedError as exc:
            try:
                self._codec.resolve(exc.schema_id)
            except UnknownSchemaError as unknown:
                partition.reject(record, unknown)
            else:
                partition.feed(record, Feed(0.0))

    def _settle(self) -> Iterator[Output]:
        pipeline = self._pipeline
        while (batch := pipeline.take(0.0)) is not None:
            try:
                pipeline.scored(batch, self._score(decision_of(batch), batch.pcm), 0.0)
            except ScorerError as exc:
                logger.error("%d windows FAILED: %s", len(batch.items), exc)
                pipeline.failed(batch, 0.0)
        for output in pipeline.outputs():
            output.acknowledged()
            yield output
        for partition in pipeline.partitions.values():
            partition.mark()  # lets go of the runs that have ended


def paced(
    records: Iterable[Record],
    awaited: Callable[[Record], bool],
    speed: float,
    begin_ms: int,
    begin_s: float,
    stop: Stop,
) -> Iterator[Record | None]:
    """Hand records on at `speed` times the pace at which they were appended, until `stop` is set.

    A record appended at `begin_ms` is due at `begin_s` of the monotonic clock. Those before it (of the scan
    and the lead) are due at once, and so are those that nobody has `awaited`; None comes before each wait.
    """
    for record in records:
        if not awaited(record):
            yield record
            continue
        due_s = begin_s + (record.timestamp - begin_ms) / 1000 / speed
        if due_s > time.monotonic():
            yield None
            while (early_s := due_s - time.monotonic()) > 0:
                if stop.wait(early_s):
                    return
        yield record
