"""The clock of the thread that keeps a membership -> whether it stood still, and for how long.

    that thread    beat  beat  beat ······ frozen ······ beat
    who asks            still_s                      still_s: so long, once, whichever of the two runs first

A worker whose heartbeats stopped for nearly its session may have lost its partitions, and does not know yet:
the group tells it only when it asks. Until then it must not go on with what it holds. Who asks may itself be
busy for long: that costs no membership.
"""

import time
from collections import deque
from collections.abc import Callable

BEAT_S = 0.5


def awake_or_not_s() -> float:
    """Return a clock that also runs while the machine is suspended, where there is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Pulse:
    """Beats on one thread and is asked on another; `limit_s` is how long it may stand still.

    Before its first beat, and once it has ended, nobody stands still.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = awake_or_not_s) -> None:
        self.limit_s, self._clock = limit_s, clock
        self._last_s: float | None = None
        self._gaps: deque[tuple[float, float]] = deque()
        self._told_s = float("-inf")

    def beat(self) -> None:
        """Note that the thread runs."""
        now_s, last_s = self._clock(), self._last_s
        if last_s is not None and now_s - last_s > self.limit_s:
            self._gaps.append((last_s, now_s))  # before the beat counts: who asks sees one or the other
        self._last_s = now_s

    def end(self) -> None:
        """Note that the thread ends."""
        self._last_s = None

    def still_s(self) -> float | None:
        """Return for how many seconds the thread did not run, where that is over the limit: once."""
        last_s, now_s = self._last_s, self._clock()
        gaps = [self._gaps.popleft() for _ in range(len(self._gaps))]
        if last_s is not None and now_s - last_s > self.limit_s:
            gaps.append((last_s, now_s))
        untold = [(since_s, until_s) for since_s, until_s in gaps if since_s > self._told_s]
        if not untold:
            return None
        self._told_s = untold[-1][0]
        return max(until_s - since_s for since_s, until_s in untold)
