"""How far chance alone may have moved counts."""

from math import log

import numpy as np
import pytest

from earwitness.analysis.chance import Floats, differ_by_chance, poisson_interval


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(1, 0.02532, 5.57164), (2, 0.12110, 3.61234), (3, 0.20622, 2.92242), (10, 0.47954, 1.83904)],
)
def test_an_interval_of_a_poisson_mean_is_the_published_one(count: int, low: float, high: float) -> None:
    """The factors of a rate's 95 % limits are those of the NCHS, Deaths: Final Data, technical notes."""
    assert poisson_interval(count) == pytest.approx((count * low, count * high), abs=count * 5e-6)


def test_where_nothing_was_heard_the_upper_limit_is_minus_the_logarithm_of_the_tail() -> None:
    assert poisson_interval(0) == pytest.approx((0.0, -log(0.025)))


def test_of_many_sounds_the_interval_is_that_of_the_normal_distribution() -> None:
    assert poisson_interval(1_000_000) == pytest.approx((998_040, 1_001_960), abs=3)


def table(*counts: int) -> Floats:
    """Return the counts of one label, a sensor a row."""
    return np.array(counts, np.float64)[:, None]


def test_groups_that_do_not_touch_are_as_far_apart_in_two_deals_of_all() -> None:
    """Of 252 ways to deal ten sensors to two groups of five, two set the high ones apart from the others."""
    (p,) = differ_by_chance(table(1, 2, 3, 4, 5), np.ones(5), table(16, 17, 18, 19, 20), np.ones(5))
    assert p == pytest.approx(2 / 252, abs=0.004)


def test_one_sensor_with_all_the_sounds_is_chance_however_many_they_are() -> None:
    (p,) = differ_by_chance(table(0, 0, 0, 0, 0), np.ones(5), table(0, 0, 900, 0, 0), np.ones(5))
    assert p == 1.0


def test_rates_are_compared_not_counts() -> None:
    (p,) = differ_by_chance(table(2, 2, 2, 2, 2), np.ones(5), table(20, 20, 20, 20, 20), np.full(5, 10.0))
    assert p == 1.0
