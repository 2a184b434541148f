"""Pipeline: records in, detections out; live, replay, evaluation and benchmarks all drive this.

    feed(records) ──► partitions ──► batcher ──► take() ──► (a scorer, elsewhere) ──► scored()
                          └──────────────── outputs() ◄─────────────────────────────────┘

Pure: time comes in, and whoever drives it scores the batches, publishes the outputs, acknowledges them, and
commits the marks. Every assignment is a new generation (the fifth rule): nothing of the one before is kept,
and results that arrive for it are ignored.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from processors.batch import Batch, Batcher, BatchSettings
from processors.course import Course
from processors.decision import Decision
from processors.partition import LogRecord, Output, Partition, Start
from processors.pcm import Pcm
from processors.run import Feed, Slot
from processors.shed import Turns
from schemas.codec import Codec
from schemas.coverage import Outcome
from schemas.errors import BacklogFullError, DeadLetterError
from schemas.plain import PlainFrame

PartitionKey = tuple[str, int]
"""A topic and a partition number."""
Ready = Callable[[Decision], bool]
"""Says whether what scores for a decision is there."""
MAX_FLAC_VALUES = 1 << 25
"""Of one feed, where it is bounded, but for one frame: 0.25 s, at 7.6 ms for 2^20 of silence in 3.6 KB."""


def decision_of(batch: Batch[Slot]) -> Decision:
    """Return what decides about the windows of a batch."""
    return batch.items[0].run.decision


def trace_of(batch: Batch[Slot]) -> str | None:
    """Return the trace that a batch belongs to: that of its first window that has one."""
    return next((slot.traceparent for slot in batch.items if slot.traceparent is not None), None)


def _belongs(slot: Slot) -> tuple[tuple[str, int, str], int]:
    place = slot.run.place
    return (place.topic, place.partition, place.sensor), slot.window.appended_ms


class Pipeline:
    """All partitions that one worker reads, and the batches that their windows share.

    `decision` is what decides, unless a course is set for a topic (`set_course`): then it gives the rules
    only. Windows of different decisions never share a batch. `decided` is given every window, in the order of
    its run, once its outcome counts. One that `sheds` takes windows by turns, and gives up those that it is
    told to. More than `most_windows` never wait but for those of one record: a few bytes can hold many. With
    it one feed decodes no more than `MAX_FLAC_VALUES`, also of frames that then turn out not to count.
    """

    def __init__(
        self,
        decision: Decision,
        codec: Codec,
        batch: BatchSettings | None = None,
        decided: Callable[[Slot], None] | None = None,
        *,
        sheds: bool = False,
        most_windows: int | None = None,
    ) -> None:
        self._sheds, self._most_windows = sheds, most_windows
        self.decision = decision
        self.partitions: dict[PartitionKey, Partition] = {}
        self._codec, self._decided = codec, decided
        self._batch = batch or BatchSettings()
        self._batchers: dict[str, tuple[Decision, Batcher[Slot]]] = {}
        self._courses: dict[str, Course] = {}
        self._outputs: list[Output] = []
        self._scoring: dict[Batch[Slot], float] = {}
        self._counts: Counter[str] = Counter()

    @property
    def backlog(self) -> int:
        """Windows that wait, or are being scored."""
        waiting = sum(len(batcher) for _, batcher in self._batchers.values())
        return waiting + sum(len(batch.items) for batch in self._scoring)

    @property
    def pending(self) -> list[Decision]:
        """What decides about windows that wait, or are being scored."""
        waiting = [decision for decision, batcher in self._batchers.values() if len(batcher)]
        return waiting + [decision_of(batch) for batch in self._scoring]

    @property
    def oldest_s(self) -> float | None:
        """When the oldest window that waits, or is being scored, was ready; None where there is none."""
        waiting = [at_s for _, batcher in self._batchers.values() if (at_s := batcher.oldest_s) is not None]
        return min([*waiting, *(batch.oldest_s for batch in self._scoring)], default=None)

    def set_course(self, topic: str, course: Course) -> None:
        """Let the stages of a course decide for a topic; none may begin in what has been read."""
        self._courses[topic] = course
        for (name, _), partition in self.partitions.items():
            if name == topic:
                partition.course = course

    def assign(self, starts: Mapping[PartitionKey, Start]) -> None:
        """Begin a generation: read these partitions, from these offsets, and nothing else."""
        self._batchers.clear()
        self._scoring.clear()
        self._outputs.clear()
        self.partitions = {key: self._partition(key, start) for key, start in starts.items()}

    def _partition(self, key: PartitionKey, start: Start) -> Partition:
        emit, score, counts = self._outputs.append, self._queue, self._counts
        course = self._courses.get(key[0])
        return Partition(*key, start, self.decision, self._codec, emit, score, counts, self._decided, course)

    def _queue(self, slot: Slot, pcm: Pcm) -> None:
        decision = slot.run.decision
        if decision.digest not in self._batchers:
            turns = Turns(decision.spec.n, _belongs) if self._sheds else None
            self._batchers[decision.digest] = decision, Batcher(self._batch, turns)
        self._batchers[decision.digest][1].feed(slot, pcm, slot.feed.now_s)

    def feed(
        self,
        key: PartitionKey,
        records: Sequence[LogRecord],
        feed: Feed,
        plain: Sequence[PlainFrame | None] | None = None,
    ) -> None:
        """Take the next records of a partition; `plain` are the frames that have been read of them already.

        Raises:
            LogOrderError: they are not the next ones.
            SchemaUnresolvedError: the registry must be asked before the record at the partition's position
                can be decoded; the ones before it have been taken.
            BacklogFullError: so have some, and the others are to wait until less does, or for the next feed.

        """
        partition, bounded = self.partitions[key], self._most_windows is not None
        go_on, take = partition.go_on, partition.feed
        for record, frame in zip(records, [None] * len(records) if plain is None else plain, strict=True):
            if frame is None or not go_on(record, frame):
                if bounded and (feed.flac_values >= MAX_FLAC_VALUES or not self._has_room(1)):
                    raise BacklogFullError
                take(record, feed, frame)

    @property
    def half_empty(self) -> bool:
        """Whether no more than half as many windows wait as may."""
        return self._has_room(2)

    def _has_room(self, share: int) -> bool:
        most, backlog = self._most_windows, self.backlog
        if most is None or backlog * share <= most:
            return True
        # Where reading is never held, one window of each sensor may come at once, and wait.
        return self._sheds and backlog * share <= most + sum(p.run_count for p in self.partitions.values())

    def reject(self, key: PartitionKey, record: LogRecord, error: DeadLetterError) -> None:
        """Take the next record of a partition as one that cannot be read."""
        self.partitions[key].reject(record, error)

    def due_s(self, ready: Ready | None = None) -> float | None:
        """Return when the next batch is to be taken, or None while nothing waits that is `ready`."""
        waiting = self._waiting(ready)
        return waiting[0].due_s() if waiting else None

    def take(
        self, now_s: float, ready: Ready | None = None, busy_since_s: float | None = None
    ) -> Batch[Slot] | None:
        """Return the next batch to score, if one is due of a decision that is `ready`: by default all are.

        `busy_since_s` is since when nothing could score it, though it may have been due.
        """
        due = [batcher for batcher in self._waiting(ready) if (batcher.due_s() or 0.0) <= now_s]
        # Where some is shed, decisions have their shares like sensors; else the one that is due first goes.
        batch = min(due, key=lambda batcher: batcher.share).take(now_s) if due else None
        if batch is not None:
            self._scoring[batch] = now_s
            at_s = now_s if busy_since_s is None else max(busy_since_s, self._was_due_s(batch))
            for slot in batch.items:
                slot.batched_s = max(at_s, slot.feed.windowed_s or slot.feed.now_s)
        return batch

    def _was_due_s(self, batch: Batch[Slot]) -> float:
        """Return when a batch was full, or its oldest window had waited as long as it may."""
        waited_s = batch.oldest_s + self._batch.max_wait_ms / 1000
        full = len(batch.items) == self._batch.max_windows
        return min(waited_s, max(slot.feed.now_s for slot in batch.items)) if full else waited_s

    def _waiting(self, ready: Ready | None) -> list[Batcher[Slot]]:
        """Return the batchers in which something waits, the one that is due first first."""
        found = [
            (batcher.due_s() or 0.0, at, batcher)
            for at, (decision, batcher) in enumerate(self._batchers.values())
            if len(batcher) and (ready is None or ready(decision))
        ]
        return [batcher for _, _, batcher in sorted(found)]

    def scored(
        self, batch: Batch[Slot], scores: NDArray[np.float32], now_s: float, identity: str | None = None
    ) -> None:
        """Take a batch's scores, float32[B, labels], of a scoring identity. A row not finite is FAILED."""
        finite: list[bool] = np.isfinite(scores).all(axis=1).tolist()  # type: ignore[assignment]
        outcomes = [Outcome.SCORED if good else Outcome.FAILED for good in finite]
        if batch in self._scoring:
            for slot in batch.items:
                slot.scored_by = identity
        self._settle(batch, outcomes, list(scores), now_s)

    def failed(self, batch: Batch[Slot], now_s: float) -> None:
        """Take the scorer's final error for a batch: its windows are FAILED."""
        self._settle(batch, [Outcome.FAILED] * len(batch.items), None, now_s)

    def shed(self, before_ms: float, stuck_s: float) -> int:
        """Give up windows that wait and were appended before `before_ms`, or, the oldest, for want of room.

        So are batches that were taken before `stuck_s`: their scores will be ignored. Returns how many of the
        windows waited.
        """
        lost: list[Slot] = []
        for _, batcher in self._batchers.values():
            lost += batcher.shed(before_ms, self._room(len(batcher)))
        waited = len(lost)
        for batch in [batch for batch, taken_s in self._scoring.items() if taken_s < stuck_s]:
            del self._scoring[batch]
            lost += batch.items
        for slot in lost:
            slot.outcome = Outcome.SHED
        self._advance(lost)
        return waited

    def _room(self, waiting: int) -> int:
        """Return how many windows may wait: where all sensors are in phase, one of each comes at once."""
        most = self._batch.max_backlog_windows
        return most if waiting <= most else max(most, sum(p.open_runs for p in self.partitions.values()))

    def outputs(self) -> list[Output]:
        """Return what was decided since the last call, in order; publish and acknowledge each of them."""
        taken = self._outputs.copy()
        self._outputs.clear()
        return taken

    def take_counts(self) -> Mapping[str, int]:
        """Return how many frames were `late`, and windows a `gap`, since the last call."""
        taken = self._counts.copy()
        self._counts.clear()
        return taken

    def finish(self) -> None:
        """Close every run: the logs end here for good."""
        for partition in self.partitions.values():
            partition.finish()

    def _settle(
        self,
        batch: Batch[Slot],
        outcomes: list[Outcome],
        scores: list[NDArray[np.float32]] | None,
        now_s: float,
    ) -> None:
        if batch not in self._scoring:
            return  # of an earlier generation
        del self._scoring[batch]
        for at, (slot, outcome) in enumerate(zip(batch.items, outcomes, strict=True)):
            slot.outcome, slot.scored_s = outcome, now_s
            if outcome is Outcome.SCORED and scores is not None:
                slot.scores = scores[at]
        self._advance(batch.items)

    def _advance(self, slots: Sequence[Slot]) -> None:
        for run in dict.fromkeys(slot.run for slot in slots):
            self.partitions[run.partition].advance(run)
