"""The worker: a Faust app that hands what was fetched to the engine, and keeps the generations apart.

Whatever goes wrong in it ends the process: the log is the state, and whoever takes the partitions over begins
at the marks. How to live with Faust is said where it matters, here and in `transport`.

A worker that has lost its partitions and does not know, since it was frozen or cut off, confuses nobody:

- Its marks are refused: they are committed in the generation that they were made in (`transport`).
- What it still publishes follows from the log alone: same ids, same values as its successor's.
- Its ticks say what the broker's clock says, whoever appends them.
- Once it runs again it lets go of everything before it reads on, and joins anew (`_stood_still`).

So nothing has to be fenced by transactions, which would keep every output from readers until the next commit.
"""

import asyncio
import gc
import logging
from collections.abc import Mapping
from time import monotonic, time
from typing import Any, cast

from aiokafka.errors import KafkaError
from faust.types import TP
from mode.supervisors import CrashingSupervisor

from processors.accounts import Accounts
from processors.batch import BatchSettings
from processors.deadline import Deadline
from processors.decision import Decision
from processors.engine import Engine, Fetched
from processors.faust_app import heartbeat_s, make_app
from processors.following import Following
from processors.gauges import Gauges
from processors.leaving import DRAIN_S, Leaving
from processors.membership import Connections, WorkerSettings
from processors.metrics import Metrics
from processors.partition import Output, Start
from processors.pipeline import PartitionKey, Pipeline
from processors.positions import Positions
from processors.progress import Progress
from processors.publish import Publisher
from processors.pulse import Pulse
from processors.rollouts import Rollouts
from processors.roster import Roster
from processors.scorers import Scorers
from processors.transport import MAX_POLL_RECORDS, Fetch, FetchApp, FetchConsumer, fetches
from schemas.codec import Codec
from schemas.errors import ConfigurationError, StopError

logger = logging.getLogger(__name__)

CREATE_TIME = 0
WATCH_S = 0.5
REBALANCE_LIMIT_S, CATCH_UP_S = 60.0, 10.0
_STOOD_STILL = "stood still for %.1f s, %g s are allowed: others have our %d partitions by now, and we let go"


class Worker:
    """Everything of one worker process; made on the event loop that runs it."""

    def __init__(
        self,
        decision: Decision,
        codec: Codec,
        scorers: Scorers,
        metrics: Metrics,
        connections: Connections,
        settings: WorkerSettings,
        batch: BatchSettings,
        roster: Roster | None = None,
        rollouts: Rollouts | None = None,
    ) -> None:
        self.held: set[TP] = set()
        self._roster = roster
        self._metrics, self._scorers, self._rules = metrics, scorers, decision.rules
        self._connections, self._settings = connections, settings
        self._generation: int | None = None
        # The last heartbeat may have been one interval before: the session of the group began there.
        self.pulse = Pulse(settings.session_timeout_s - heartbeat_s(settings.session_timeout_s))
        self._rebalances = 0
        self._unassigned_since_s: float | None = monotonic()
        self._progress = Progress(self._end_of)
        quiet_s = self._rules.idle_s + self._rules.margin_s
        self._gauges, self._quiet_s = Gauges(metrics, scorers, roster, quiet_s), quiet_s
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._positions = Positions(connections.client, settings.group)
        self._deadline = Deadline(settings.deadline_ms) if settings.overload == "shed" else None
        self._accounts = accounts = Accounts(metrics, scorers, connections)
        self._publisher = Publisher(
            connections.client,
            codec,
            accounts.headers,
            self._published,
            self.fail,
            shadow=connections.shadow,
        )
        sheds = self._deadline is not None
        most = batch.max_backlog_windows + 2 * MAX_POLL_RECORDS  # no fetch of usual frames has more
        pipeline = Pipeline(decision, codec, batch, accounts.decided, sheds=sheds, most_windows=most)
        self._engine = Engine(
            pipeline, codec, scorers, self._publisher, metrics, batch, self.fail, self._deadline
        )
        self._partitions = pipeline.partitions
        self._leaving = Leaving(self._engine, self._publisher)
        self._following = Following(rollouts, pipeline, scorers, self._since_ms)
        self._app = self._make_app(settings)

    # -- life -------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether it is a settled member of its group and has caught up, or has tried for `CATCH_UP_S`.

        Whoever restarts workers one after another goes on when this is so: a group that is disturbed again
        before it has caught up begins at its marks again, and what is unread adds up.
        """
        settled = self._unassigned_since_s is None and not self._failed.done()
        return settled and (self._progress.caught_up() or self._progress.lasts_s > CATCH_UP_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then drain, commit and leave the group.

        Raises:
            StopError: nothing sensible could go on.
            Exception: whatever else ended it.

        """
        settings, topics = self._settings, self._connections.frames_topics
        if await asyncio.to_thread(self._positions.begin, topics, settings.begin_at):
            logger.info("group %s is new: it begins at %s", settings.group, settings.begin_at)
        await self._following.learn()
        tasks: list[asyncio.Future[Any]] = [
            asyncio.create_task(self._live()),
            asyncio.create_task(self._following.follow()),
            asyncio.create_task(self._watch()),
            asyncio.create_task(stop.wait()),
        ]
        try:
            ended, _ = await asyncio.wait([self._failed, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        except KafkaError as exc:  # such as rights that were taken away
            raise StopError(f"Kafka does not let this worker go on: {exc}") from exc
        finally:
            for task in tasks:
                task.cancel()
            await self._close()

    def fail(self, error: Exception) -> None:
        """End the process with this error; from now on nothing is committed."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def _live(self) -> None:
        await self._app.start()
        await self._app._crashed.wait()  # noqa: SLF001 - mode has no public name for it
        raise self._app.crash_reason or StopError("Faust ended without a reason")

    async def _close(self) -> None:
        self._leaving.ending = True
        self._engine.close()
        try:
            await asyncio.wait_for(self._app.stop(), timeout=3 * DRAIN_S)
        except TimeoutError:
            logger.warning("Faust did not stop within %g s: leaving without it", 3 * DRAIN_S)
        except (KafkaError, asyncio.CancelledError) as exc:  # from its own tasks, unless it is we who end
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            logger.warning("Faust did not stop in order: %s", str(exc) or "its tasks were cancelled")
        self._leaving.say_left()
        await self._publisher.close(0.0)
        await self._scorers.close()
        self._positions.close()
        await self._following.close()

    def _make_app(self, settings: WorkerSettings) -> FetchApp:
        app = make_app(self, self._connections, settings)
        app.on_rebalance_complete.connect(self._take_over)
        app.on_partitions_revoked.connect(self._let_go)
        # The default supervisor would restart an agent that raised, on half-updated state.
        topics = app.fetched_topics(self._connections.frames_topics)
        app.agent(topics, supervisor_strategy=CrashingSupervisor)(self._work)
        return app

    # -- reading ----------------------------------------------------------------------------------------

    async def _work(self, stream: Any) -> None:
        try:
            async for fetch in fetches(stream):
                if fetch.generation == self._generation:
                    await self._read(fetch)
        except Exception as exc:
            self.fail(exc)  # before Faust hears of it, and drains and commits what is half done
            raise

    async def _read(self, fetch: Fetch) -> None:
        if await self._stood_still():
            return
        self._check_clock(fetch)
        while not self._following.informed:
            self._hold_or_release()
            await self._following.news()
            if fetch.generation != self._generation:
                return
        fetched = cast(Fetched, fetch.records)  # a TP is a topic and a partition number
        for key in fetched:
            self._progress.fetched(key)
        self._engine.feed(fetched, fetch.fetched_s, lambda: fetch.generation == self._generation)
        parked = self._engine.parked
        for key in fetched.keys() - parked:
            self._progress.read(key, fetched[key][-1].timestamp)
        self._metrics.frames.inc(sum(map(len, fetch.records.values())))
        self._hold_or_release()

    def _check_clock(self, fetch: Fetch) -> None:
        if not self._connections.log_append_time:
            return
        for tp, records in fetch.records.items():
            if records[0].timestamp_type == CREATE_TIME:
                key = f"message.timestamp.type of {tp.topic}"
                raise ConfigurationError(key, "CreateTime", "LogAppendTime")

    def _hold_or_release(self) -> None:
        hold = self._engine.overfull or not self._following.informed
        self.held = {TP(*key) for key in (self._partitions if hold else self._engine.parked)}

    def _published(self, output: Output, appended_ms: int) -> None:
        self._accounts.published(output, appended_ms)
        if self._deadline is not None and self._connections.log_append_time:
            self._deadline.published(appended_ms, time() * 1000)

    def _since_ms(self) -> dict[str, int]:
        """Return, for each topic, the append time from which on frames are still to be read, or about."""
        since_ms = dict.fromkeys(self._connections.frames_topics, round(time() * 1000))
        for (topic, _), appended_ms in self._progress.unread_since_ms():
            since_ms[topic] = min(since_ms[topic], appended_ms)
        return since_ms

    def _end_of(self, key: PartitionKey) -> int | None:
        end: int | None = self._app.consumer.highwater(TP(*key))
        return end

    # -- generations ------------------------------------------------------------------------------------

    async def _take_over(self, *_: Any, **__: Any) -> None:
        """Begin a generation: a rebalance is over, and nothing has been read yet."""
        rebalances = self._rebalances
        generation, consumer = self._app.consumer_generation_id, cast(FetchConsumer, self._app.consumer)
        keys = [(tp.topic, tp.partition) for tp in consumer.assignment()]
        starts = await asyncio.to_thread(self._positions.starts, keys, self._rules) if keys else {}
        if self._roster is not None:
            counts = await asyncio.to_thread(self._positions.counts, [self._roster.topic])
            self._roster.split(counts[self._roster.topic])
        if (self._rebalances, self._app.consumer_generation_id) != (rebalances, generation):
            return  # another rebalance has begun, and will call again
        self._begin(generation, starts)
        consumer.start_from({TP(*key): start.scan_from for key, start in starts.items()})
        # What is alive now stays alive: collecting it again and again made the 99th percentile.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    async def _let_go(self, *_: Any, **__: Any) -> None:
        """End a generation: a rebalance has begun, and what could be drained has been."""
        self._rebalances += 1
        self._publisher.forget_waiting()
        self._begin(None, {})

    async def _stood_still(self) -> bool:
        """Let go of everything if our heartbeats stopped for nearly our session; return whether they did.

        Others have our partitions by then. To go on until the group says so would do no harm to detections
        and coverage, which have the same ids and values whoever says them, but a sensor's last state might
        come to be an old one. What was in flight before is appended all the same; what was not is dropped.
        """
        still_s = self.pulse.still_s()
        if still_s is None:
            return False
        if self._generation is not None:
            logger.warning(_STOOD_STILL, still_s, self.pulse.limit_s, len(self._partitions))
            await self._let_go()
            if not self._leaving.ending:
                await cast(FetchConsumer, self._app.consumer).rejoin()
        return True

    def _begin(self, generation: int | None, starts: Mapping[PartitionKey, Start]) -> None:
        self._engine.pipeline.assign(starts)
        self._partitions = self._engine.pipeline.partitions
        self._generation, self.held = generation, set()
        self._progress.begin(None if generation is None else self._partitions)
        self._unassigned_since_s = monotonic() if generation is None else None
        self._metrics.forget_partitions()
        for (topic, number), start in sorted(starts.items()):
            logger.info("%s[%d]@%d: ours; who is live from @%d", topic, number, start.start, start.scan_from)

    # -- for the transport ------------------------------------------------------------------------------

    @property
    def generation(self) -> int | None:
        """The group's generation that the marks belong to, or None while nothing is ours."""
        return self._generation

    def not_committed(self, reason: str, *, final: bool) -> None:
        """Say that marks were not committed; without `final` they soon will be, unless we stop."""
        if final or self._leaving.ending:
            logger.warning(
                "the marks were not committed: %s; whoever has our partitions reads it again", reason
            )

    def mark(self, tp: TP) -> int | None:
        """Return the offset to commit for a partition, or None while it is not ours."""
        partition = self._partitions.get((tp.topic, tp.partition))
        return None if partition is None or self._failed.done() else partition.mark()

    async def drain(self) -> None:
        """Score what was read and publish what was decided, for a bounded time."""
        if self._failed.done() or await self._stood_still():
            return
        await self._leaving.drain()
        await self._stood_still()
        self._leaving.count_left()

    # -- watching ---------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            await self._stood_still()
            now_s, since_s = monotonic(), self._unassigned_since_s
            if since_s is not None and now_s - since_s > REBALANCE_LIMIT_S:
                raise StopError(
                    f"no settled group for {REBALANCE_LIMIT_S:g} s: a rebalance that does not end"
                )
            self._engine.pump()
            self._hold_or_release()
            self._tick()
            self._progress.caught_up()
            self._gauges.of_models(self._following)
            self._gauges.of_work(self._engine, self._publisher)
            self._gauges.of_reading(self._engine, self._progress, self.held)

    def _tick(self) -> None:
        """Bring the broker's clock into partitions that have gone quiet with runs open (the second rule)."""
        if self._connections.shadow:
            return
        for key in self._progress.quiet(self._quiet_s):
            if self._partitions[key].open_runs and TP(*key) not in self.held:
                self._progress.fetched(key)
                self._publisher.tick(*key)
