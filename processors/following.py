"""Rollouts, while a worker works: told to the pipeline in time, their models opened before they count."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic, time

from confluent_kafka import KafkaException

from processors.course import Course, Stage
from processors.pipeline import Pipeline
from processors.rollouts import Rollouts
from processors.scorers import Scorers
from schemas.errors import ConfigurationError, EarwitnessError, StopError

logger = logging.getLogger(__name__)

LEARN_S, CLOSE_S, COMPLAIN_S = 1.0, 6.0, 10.0


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
    ) -> None:
        self._rollouts, self._pipeline, self._scorers = rollouts, pipeline, scorers
        self._since_ms, self._learned = since_ms, asyncio.Event()
        self._courses: dict[str, Course] = {}
        self._reading: asyncio.Future[float] | None = None
        self._complained_s = -COMPLAIN_S
        if rollouts is not None:
            self._set_courses(rollouts)

    @property
    def age_s(self) -> float:
        """How long ago all rollouts were known."""
        return 0.0 if self._rollouts is None else self._rollouts.age_s

    @property
    def ignored(self) -> int:
        """How many rollouts there are that never count."""
        return 0 if self._rollouts is None else self._rollouts.ignored

    @property
    def informed(self) -> bool:
        """Whether every rollout is known that may count for what is read next."""
        return self._rollouts is None or self._rollouts.fresh

    async def follow(self) -> None:
        """Learn of rollouts for ever.

        Raises:
            StopError: a control topic was made anew.

        """
        while True:
            await asyncio.sleep(LEARN_S)
            try:
                await self.learn()
            except StopError as exc:
                if not isinstance(exc, ConfigurationError):
                    raise
                self._complain(exc)
            except (KafkaException, EarwitnessError) as exc:
                self._complain(exc)

    async def learn(self) -> None:
        """Read what is new, and open the models that are needed now or will be.

        Raises:
            ConfigurationError: a control topic does not exist, or no broker answers.
            EarwitnessError: the schema registry does not answer.
            StopError: a control topic was made anew.

        """
        if self._rollouts is None:
            return
        self._reading = asyncio.ensure_future(asyncio.to_thread(self._rollouts.refresh))
        # Cancelled or not, the thread goes on: the connection is not closed under it.
        began_s = await asyncio.shield(self._reading)
        self._set_courses(self._rollouts)
        self._rollouts.confirm(began_s)  # here, on the loop: from now on nothing is read under older courses
        self._learned.set()
        needed = [*self._rollouts.needed(self._since_ms()), *self._pipeline.pending]
        for decision in needed:
            self._scorers.ready(decision)
        await self._scorers.close_idle(needed)

    def _complain(self, error: Exception) -> None:
        if monotonic() < self._complained_s + COMPLAIN_S:
            return
        self._complained_s = monotonic()
        held = "" if self.informed else ": no frames are read until they are"
        logger.warning("rollouts are not known since %.0f s%s: %s", self.age_s, held, error)

    async def news(self) -> None:
        """Wait until rollouts have been read again."""
        self._learned.clear()
        await self._learned.wait()

    async def close(self) -> None:
        """Let go of the connection, once nobody reads through it."""
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=CLOSE_S)
        if self._rollouts is not None and (self._reading is None or self._reading.done()):
            self._rollouts.close()

    def _set_courses(self, rollouts: Rollouts) -> None:
        now_ms = round(time() * 1000)
        for topic, course in rollouts.courses.items():
            before = self._courses.get(topic)
            if course is before:
                continue
            self._courses[topic] = course
            self._pipeline.set_course(topic, course)
            for stage in course.stages:
                if stage.at_ms > now_ms and (before is None or stage not in before.stages):
                    _announce(topic, stage)


def _announce(topic: str, stage: Stage) -> None:
    at = datetime.fromtimestamp(stage.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    logger.info("%s: frames appended from %s on are heard by %s", topic, at, stage.listeners)
