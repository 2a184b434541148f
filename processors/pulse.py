"""The monotonic clock -> whether this process stood still, and for how long.

A worker that did not run for longer than its session has lost its partitions, and does not know it yet: the
group tells it only when it asks. Until then it must not go on with what it holds.
"""

from collections.abc import Callable
from time import monotonic


class Pulse:
    """Beats as long as the process runs; `limit_s` is how long it may stand still."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._limit_s, self._clock = limit_s, clock
        self._last_s = clock()

    def beat(self) -> float | None:
        """Note that we run; return for how many seconds we did not, where that is over the limit."""
        before_s, self._last_s = self._last_s, self._clock()
        still_s = self._last_s - before_s
        return still_s if still_s > self._limit_s else None
