"""Rollouts, while a worker works: told to the pipeline in time, their models opened before they count."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import time

from confluent_kafka import KafkaException

from processors.course import Stage
from processors.pipeline import Pipeline
from processors.rollouts import Rollouts
from processors.scorers import Scorers
from schemas.errors import ConfigurationError

logger = logging.getLogger(__name__)

LEARN_S = 1.0


class Following:
    """Follows the rollouts, if there are any to follow: the embedded broker has none.

    `since_ms` gives, by frames topic, the append time from which on frames are still to be heard.
    """

    def __init__(
        self,
        rollouts: Rollouts | None,
        pipeline: Pipeline,
        scorers: Scorers,
        since_ms: Callable[[], Mapping[str, int]],
        busy: Callable[[], bool],
    ) -> None:
        self._rollouts, self._pipeline, self._scorers = rollouts, pipeline, scorers
        self._since_ms, self._busy = since_ms, busy
        self._learned = asyncio.Event()
        if rollouts is not None:
            self._set_courses(rollouts)

    @property
    def informed(self) -> bool:
        """Whether every rollout is known that may count for what is read next."""
        return self._rollouts is None or self._rollouts.fresh

    async def follow(self) -> None:
        """Learn of rollouts for ever.

        Raises:
            StopError: one was written by a later release.

        """
        while True:
            await asyncio.sleep(LEARN_S)
            try:
                await self.learn()
            except (KafkaException, ConfigurationError) as exc:
                logger.warning("soon no frames are read, until rollouts are known again: %s", exc)

    async def learn(self) -> None:
        """Read what is new, and open the models that are needed now or will be.

        Raises:
            ConfigurationError: a control topic does not exist, or no broker answers.
            StopError: a rollout was written by a later release.

        """
        if self._rollouts is None:
            return
        if await asyncio.to_thread(self._rollouts.refresh):
            self._set_courses(self._rollouts)
        self._learned.set()
        needed = self._rollouts.needed(self._since_ms())
        for decision in needed:
            self._scorers.ready(decision)
        await self._scorers.close_idle(needed, self._busy)

    async def news(self) -> None:
        """Wait until rollouts have been read again."""
        self._learned.clear()
        await self._learned.wait()

    def close(self) -> None:
        """Let go of the connection."""
        if self._rollouts is not None:
            self._rollouts.close()

    def _set_courses(self, rollouts: Rollouts) -> None:
        now_ms = round(time() * 1000)
        for topic, course in rollouts.courses.items():
            self._pipeline.set_course(topic, course)
            for stage in course.stages:
                if stage.at_ms > now_ms:
                    _announce(topic, stage)


def _announce(topic: str, stage: Stage) -> None:
    models = " and ".join(f"{d.spec.name}/{d.spec.version}" for d in stage.decisions) or "nothing"
    share = f", the second for {stage.share:.0%} of the sensors" if stage.share else ""
    at = datetime.fromtimestamp(stage.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    logger.info("%s: of frames appended from %s on is heard by %s%s", topic, at, models, share)
