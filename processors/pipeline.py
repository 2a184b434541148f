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
from schemas.codec import Codec
from schemas.coverage import Outcome
from schemas.errors import DeadLetterError

PartitionKey = tuple[str, int]
"""A topic and a partition number."""
Ready = Callable[[Decision], bool]
"""Says whether what scores for a decision is there."""


def decision_of(batch: Batch[Slot]) -> Decision:
    """Return what decides about the windows of a batch."""
    return batch.items[0].run.decision


def trace_of(batch: Batch[Slot]) -> str | None:
    """Return the trace that a batch belongs to: that of its first window that has one."""
    return next((slot.traceparent for slot in batch.items if slot.traceparent is not None), None)


class Pipeline:
    """All partitions that one worker reads, and the batches that their windows share.

    `decision` is what decides, unless a course is set for a topic (`set_course`): then it gives the rules
    only. Windows of different decisions never share a batch. `decided` is given every window, in the order of
    its run, once its outcome counts.
    """

    def __init__(
        self,
        decision: Decision,
        codec: Codec,
        batch: BatchSettings | None = None,
        decided: Callable[[Slot], None] | None = None,
    ) -> None:
        self.decision = decision
        self.partitions: dict[PartitionKey, Partition] = {}
        self._codec, self._decided = codec, decided
        self._batch = batch or BatchSettings()
        self._batchers: dict[str, tuple[Decision, Batcher[Slot]]] = {}
        self._courses: dict[str, Course] = {}
        self._outputs: list[Output] = []
        self._scoring: set[Batch[Slot]] = set()
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
            self._batchers[decision.digest] = decision, Batcher(self._batch)
        self._batchers[decision.digest][1].feed(slot, pcm, slot.feed.now_s)

    def feed(self, key: PartitionKey, records: Sequence[LogRecord], feed: Feed) -> None:
        """Take the next records of a partition.

        Raises:
            LogOrderError: they are not the next ones.
            SchemaUnresolvedError: the registry must be asked before the record at the partition's position
                can be decoded; the ones before it have been taken.

        """
        take = self.partitions[key].feed
        for record in records:
            take(record, feed)

    def reject(self, key: PartitionKey, record: LogRecord, error: DeadLetterError) -> None:
        """Take the next record of a partition as one that cannot be read."""
        self.partitions[key].reject(record, error)

    def due_s(self, ready: Ready | None = None) -> float | None:
        """Return when the next batch is to be taken, or None while nothing waits that is `ready`."""
        waiting = self._waiting(ready)
        return waiting[0].due_s() if waiting else None

    def take(self, now_s: float, ready: Ready | None = None) -> Batch[Slot] | None:
        """Return the next batch to score, if one is due of a decision that is `ready`: by default all are."""
        waiting = self._waiting(ready)
        batch = waiting[0].take(now_s) if waiting else None
        if batch is not None:
            self._scoring.add(batch)
            for slot in batch.items:
                slot.batched_s = now_s
        return batch

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
        for slot in batch.items:
            slot.scored_by = identity
        self._settle(batch, outcomes, list(scores), now_s)

    def failed(self, batch: Batch[Slot], now_s: float) -> None:
        """Take the scorer's final error for a batch: its windows are FAILED."""
        self._settle(batch, [Outcome.FAILED] * len(batch.items), None, now_s)

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
        self._scoring.remove(batch)
        for at, (slot, outcome) in enumerate(zip(batch.items, outcomes, strict=True)):
            slot.outcome, slot.scored_s = outcome, now_s
            if outcome is Outcome.SCORED and scores is not None:
                slot.scores = scores[at]
        for run in dict.fromkeys(slot.run for slot in batch.items):
            self.partitions[run.partition].advance(run)
