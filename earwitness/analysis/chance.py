"""Counts -> how far chance alone may have moved them: intervals of rates, and whether two groups differ."""

from collections.abc import Callable
from math import exp, lgamma, log

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
PERMUTATIONS, SEED = 9999, 0
_NEGLIGIBLE = 1e-17
_STEPS = 100

Floats = NDArray[np.float64]


def poisson_interval(count: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact central interval of a Poisson mean of which `count` were seen.

    The lower limit is the mean at which so many or more are seen with probability (1 - level) / 2, the upper
    that at which so many or fewer are: Garwood, Fiducial limits for the Poisson distribution, Biometrika 28
    (1936), 437-442. It holds where what is counted comes independently.
    """
    tail = (1 - level) / 2
    high = count + 10 * (count + 10) ** 0.5
    lower = 0.0 if count == 0 else _where(lambda mean: _at_least(count, mean) >= tail, float(count))
    return lower, _where(lambda mean: _at_most(count, mean) <= tail, high)


def differ_by_chance(
    ours: Floats, our_hours: Floats, theirs: Floats, their_hours: Floats, permutations: int = PERMUTATIONS
) -> Floats:
    """Return, for each label, how probable so large a difference of rates is if the groups do not matter.

    Counts are float64[sensors, labels], hours float64[sensors]. The sensors are dealt to the two groups again
    and again, since it is sensors, not sounds, that were dealt: one dog barks all night at one of them. The
    share of deals whose rates are as far apart, the one that happened among them: Pitman, Significance tests
    which may be applied to samples from any populations, Supplement to the Journal of the Royal Statistical
    Society 4 (1937), 119-130; of random deals, Phipson and Smyth, Permutation p-values should never be zero,
    Statistical Applications in Genetics and Molecular Biology 9 (2010), article 39.
    """
    counts, hours = np.concatenate([ours, theirs]), np.concatenate([our_hours, their_hours])
    seen = _apart(ours.sum(0), our_hours.sum(), counts.sum(0), hours.sum())
    as_far = np.ones(counts.shape[1])
    chance = np.random.default_rng(SEED)
    for _ in range(permutations):
        dealt = chance.permutation(len(hours))[: len(our_hours)]
        apart = _apart(counts[dealt].sum(0), hours[dealt].sum(), counts.sum(0), hours.sum())
        as_far += apart >= seen * (1 - 1e-9)
    result: Floats = as_far / (permutations + 1)
    return result


def _apart(ours: Floats, our_hours: float, all_of: Floats, hours: float) -> Floats:
    rates: Floats = np.abs(ours / our_hours - (all_of - ours) / (hours - our_hours))
    return rates


def _where(holds: Callable[[float], bool], high: float) -> float:
    """Return from where on something holds, which does at `high`; by bisection."""
    low = 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _at_least(count: int, mean: float) -> float:
    """Return P(X >= count) of a Poisson mean of at most `count`: terms get smaller from the first on."""
    if mean <= 0:
        return 0.0
    term = total = exp(count * log(mean) - mean - lgamma(count + 1))
    while term > total * _NEGLIGIBLE:
        count += 1
        term *= mean / count
        total += term
    return total


def _at_most(count: int, mean: float) -> float:
    """Return P(X <= count) of a Poisson mean."""
    if mean <= count:
        return 1.0  # more than half of it: not what is looked for
    term = total = exp(count * log(mean) - mean - lgamma(count + 1))
    while count > 0 and term > total * _NEGLIGIBLE:
        term *= count / mean
        count -= 1
        total += term
    return total
