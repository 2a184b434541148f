"""`earwitness work`: check everything that can be checked, then work until told to stop."""

import asyncio
import logging
import signal
import time

from earwitness.operation.sensors import roster_of
from earwitness.scoring import open_scorer
from earwitness.settings import Settings
from earwitness.topics import TopicAdmin, check_topics
from processors.app import Worker
from processors.decision import Decision
from processors.metrics import Metrics
from processors.rollouts import Rollouts
from processors.scorers import Scorers
from processors.status import serve_status
from schemas.codec import Codec
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.sensor import SensorState
from schemas.topics import Topics

logger = logging.getLogger(__name__)

LIVE, SHADOW = "earwitness", "earwitness_shadow"
"""What the names of metrics begin with."""


def work(settings: Settings) -> None:
    """Run a worker in this process until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: it cannot work with these settings, topics or model.
        StopError: nothing sensible could go on.

    """
    decision = settings.decision()
    admin = TopicAdmin(settings.kafka.librdkafka())
    for tenant in settings.topics.tenants:
        embedded, backfill = settings.kafka.embedded, settings.topics.backfill
        shadow = settings.topics.shadow
        check_topics(admin, Topics(tenant), embedded=embedded, backfill=backfill, shadow=shadow)
    if not settings.kafka.embedded:
        admin.check_group(settings.worker.group)
    codec = settings.codec()
    codec.prepare(Detection, Coverage, SensorState)
    asyncio.run(_work(settings, decision, codec))


async def _work(settings: Settings, decision: Decision, codec: Codec) -> None:
    stop, metrics = asyncio.Event(), Metrics(SHADOW if settings.topics.shadow else LIVE)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    scorers = Scorers(open_scorer(settings, metrics))
    try:
        worker = await _worker(settings, decision, codec, scorers, metrics)
        async with serve_status(settings.status, metrics.registry, lambda: worker.ready) as port:
            logger.info("status on http://%s:%d", settings.status.host, port)
            await worker.run(stop)
    finally:
        await scorers.close()  # as the worker does at its end, if it came to run
    logger.info("stopped")


async def _worker(
    settings: Settings, decision: Decision, codec: Codec, scorers: Scorers, metrics: Metrics
) -> Worker:
    """Make a worker that has a scorer for each decision that counts now."""
    rollouts = await _rollouts(settings, decision, codec)
    counting = [decision] if rollouts is None else rollouts.counting(round(time.time() * 1000))
    if decision.digest not in {counts.digest for counts in counting} and not settings.topics.shadow:
        logger.warning("what the settings say of the model does not count: a rollout says otherwise")
    for counts in counting:
        await scorers.open(counts)
        spec = counts.spec
        logger.info(
            "model %s/%s, decision %s, %s", spec.name, spec.version, counts.digest[:12], scorers.identity
        )
    if settings.worker.overload == "shed":
        told = "overload = shed: what cannot be heard within %d ms is skipped, and coverage says SHED"
        logger.warning(told, settings.worker.deadline_ms)
    return Worker(
        decision,
        codec,
        scorers,
        metrics,
        settings.connections(),
        settings.worker,
        settings.batch,
        roster_of(settings),
        rollouts,
    )


async def _rollouts(settings: Settings, decision: Decision, codec: Codec) -> Rollouts | None:
    """Read what was rolled out; the embedded broker has no append times that a rollout could begin at."""
    if settings.kafka.embedded:
        return None
    client, topics = settings.kafka.librdkafka(), settings.topics
    rollouts = Rollouts(client, codec, decision, settings.frames_topics, shadow=topics.shadow)
    try:
        await asyncio.to_thread(rollouts.refresh)
    except BaseException:
        rollouts.close()
        raise
    return rollouts
