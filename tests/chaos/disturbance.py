"""Latencies of a round -> its p99 second by second, and for how many of them a fault disturbed it.

A latency is from the append of the last frame that decided something to the append of its first word.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

import numpy as np

TIMES_CALM, LEAST_LIMIT_MS = 3.0, 250.0
LAST_CALM = -1

Course = Mapping[int, float]
"""The p99 in milliseconds by second of a round, counted from its first fault: those before are below 0.

What was appended in the last of these, -1, may be on its way when the fault comes.
"""


def course(latencies: Iterable[tuple[int, int]], fault_ms: int) -> Course:
    """Return the p99 of what was due in each second, given when the first fault came; times since 1970."""
    by_second: dict[int, list[int]] = defaultdict(list)
    for due, said in latencies:
        by_second[(due - fault_ms) // 1000].append(said - due)
    return {second: round(float(np.percentile(each, 99)), 1) for second, each in sorted(by_second.items())}


def limit_ms(courses: Iterable[Course]) -> float:
    """Return the p99 above which a second is disturbed: three times the median of the calm ones, or more."""
    calm = [p99 for each in courses for second, p99 in each.items() if second < LAST_CALM]
    return max(LEAST_LIMIT_MS, TIMES_CALM * median(calm)) if calm else LEAST_LIMIT_MS


def disturbed_s(of: Course, limit: float) -> int:
    """Return how many seconds since the first fault were disturbed."""
    return sum(second >= LAST_CALM and p99 > limit for second, p99 in of.items())


def worst_ms(of: Course) -> float:
    """Return the highest p99 since the first fault."""
    return max((p99 for second, p99 in of.items() if second >= LAST_CALM), default=0.0)
