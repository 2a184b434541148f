"""Counts -> rates, with 95 % intervals: of a share, and of how often something happens an hour."""

from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `all`, between `low` and `high` with 95 % confidence; None where there is nothing to count.

    The interval is Wilson's score interval: E. B. Wilson, "Probable inference, the law of succession, and
    statistical inference", 1927.
    """

    right: int
    all: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` in so many hours; `upper_per_hour` is the exact one-sided 95 % bound of a Poisson rate.

    F. Garwood, "Fiducial limits for the Poisson distribution", 1936. None where there are no hours.
    """

    count: int
    hours: float
    per_hour: float | None
    upper_per_hour: float | None


def share(right: int, out_of: int) -> Share:
    """Return a share with its interval."""
    from scipy.stats import binomtest

    if not out_of:
        return Share(right, out_of, None, None, None)
    interval = binomtest(right, out_of).proportion_ci(CONFIDENCE, method="wilson")
    return Share(right, out_of, right / out_of, float(interval.low), float(interval.high))


def rate(count: int, hours: float) -> Rate:
    """Return a rate with its upper bound."""
    from scipy.stats import chi2

    if hours <= 0:
        return Rate(count, 0.0, None, None)
    upper = float(chi2.ppf(CONFIDENCE, 2 * (count + 1))) / 2
    return Rate(count, hours, count / hours, upper / hours)
