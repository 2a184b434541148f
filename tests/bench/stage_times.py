"""A worker's `/metrics` -> how long every decided window was in each stage, between two readings."""

from dataclasses import dataclass
from itertools import pairwise
from math import isinf, nan

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.harness import Worker

HISTOGRAM = "earwitness_latency_seconds"


@dataclass(frozen=True, slots=True)
class Times:
    """A histogram: how many values were at most each bound, in seconds; the last bound is infinite."""

    at_most: dict[float, float]

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(max(self.at_most.values(), default=0))

    def since(self, before: "Times | None") -> "Times":
        """Return what was added since an earlier reading."""
        earlier = before.at_most if before is not None else {}
        return Times({bound: count - earlier.get(bound, 0.0) for bound, count in self.at_most.items()})

    def quantile_s(self, fraction: float) -> float:
        """Return a quantile, by a straight line within its bucket, as Prometheus' `histogram_quantile` does.

        In the last, unbounded bucket it is that bucket's lower bound; of nothing it is not a number.
        """
        wanted = fraction * self.count
        steps = [(0.0, 0.0), *sorted(self.at_most.items())]
        for (low_s, below), (high_s, up_to) in pairwise(steps):
            if up_to >= wanted and up_to > below:
                share = 0.0 if isinf(high_s) else (wanted - below) / (up_to - below)
                return low_s + share * (0.0 if isinf(high_s) else high_s - low_s)
        return nan

    def percentiles_ms(self) -> list[float]:
        """Return p50, p90 and p99."""
        return [1000 * self.quantile_s(fraction) for fraction in (0.5, 0.9, 0.99)]


def stage_times(worker: Worker) -> dict[str, Times]:
    """Return the times of all stages until now, in the order in which the worker tells them."""
    found: dict[str, dict[float, float]] = {}
    for family in text_string_to_metric_families(worker._get("metrics") or ""):
        for sample in family.samples:
            if sample.name == f"{HISTOGRAM}_bucket":
                bounds = found.setdefault(sample.labels["stage"], {})
                bounds[float(sample.labels["le"])] = sample.value
    return {stage: Times(at_most) for stage, at_most in found.items()}


def between(before: dict[str, Times], after: dict[str, Times]) -> dict[str, Times]:
    """Return what was added from one reading to another; stages in which nothing was are left out."""
    added = {stage: times.since(before.get(stage)) for stage, times in after.items()}
    return {stage: times for stage, times in added.items() if times.count}
