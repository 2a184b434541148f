"""Records -> pipeline -> scorer -> publisher: keeps everything moving, on one event loop, without Faust.

    feed ─► Pipeline ─► take ─► Scorer ─► scored ─► outputs ─► Publisher ─► acknowledged
              └── a timer, so that a lone window does not wait for company longer than it may

It waits, retries and counts, and decides nothing about audio.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from time import monotonic, time

from processors.asker import Asker
from processors.batch import Batch, BatchSettings
from processors.deadline import Deadline
from processors.metrics import Metrics
from processors.parked import Parked
from processors.partition import LogRecord
from processors.pipeline import PartitionKey, Pipeline, decision_of, trace_of
from processors.publish import Publisher
from processors.run import Feed, Slot
from processors.scorers import Scorers
from schemas.codec import Codec
from schemas.coverage import Outcome
from schemas.errors import ScorerError

logger = logging.getLogger(__name__)

Fetched = Mapping[PartitionKey, Sequence[LogRecord]]


class Engine:
    """Drives one pipeline; `fail` is called with whatever must end the process.

    With a `deadline` it sheds what cannot be heard in time, and scoring never holds back reading.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        codec: Codec,
        scorers: Scorers,
        publisher: Publisher,
        metrics: Metrics,
        batch: BatchSettings,
        fail: Callable[[Exception], None],
        deadline: Deadline | None = None,
    ) -> None:
        self.pipeline = pipeline
        self._deadline = deadline
        self._codec, self._scorers, self._publisher, self._metrics = codec, scorers, publisher, metrics
        self._limit, self._fail = batch.max_backlog_windows, fail
        self._scoring: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._overfull = False
        self._busy_since_s: float | None = None
        self._parked = Parked(pipeline, Asker(codec), self._pump_from_loop, fail)

    @property
    def overfull(self) -> bool:
        """Whether nothing more should be read for now: from the limit on, until half of it is left."""
        if self._deadline is not None:
            return self._publisher.full
        backlog = self.pipeline.backlog
        self._overfull = backlog >= self._limit or (self._overfull and backlog > self._limit // 2)
        return self._overfull or self._publisher.full

    @property
    def parked(self) -> set[PartitionKey]:
        """The partitions that wait for the schema registry or for room: read nothing more of them for now."""
        return self._parked.keys

    def feed(self, fetched: Fetched, fetched_s: float, is_current: Callable[[], bool]) -> None:
        """Take what was fetched; of what waits for the registry nothing, if it is not current any more."""
        feed = Feed(monotonic(), fetched_s)
        values = [record.value for records in fetched.values() for record in records]
        plain = iter(self._codec.plain_frames(values))
        feed.decoded_s = monotonic()
        for key, records in fetched.items():
            self._parked.feed(key, records, feed, list(islice(plain, len(records))), is_current)
        feed.windowed_s = monotonic()
        self.pump()

    def pump(self) -> None:
        """Score what is due and publish what is decided."""
        self._shed()
        while len(self._scoring) < self._scorers.concurrency:
            batch = self.pipeline.take(monotonic(), self._scorers.ready, self._busy_since_s)
            if batch is None:
                self._busy_since_s = None
                break
            task = asyncio.create_task(self._score(batch))
            self._scoring.add(task)
            task.add_done_callback(self._score_ended)
        else:  # what comes to be due from now on waits for the scorer
            self._busy_since_s = self._busy_since_s or monotonic()
        self._publisher.send(self.pipeline.outputs())
        self._parked.look()
        self._arm_timer()

    def _shed(self) -> None:
        if self._deadline is not None:
            before_ms = self._deadline.before_ms(time() * 1000)
            lost = self.pipeline.shed(before_ms, monotonic() - self._deadline.give_up_s)
            self._metrics.windows.labels(Outcome.SHED.value).inc(lost)

    async def drain(self, timeout_s: float) -> None:
        """Score what was read and publish what was decided, for a bounded time."""
        deadline = monotonic() + timeout_s
        self.pump()
        while self._scoring and monotonic() < deadline:
            await asyncio.wait(self._scoring, timeout=deadline - monotonic())
            self.pump()
        await self._publisher.drain(max(0.0, deadline - monotonic()))

    def close(self) -> None:
        """Start nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._parked.close()

    async def _score(self, batch: Batch[Slot]) -> None:
        started_s, scorer = monotonic(), self._scorers.scorer(decision_of(batch))
        try:
            scores, identity = await scorer.score(batch.pcm, trace_of(batch))
        except ScorerError as exc:
            logger.error("%d windows FAILED: %s", len(batch.items), exc)
            self.pipeline.failed(batch, monotonic())
        else:
            self._scorers.identity = identity
            self.pipeline.scored(batch, scores, monotonic(), identity)
        self._metrics.observe_batch(batch, monotonic() - started_s)
        if self._deadline is not None:
            self._deadline.called(monotonic() - started_s)

    def _score_ended(self, task: "asyncio.Task[None]") -> None:
        self._scoring.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._fail(error)
        else:
            self._pump_from_loop()

    def _pump_from_loop(self) -> None:
        try:
            self.pump()
        except Exception as exc:  # noqa: BLE001 - the event loop would log it and go on
            self._fail(exc)

    def _arm_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = self.pipeline.due_s(self._scorers.ready)
        if due_s is not None and len(self._scoring) < self._scorers.concurrency:
            delay_s = max(0.0, due_s - monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._pump_from_loop)
