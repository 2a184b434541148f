"""Faust on fetches: one Faust event carries the records that one fetch returned, of all partitions.

A stock Faust agent costs 70 to 190 µs a message, whatever its settings; small frames by the thousand need a
tenth of that. So the transport is subclassed, and Faust keeps what it is good at: group membership, agents,
lifecycle. Written for faust-streaming 0.15.3 (pinned); every override says what it replaces and why.

What is committed is not Faust's bookkeeping of acknowledgements but the pipeline's low-water marks, and
what is read first after a rebalance is what the owner says (`FetchOwner`), not the committed offset.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol, cast

import faust
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka import TopicPartition as AiokafkaTopicPartition
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.events import Event
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service
from mode.threads import WorkerThread

from processors.assignor import StickyAssignor
from processors.pulse import BEAT_S, Pulse
from processors.unpack import survive_header_names

ALL_HELD_WAIT_S, UNASSIGNED_WAIT_S = 0.005, 0.1
MAX_POLL_RECORDS = 1000
"""Of one fetch, and so of one event: bounds how long it can occupy the event loop, 3 ms at 3 µs a record."""
COMMIT_LIMIT_S, COMMIT_AGAIN_S = 3.0, 0.1
_FENCED = (IllegalGenerationError, UnknownMemberIdError, RebalanceInProgressError)


class FetchOwner(Protocol):
    """Who decides what is read, held and committed."""

    held: set[TP]
    """Partitions from which nothing is fetched for now."""
    pulse: Pulse
    """Beats on the thread that keeps the membership."""

    @property
    def generation(self) -> int | None:
        """The group's generation that the marks belong to, or None while nothing is ours."""
        ...

    def mark(self, tp: TP) -> int | None:
        """Return the offset to commit for a partition, or None for none yet."""
        ...

    async def drain(self) -> None:
        """Wait, for a bounded time, until what was decided has been published."""
        ...

    def not_committed(self, reason: str, *, final: bool) -> None:
        """Hear that marks were not committed, and with `final` that they never will be."""
        ...


@dataclass(slots=True, eq=False)
class Fetch:
    """What one fetch returned: consecutive records of each of some partitions.

    `fetched_s` is when it came, on the monotonic clock; `generation` the one that it belongs to.
    """

    records: Mapping[TP, Sequence[ConsumerRecord]]
    fetched_s: float
    generation: int | None = None


class FetchSchema(faust.Schema[Any, Any]):
    """Hands a fetch to the agent untouched."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Any]]:
        """Return the function that makes an event of a message."""

        async def decode(message: ConsumerMessage, *, propagate: bool = False) -> Event:
            value, message.value = message.value, None  # what Faust remembers of it stays light
            return Event(app, None, value, None, message)

        return decode


class _Thread(WorkerThread):
    """A thread that does not keep a process alive that has given up waiting for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.daemon = True


class FetchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that owns the aiokafka consumer."""

    Worker = _Thread

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        assert isinstance(transport, FetchTransport)  # noqa: S101 - it made this thread's consumer
        survive_header_names()
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes fetch_max_wait_ms=1500 and has no setting for the other; both are read at start.
        consumer._fetch_min_bytes = transport.fetch_min_bytes  # noqa: SLF001
        consumer._fetch_max_wait_ms = transport.fetch_max_wait_ms  # noqa: SLF001
        return consumer

    @Service.task
    async def _beat(self) -> None:
        pulse = cast(FetchTransport, self.transport).owner.pulse
        try:
            while not self.should_stop:
                pulse.beat()
                await asyncio.sleep(BEAT_S)
        finally:
            pulse.end()

    async def on_thread_stop(self) -> None:
        """Close the consumer."""
        # With the broker away aiokafka's fetcher raises the cancellation that it has itself asked for.
        with suppress(asyncio.CancelledError):
            await super().on_thread_stop()

    async def seek_all(self, offsets: Mapping[TP, int]) -> None:
        """Seek assigned partitions, on the consumer's own thread."""
        await self.call_thread(self._seek_all, offsets)

    async def _seek_all(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for tp, offset in offsets.items():
            partition = AiokafkaTopicPartition(tp.topic, tp.partition)
            if partition in assigned:
                consumer.seek(partition, offset)

    async def commit_as(self, generation: int, offsets: Mapping[TP, int]) -> bool:
        """Commit what was marked in one generation; return whether it was done.

        Replaces aiokafka's commit, which tries for as long as the broker is away, each time in the generation
        that it then has: marks made before a rebalance would be committed after it, over those of others.

        Raises:
            TimeoutError: the broker is away.
            KafkaError: the broker refused it, and would again.

        """
        return bool(await self.call_thread(self._commit_as, generation, offsets))

    async def _commit_as(self, generation: int, offsets: Mapping[TP, int]) -> bool:
        coordinator = self._ensure_consumer()._coordinator  # noqa: SLF001
        return await asyncio.wait_for(commit_marks(coordinator, generation, offsets), COMMIT_LIMIT_S)

    async def rejoin(self) -> None:
        """Have the consumer join its group anew, soon."""
        await self.cast_thread(self._rejoin)

    async def _rejoin(self) -> None:
        self._ensure_consumer()._coordinator.request_rejoin()  # noqa: SLF001

    async def keep_polling(self) -> None:
        """Tell aiokafka that we are alive although nothing may be fetched now."""
        await self.call_thread(self._enter_fetch_context)

    async def _enter_fetch_context(self) -> None:
        # Without this the coordinator leaves the group after max_poll_interval.
        with self._ensure_consumer()._fetcher._subscriptions.fetch_context():  # noqa: SLF001
            pass


class FetchConsumer(driver.Consumer):
    """A consumer whose messages are fetches, and whose commits are the owner's marks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._next: dict[TP, int] = {}
        self._owner: FetchOwner = cast(FetchTransport, self.transport).owner

    def _new_consumer_thread(self) -> FetchConsumerThread:
        return FetchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def start_from(self, offsets: Mapping[TP, int]) -> None:
        """Say where reading begins, once the rebalance that is going on is over."""
        self._next = dict(offsets)

    # -- fetching ---------------------------------------------------------------------------------------

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> Mapping[TP, list[Fetch]]:
        # Never pause_partitions: it edits a set that getmany iterates over, and loses records. Passing a
        # smaller copy holds partitions back as well; an empty one would mean all of them.
        wanted = set(active_partitions or ()) - self._owner.held
        if not wanted:
            return await self._nothing_wanted()
        fetched = await super()._getmany(wanted, timeout)
        records = {tp: found for tp, found in fetched.items() if found}
        # To Faust it is one message, of any of its partitions: each costs 200 µs, however little is in it.
        return {tp: [Fetch(records, monotonic())] for tp in list(records)[-1:]}

    async def _nothing_wanted(self) -> Mapping[TP, list[Fetch]]:
        await cast(FetchConsumerThread, self._thread).keep_polling()
        await asyncio.sleep(ALL_HELD_WAIT_S if self.assignment() else UNASSIGNED_WAIT_S)
        return {}

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's signature
        # The stock code sleeps a whole second when the buffers of all partitions are full.
        if self.flow_active and not self._active_partitions:
            return await self._nothing_wanted(), self._active_partitions
        return await super()._wait_next_records(timeout)

    def on_buffer_full(self, tp: TP) -> None:
        """Go on fetching from all partitions: whoever fetches waits for room for the next event."""

    def _to_message(self, tp: TP, record: Fetch) -> ConsumerMessage:
        for partition, found in record.records.items():
            self._next[partition] = found[-1].offset + 1
        last = record.records[tp][-1]
        record.generation = generation = self.app.consumer_generation_id
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            None,
            None,
            cast(Any, record),
            None,
            0,
            0,
            tp,
            generation_id=generation,
        )

    async def perform_seek(self) -> None:
        """Seek to the next record that has not been handed on: at first where the owner said.

        Replaces seeking to the committed offsets. Faust calls it at the end of a rebalance and whenever it
        throws away what it fetched during one; a time-out in here would wedge the worker, so it is quick.
        """
        self._read_offset.clear()
        await cast(FetchConsumerThread, self._thread).seek_all(self._next)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the owner drain and commit, then forget where we were."""
        await super().on_partitions_revoked(revoked)
        self._next.clear()

    # -- committing -------------------------------------------------------------------------------------

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter(self.assignment())

    def _new_offset(self, tp: TP) -> int | None:
        return self._owner.mark(tp)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        generation = self._owner.generation
        if generation is None:
            return False
        try:
            return await cast(FetchConsumerThread, self._thread).commit_as(generation, offsets)
        except _FENCED:
            self._owner.not_committed("the group has gone on without us", final=True)
        except TimeoutError:
            self._owner.not_committed(f"no answer within {COMMIT_LIMIT_S:g} s", final=False)
        return False

    async def rejoin(self) -> None:
        """Join the group anew, soon: what we hold may be others'."""
        await cast(FetchConsumerThread, self._thread).rejoin()

    async def wait_empty(self) -> None:
        """Drain for a bounded time, then commit the marks. Replaces waiting for acknowledgements."""
        await self._owner.drain()
        with suppress(TimeoutError):  # where not even the consumer's thread answers
            await asyncio.wait_for(self.commit(start_new_transaction=False), 2 * COMMIT_LIMIT_S)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: it looks for acknowledgements that we do not use, and would cry wolf."""


class FetchTransport(driver.Transport):
    """Makes fetch consumers."""

    Consumer = FetchConsumer
    owner: FetchOwner
    fetch_min_bytes: int
    fetch_max_wait_ms: int


class FetchApp(faust.App):
    """A Faust app whose topics deliver fetches."""

    def __init__(
        self, *args: Any, owner: FetchOwner, fetch_min_bytes: int, fetch_max_wait_ms: int, **kwargs: Any
    ) -> None:
        self._owner, self._fetch = owner, (fetch_min_bytes, fetch_max_wait_ms)
        super().__init__(*args, PartitionAssignor=StickyAssignor, **kwargs)

    def _new_transport(self) -> FetchTransport:
        transport = FetchTransport(self.conf.broker_consumer, self)
        transport.owner = self._owner
        transport.fetch_min_bytes, transport.fetch_max_wait_ms = self._fetch
        return transport

    def _create_directories(self) -> None:
        """Make none: there are no tables, and a worker may live on a read-only disk."""

    def fetched_topics(self, names: Iterable[str]) -> Any:
        """Return the topics as one stream of fetches, without acknowledgements."""
        return self.topic(*names, schema=FetchSchema(), acks=False)


async def commit_marks(coordinator: Any, generation: int, offsets: Mapping[TP, int]) -> bool:
    """Commit through aiokafka's coordinator, again and again while the broker is away, in one generation.

    Returns False, with nothing sent, once the coordinator is in another one. The broker refuses whoever is
    not in the group's generation, and that is all the fencing that marks need: each is true for good, and no
    more than a late one could take back what others have committed since.

    Raises:
        KafkaError: the broker refused it, and would again.

    """
    marks = {AiokafkaTopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
    while True:
        await coordinator.ensure_coordinator_known()
        async with coordinator._commit_lock:  # noqa: SLF001
            if coordinator.generation != generation:
                return False
            try:
                await coordinator._do_commit_offsets(None, marks)  # noqa: SLF001 - the request is made at once
                return True
            except KafkaError as exc:
                if isinstance(exc, _FENCED) or not exc.retriable:
                    raise
        await asyncio.sleep(COMMIT_AGAIN_S)


async def fetches(stream: Any) -> AsyncIterator[Fetch]:
    """Yield the fetches of an agent's stream."""
    async for event in stream.events():
        yield event.value
