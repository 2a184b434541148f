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
from processors.decision import Decision
from processors.partition import LogRecord, Output, Partition, Start
from processors.run import Slot
from schemas.codec import Codec
from schemas.coverage import Outcome
from schemas.errors import DeadLetterError

PartitionKey = tuple[str, int]
"""A topic and a partition number."""


class Pipeline:
    """All partitions that one worker reads, and the batches that their windows share.

    `decided` is given every window, in the order of its run, once its outcome counts.
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
        self._batcher: Batcher[Slot] = Batcher(batch or BatchSettings())
        self._outputs: list[Output] = []
        self._scoring: set[Batch[Slot]] = set()
        self._counts: Counter[str] = Counter()

    @property
    def backlog(self) -> int:
        """Windows that wait, or are being scored."""
        return len(self._batcher) + sum(len(batch.items) for batch in self._scoring)

    def assign(self, starts: Mapping[PartitionKey, Start]) -> None:
        """Begin a generation: read these partitions, from these offsets, and nothing else."""
        self._batcher.reset()
        self._scoring.clear()
        self._outputs.clear()
        emit, score, counts = self._outputs.append, self._batcher.feed, self._counts
        self.partitions = {
            key: Partition(*key, start, self.decision, self._codec, emit, score, counts, self._decided)
            for key, start in starts.items()
        }

    def feed(self, key: PartitionKey, records: Sequence[LogRecord], now_s: float) -> None:
        """Take the next records of a partition.

        Raises:
            LogOrderError: they are not the next ones.
            SchemaUnresolvedError: the registry must be asked before the record at the partition's position
                can be decoded; the ones before it have been taken.

        """
        feed = self.partitions[key].feed
        for record in records:
            feed(record, now_s)

    def reject(self, key: PartitionKey, record: LogRecord, error: DeadLetterError) -> None:
        """Take the next record of a partition as one that cannot be read."""
        self.partitions[key].reject(record, error)

    def due_s(self) -> float | None:
        """Return when the next batch is to be taken, or None while nothing waits."""
        return self._batcher.due_s()

    def take(self, now_s: float) -> Batch[Slot] | None:
        """Return the next batch to score, if one is due."""
        batch = self._batcher.take(now_s)
        if batch is not None:
            self._scoring.add(batch)
            for slot in batch.items:
                slot.batched_s = now_s
        return batch

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
