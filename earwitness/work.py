"""`earwitness work`: check everything that can be checked, then work until told to stop."""

import asyncio
import logging
import signal

from earwitness.settings import Settings
from earwitness.topics import TopicAdmin, check_topics
from processors.app import Worker
from processors.decision import Decision
from processors.metrics import Metrics
from processors.score import OnnxScorer
from processors.status import serve_status
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
        check_topics(admin, Topics(tenant), embedded=settings.kafka.embedded)
    asyncio.run(_work(settings, decision, scorer))


async def _work(settings: Settings, decision: Decision, scorer: OnnxScorer) -> None:
    stop, metrics = asyncio.Event(), Metrics()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    worker = Worker(
        decision,
        settings.codec(),
        scorer,
        metrics,
        settings.connections(),
        settings.worker,
        settings.batch,
    )
    async with serve_status(settings.status, metrics.registry, lambda: worker.ready) as port:
        spec = decision.spec
        logger.info(
            "model %s/%s, decision %s, %s", spec.name, spec.version, decision.digest[:12], scorer.identity
        )
        logger.info("status on http://%s:%d", settings.status.host, port)
        await worker.run(stop)
    logger.info("stopped")
