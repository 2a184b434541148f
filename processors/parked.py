"""Records -> pipeline, at once or once the registry has answered: only the partitions that must wait do.

    feed ──► Pipeline, up to a record whose schema is not known
       │        └──► the partition is parked, with its records ──► Asker ──► Pipeline, or a dead letter
       └──► up to one for which there is no room: parked, too, until half of the windows are scored; or up
            to where one feed has decoded enough, until it is its turn again

What is fetched of a parked partition meanwhile queues behind; the shell fetches no more of it (`keys`).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from processors.asker import Asker
from processors.partition import LogRecord
from processors.pipeline import PartitionKey, Pipeline
from processors.run import Feed
from schemas.errors import BacklogFullError, SchemaUnresolvedError, UnknownSchemaError
from schemas.plain import PlainFrame

_Blocked = SchemaUnresolvedError | BacklogFullError


@dataclass(slots=True, eq=False)
class _Waiting:
    records: list[LogRecord]
    fetched_s: float | None
    is_current: Callable[[], bool]


class Parked:
    """Feeds a pipeline; `fed` is called when more of a parked partition was, `fail` with what must end it."""

    def __init__(
        self,
        pipeline: Pipeline,
        asker: Asker,
        fed: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._pipeline, self._asker, self._fed, self._fail = pipeline, asker, fed, fail
        self._waiting: dict[PartitionKey, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room, self._turn = asyncio.Event(), asyncio.Lock()
        self._closed = False

    @property
    def keys(self) -> set[PartitionKey]:
        """The partitions that wait for the registry, or for room."""
        return {key for key, waiting in self._waiting.items() if waiting.is_current()}

    def feed(
        self,
        key: PartitionKey,
        records: Sequence[LogRecord],
        feed: Feed,
        plain: Sequence[PlainFrame | None],
        is_current: Callable[[], bool],
    ) -> None:
        """Take the next records of a partition, now or behind those that wait, while it is current.

        Once closed it takes none: those that waited are not to be passed over.
        """
        if self._closed:
            return
        waiting = self._waiting.get(key)
        if waiting is not None and waiting.is_current():
            waiting.records.extend(records)
            return
        try:
            self._pipeline.feed(key, records, feed, plain)
        except (SchemaUnresolvedError, BacklogFullError) as exc:
            waiting = self._waiting[key] = _Waiting(list(records), feed.fetched_s, is_current)
            task = asyncio.create_task(self._go_on(key, waiting, exc))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def look(self) -> None:
        """Go on with what waits for room, if there is some."""
        if self._waiting and self._pipeline.half_empty:
            self._room.set()

    def close(self) -> None:
        """Let what waits wait for another worker."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        self._asker.close()

    async def _go_on(self, key: PartitionKey, waiting: _Waiting, blocked: _Blocked) -> None:
        why: _Blocked | None = blocked
        try:
            while why is not None:
                failure = await self._unblock(waiting, why)
                if not waiting.is_current():
                    return
                why = self._feed_on(key, waiting, failure)
                self._fed()
        finally:
            if self._waiting.get(key) is waiting:
                del self._waiting[key]

    async def _unblock(self, waiting: _Waiting, why: _Blocked) -> UnknownSchemaError | None:
        """Wait for what is waited for; return why a record cannot be read, if so."""
        if isinstance(why, SchemaUnresolvedError):
            failure = await self._asker.ask(why.schema_id)
            await asyncio.sleep(0)  # thousands may be refused without a question
            return failure
        while waiting.is_current() and not self._pipeline.half_empty:
            self._room.clear()
            await self._room.wait()
        async with self._turn:  # one after another, however many wait
            await asyncio.sleep(0)
        return None

    def _feed_on(
        self, key: PartitionKey, waiting: _Waiting, failure: UnknownSchemaError | None
    ) -> _Blocked | None:
        """Feed what can be fed; return what must be waited for next, if anything."""
        position, feed = self._pipeline.partitions[key].position, Feed(monotonic(), waiting.fetched_s)
        waiting.records = [record for record in waiting.records if record.offset >= position]
        if failure is not None:
            self._pipeline.reject(key, waiting.records[0], failure)
            waiting.records = waiting.records[1:]
        try:
            # What was read at once would have to be cut off as the records were: this is rare.
            self._pipeline.feed(key, waiting.records, feed)
        except (SchemaUnresolvedError, BacklogFullError) as exc:
            return exc
        finally:
            feed.windowed_s = monotonic()
        return None

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._fail(error)
