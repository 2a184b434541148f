"""Stretches of the log -> detections in the range that is meant, in this process and thread."""

import heapq
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace

from earwitness.analysis.plan import InRange, Plan
from earwitness.scoring import in_process
from earwitness.settings import Settings
from processors.batch import BatchSettings
from processors.decision import Decision
from processors.log import LogReader, Record
from processors.partition import Output, Start
from processors.pipeline import PartitionKey, Pipeline
from processors.replay import TICK_S, Replayer, Stop, Stretch, paced, start_of
from processors.run import Slot
from processors.score import OnnxScorer, Pcm, Scores
from schemas.deadletter import DeadLetter
from schemas.detection import Detection

PROGRESS_RECORDS = 2000
PACED_KBYTES = 8192
"""A paced replay reads each partition on its own, and ahead of time."""


@dataclass(slots=True)
class Report:
    """What was listened to, and how long that took.

    `records` were read, `frames` of them are of the sensors that are meant; windows by outcome and seconds of
    sound are those in the range; they were appended from `begin_ms` to `end_ms`, None where there are none.
    """

    records: int = 0
    frames: int = 0
    windows: dict[str, int] = field(default_factory=dict)
    sound_s: float = 0.0
    dead_letters: int = 0
    elapsed_s: float = 0.0
    begin_ms: int | None = None
    end_ms: int | None = None

    def count(self, slot: Slot) -> None:
        """Count a window of the range, and the sound that it adds."""
        outcome, fresh = str(slot.outcome), slot.window.fresh
        self.windows[outcome] = self.windows.get(outcome, 0) + 1
        self._span(slot.window.appended_ms, slot.window.appended_ms)
        self.sound_s += (fresh.end_sample - fresh.start_sample) / slot.run.place.rate_hz

    def add(self, other: "Report") -> None:
        """Add what another partition had."""
        self.records += other.records
        self.frames += other.frames
        self.sound_s += other.sound_s
        self.dead_letters += other.dead_letters
        self.elapsed_s = max(self.elapsed_s, other.elapsed_s)
        for outcome, count in other.windows.items():
            self.windows[outcome] = self.windows.get(outcome, 0) + count
        if other.begin_ms is not None and other.end_ms is not None:
            self._span(other.begin_ms, other.end_ms)

    def _span(self, begin_ms: int, end_ms: int) -> None:
        self.begin_ms = begin_ms if self.begin_ms is None else min(self.begin_ms, begin_ms)
        self.end_ms = end_ms if self.end_ms is None else max(self.end_ms, end_ms)


@dataclass(frozen=True, slots=True)
class Progress:
    """More records have been read."""

    records: int


Told = Detection | Progress | Report
"""What listening yields; a Report ends each partition."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Records appended at `begin_ms` are due at `begin_s` of the monotonic clock, which processes share."""

    speed: float
    begin_ms: int
    begin_s: float


class Listener:
    """Listens in this process and thread, with parts of its own.

    `decided` is given every window that has anything of the range, with its outcome and scores.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        stop: Stop,
        pace: Pace | None = None,
        decided: Callable[[Slot], None] | None = None,
    ) -> None:
        self._client, self._plan, self._pace, self._stop = settings.kafka.librdkafka(), plan, pace, stop
        decision, codec = settings.decision(), settings.codec()
        self._rules = decision.rules
        self._heard, self._in_range = decided, InRange(plan)
        batch = BatchSettings(max_windows=settings.batch.max_windows, max_wait_ms=0)
        pipeline = Pipeline(decision, codec, batch, self._decided)
        for topic in {stretch.topic for stretch in plan.stretches}:
            pipeline.set_course(topic, plan.course)
        self._replayer = Replayer(pipeline, codec, _Scorers(settings).run, self._wanted)
        self._report, self._told_records = Report(), 0

    def listen(self) -> Iterator[Told]:
        """Listen to all stretches of the plan at once; the Report comes last."""
        began_s = time.monotonic()
        with LogReader(self._client) as reader:
            starts = {s.key: start_of(reader, s, self._rules) for s in self._plan.stretches}
            with closing(self._records(reader, starts)) as records:  # before its reader is
                for output in self._replayer.run(starts, records):
                    yield from self._tell(output)
            quiet = [s.key for s in self._plan.stretches if self._has_gone_quiet(reader, s)]
            for output in self._replayer.finish(quiet):
                yield from self._tell(output)
        yield from self._in_range.rest()
        report = self._report
        report.records, report.frames = self._replayer.records, self._replayer.frames
        report.elapsed_s = time.monotonic() - began_s
        yield report

    def _records(self, reader: LogReader, starts: Mapping[PartitionKey, Start]) -> Generator[Record | None]:
        stretches = [replace(s, first=starts[s.key].scan_from) for s in self._plan.stretches]
        if self._pace is not None:
            yield from self._paced(stretches, self._pace)
            return
        for topic in sorted({s.topic for s in stretches}):
            wanted = {s.partition: (s.first, s.end) for s in stretches if s.topic == topic}
            for record in reader.read(topic, wanted):
                if self._stop.is_set():
                    return
                yield record

    def _paced(self, stretches: Sequence[Stretch], pace: Pace) -> Iterator[Record | None]:
        """Read all partitions in the order of their append times, each through a reader of its own."""
        client = {**self._client, "queued.max.messages.kbytes": PACED_KBYTES}
        with ExitStack() as stack:
            logs = [
                stack.enter_context(LogReader(client)).read(s.topic, {s.partition: (s.first, s.end)})
                for s in stretches
            ]
            in_order = heapq.merge(*logs, key=lambda record: record.timestamp)
            yield from paced(in_order, self._awaited, pace.speed, pace.begin_ms, pace.begin_s, self._stop)

    def _tell(self, output: Output) -> Iterator[Told]:
        record = output.record
        if isinstance(record, Detection):
            yield from self._in_range.feed(record)
        elif isinstance(record, DeadLetter):
            self._report.dead_letters += 1
        if self._replayer.records >= self._told_records + PROGRESS_RECORDS:
            yield Progress(self._replayer.records - self._told_records)
            self._told_records = self._replayer.records

    def _wanted(self, key: bytes) -> bool:
        return self._plan.wanted.names(key.decode("utf-8", "replace"))

    def _awaited(self, record: Record) -> bool:
        return record.key is not None and self._wanted(record.key)

    def _decided(self, slot: Slot) -> None:
        if not self._plan.holds(slot.run.place.partition, slot.window):
            return
        self._report.count(slot)
        if self._heard is not None:
            self._heard(slot)

    def _has_gone_quiet(self, reader: LogReader, stretch: Stretch) -> bool:
        """Say whether a worker would have closed every run by now: the log ends here, and has for a while."""
        if self._stop.is_set() or stretch.end < reader.limits_of(*stretch.key)[1]:
            return False  # what lives has grown meanwhile, whatever our clock says
        last = reader.at(*stretch.key, stretch.end - 1)
        quiet_s = self._rules.idle_s + self._rules.margin_s + TICK_S
        return last is not None and time.time() - last.timestamp / 1000 > quiet_s


class _Scorers:
    """Scores in this process, with a model for each decision; each is opened when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: dict[str, OnnxScorer] = {}

    def run(self, decision: Decision, pcm: Pcm) -> Scores:
        """Return float32[B, labels] for int16[B, window_samples].

        Raises:
            ConfigurationError: the model is not there, or is another than the one that was rolled out.

        """
        if decision.digest not in self._open:
            self._open[decision.digest] = in_process(self._settings, decision.spec)
        return self._open[decision.digest].run(pcm)
