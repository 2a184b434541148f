"""The latency ledger: where the time went, for every window that is decided and every detection of it.

Between processes the broker's append times are compared with the wall clock here; within the process readings
of one monotonic clock are. What the stages are, and how long they may take: `schemas/latency.py`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from processors.run import Slot
from schemas.latency import TARGETS_MS, TOTAL_P50_MS, TOTAL_P99_MS, Readings

SCORER_HEADER = "earwitness-scorer"
TARGETS_S = tuple(ms / 1000 for ms in (*TARGETS_MS.values(), TOTAL_P50_MS, TOTAL_P99_MS))
BUCKETS_S = tuple(
    sorted(
        {
            *TARGETS_S,  # or nobody could tell how many were within them
            *(0.0001, 0.001, 0.002, 0.003, 0.008, 0.01, 0.015, 0.02, 0.025, 0.04, 0.05),
            *(0.08, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0),
        }
    )
)


def readings(slot: Slot, now_s: float, wall_s: float) -> Readings:
    """Return when the stages of a window were over, up to sending it at `now_s`, which is `wall_s` of day."""
    sent_us = round(wall_s * 1_000_000)
    ours = {name: sent_us - round((now_s - at_s) * 1_000_000) for name, at_s in _taken(slot)}
    heard = {"captured": slot.window.end_us, "appended": slot.window.appended_ms * 1000}
    return Readings({**heard, **ours, "sent": sent_us})


def stages(slot: Slot, ahead_s: float) -> Iterator[tuple[str, str, float]]:
    """Yield the stages of a window up to its decision: from, to, and how long in seconds.

    `ahead_s` is the wall clock minus the monotonic one. They add up to the way from captured to decided.
    """
    appended_s = slot.window.appended_ms / 1000
    yield "captured", "appended", appended_s - slot.window.end_us / 1_000_000
    before, before_s = "appended", appended_s - ahead_s
    for name, at_s in _taken(slot):
        yield before, name, at_s - before_s
        before, before_s = name, at_s


def _taken(slot: Slot) -> list[tuple[str, float]]:
    feed = slot.feed
    times = (
        ("fetched", feed.fetched_s),
        ("decoded", feed.decoded_s),
        ("windowed", feed.windowed_s),
        ("batched", slot.batched_s),
        ("scored", slot.scored_s),
        ("decided", slot.decided_s),
    )
    return [(name, at_s) for name, at_s in times if at_s is not None]


class StageHistogram(Collector):
    """A histogram by stage, in seconds.

    Nine observations for each of thousands of windows a second: counted here they cost a sixth to a half of
    what the client's own histogram takes, which locks twice for each.
    """

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._sums: dict[tuple[str, str], float] = {}

    def observe(self, lengths: Iterable[tuple[str, str, float]]) -> None:
        """Count stages: from, to, and how long in seconds."""
        counts, sums = self._counts, self._sums
        for before, name, length_s in lengths:
            stage = before, name
            if stage not in counts:
                counts[stage], sums[stage] = [0] * (len(BUCKETS_S) + 1), 0.0
            counts[stage][bisect_left(BUCKETS_S, length_s)] += 1
            sums[stage] += length_s

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram as Prometheus reads it."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=["stage"])
        bounds = [*map(floatToGoString, BUCKETS_S), "+Inf"]
        for (before, name), counts in self._counts.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric([f"{before}_to_{name}"], buckets, self._sums[before, name])
        yield family
