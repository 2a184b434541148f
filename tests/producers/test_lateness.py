"""Delays are summed up in constant memory, to a tenth of a millisecond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.lateness import Lateness


@given(st.lists(st.integers(-1000, 20_000_000), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_never_too_low_and_at_most_a_step_too_high(
    delays_us: list[int], fraction: float
) -> None:
    lateness = Lateness()
    for delay_us in delays_us:
        lateness.add(delay_us)
    counted = np.clip(delays_us, 0, None)
    exact_ms = float(np.quantile(counted, fraction, method="inverted_cdf")) / 1000
    assert lateness.max_ms == counted.max() / 1000
    if exact_ms < 10_000:
        assert exact_ms <= lateness.quantile_ms(fraction) <= exact_ms + 0.1 + 1e-9


def test_nothing_late_is_nothing_late() -> None:
    assert (Lateness().max_ms, Lateness().quantile_ms(0.99)) == (0.0, 0.0)


def test_a_delay_beyond_the_last_step_still_shows_in_the_maximum() -> None:
    lateness = Lateness()
    lateness.add(3_600_000_000)
    assert lateness.max_ms == pytest.approx(3_600_000)
