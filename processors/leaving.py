"""What is in hand -> scored and published, for a bounded time; once the worker ends, what was left undone."""

import logging
from time import monotonic

from processors.engine import Engine
from processors.publish import Publisher

logger = logging.getLogger(__name__)

DRAIN_S = 3.0
_LEFT_UNDONE = (
    "left undone after %g s: %d windows without scores, %d outputs that no broker has confirmed; "
    "whoever takes over says it all again"
)


class Leaving:
    """Drains an engine, whenever partitions may go to others; `ending` once the worker ends."""

    def __init__(self, engine: Engine, publisher: Publisher) -> None:
        self._engine, self._publisher = engine, publisher
        self.ending = False
        self._until_s: float | None = None
        self._left = 0, 0

    async def drain(self) -> None:
        """Score what was read and publish what was decided, for a bounded time."""
        until_s = self._until_s or monotonic() + DRAIN_S
        if self.ending:  # Faust asks twice then: both times together take no longer than one
            self._until_s = until_s
        await self._engine.drain(max(0.0, until_s - monotonic()))

    def count_left(self) -> None:
        """Count what is still in hand as the worker ends."""
        if self.ending:
            self._left = self._engine.pipeline.backlog, self._publisher.unacknowledged

    def say_left(self) -> None:
        """Say what was left undone, if anything was."""
        if any(self._left):
            logger.warning(_LEFT_UNDONE, DRAIN_S, *self._left)
