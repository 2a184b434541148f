"""`earwitness work`: check everything that can be checked, then work until told to stop."""

import asyncio
import logging
import signal

from earwitness.operation.sensors import roster_of
from earwitness.settings import Settings
from earwitness.topics import TopicAdmin, check_topics
from processors.app import Worker
from processors.decision import Decision
from processors.metrics import Metrics
from processors.score import OnnxScorer
from processors.status import serve_status
from schemas.codec import Codec
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.sensor import SensorState
from schemas.topics import Topics

logger = logging.getLogger(__name__)


def work(settings: Settings) -> None:
    """Run a worker in this process until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: it cannot work with these settings, topics or model.
        StopError: nothing sensible could go on.

    """
    decision = settings.decision()
    scorer = OnnxScorer(settings.model_directory, decision.spec, settings.scorer)
    admin = TopicAdmin(settings.kafka.librdkafka())
    for tenant in settings.topics.tenants:
        embedded, backfill = settings.kafka.embedded, settings.topics.backfill
        check_topics(admin, Topics(tenant), embedded=embedded, backfill=backfill)
    codec = settings.codec()
    codec.prepare(Detection, Coverage, SensorState)
    asyncio.run(_work(settings, decision, scorer, codec))


async def _work(settings: Settings, decision: Decision, scorer: OnnxScorer, codec: Codec) -> None:
    stop, metrics = asyncio.Event(), Metrics()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    worker = Worker(
        decision,
        codec,
        scorer,
        metrics,
        settings.connections(),
        settings.worker,
        settings.batch,
        roster_of(settings),
    )
    async with serve_status(settings.status, metrics.registry, lambda: worker.ready) as port:
        spec = decision.spec
        logger.info(
            "model %s/%s, decision %s, %s", spec.name, spec.version, decision.digest[:12], scorer.identity
        )
        logger.info("status on http://%s:%d", settings.status.host, port)
        await worker.run(stop)
    logger.info("stopped")
