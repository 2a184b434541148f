"""Intervals are those that the textbooks have."""

import pytest

from earwitness.evaluation.intervals import Rate, Share, rate, share


def test_an_interval_of_a_share_is_wilsons() -> None:
    found = share(81, 263)  # R. G. Newcombe, Statistics in Medicine 17, 1998, table I, method 3
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert share(0, 20).high == pytest.approx(0.1611, abs=1e-4)


def test_none_in_three_hours_may_still_be_one_an_hour() -> None:
    assert rate(0, 3.0).upper_per_hour == pytest.approx(2.9957 / 3, abs=1e-4)
    assert rate(5, 1.0).upper_per_hour == pytest.approx(10.513, abs=1e-3)


def test_of_nothing_there_is_no_figure() -> None:
    assert share(0, 0) == Share(0, 0, None, None, None)
    assert rate(0, 0.0) == Rate(0, 0.0, None, None)
