"""Deadline -> the append time before which a window that waits is too old to be heard in time.

Ages go from the broker's clock, which stamped a frame, to this machine's. How far this one is ahead is seen
in what the worker itself has published: its append time against when that was acknowledged here. Until then
the clocks are taken to agree: frames alone cannot tell a clock that is ahead from a worker that is behind.
"""

from math import inf

PUBLISH_SHARE, MOST_CALL_SHARE = 0.1, 0.5
"""Parts of the deadline: what is kept for publishing, and the most that is kept for scoring. Where scoring
takes longer, some is heard too late; nothing would be heard if it were left no time to begin in."""
FORGET_CALLS = 0.9
"""A slow call counts as a tenth less with each call after it."""
AHEAD_PERIOD_MS = 10_000.0
GIVE_UP_DEADLINES = 2
"""A batch that has been scored for so many deadlines is no longer waited for: the scorer is away."""


class Deadline:
    """What can still be published within `deadline_ms` of the append of what it was heard in."""

    def __init__(self, deadline_ms: int) -> None:
        self._deadline_ms = deadline_ms
        self.give_up_s = GIVE_UP_DEADLINES * deadline_ms / 1000
        self._call_ms = self._ahead_ms = 0.0
        self._least_ms, self._until_ms = inf, -inf

    def called(self, call_s: float) -> None:
        """Take how long a batch was scored."""
        self._call_ms = max(call_s * 1000, FORGET_CALLS * self._call_ms)

    def published(self, appended_ms: int, now_ms: float) -> None:
        """Take the append time of what was published, and that of this machine as it learns so.

        An acknowledgement takes its time, so the least difference of a period counts, not the mean.
        """
        late_ms = now_ms - appended_ms
        # The first one replaces the guess that the clocks agree; and this clock may be set, either way.
        if not 0 < self._until_ms - now_ms <= AHEAD_PERIOD_MS:
            self._ahead_ms = min(self._least_ms, late_ms)
            self._least_ms, self._until_ms = inf, now_ms + AHEAD_PERIOD_MS
        self._least_ms = min(self._least_ms, late_ms)
        self._ahead_ms = min(self._ahead_ms, late_ms)

    def before_ms(self, now_ms: float) -> float:
        """Return the append time, in ms since 1970, before which windows are too old at `now_ms`."""
        deadline_ms = self._deadline_ms
        score_ms = min(self._call_ms, MOST_CALL_SHARE * deadline_ms)
        return now_ms - self._ahead_ms - (deadline_ms - PUBLISH_SHARE * deadline_ms - score_ms)
