"""Numbers become int16 by one rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.source import to_int16


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 16384),
        (-1.0, -32768),
        (1.0, 32767),
        (7.0, 32767),
        (-7.0, -32768),
        (1.5 / 32768, 2),
        (2.5 / 32768, 2),
        (float("inf"), 32767),
        (float("-inf"), -32768),
        (float("nan"), 0),
    ],
)
def test_sound_is_rounded_half_to_even_and_clipped_never_wrapped(value: float, expected: int) -> None:
    assert to_int16(np.array([value]))[0] == expected


def test_what_is_far_too_loud_for_single_precision_is_clipped_without_a_word() -> None:
    assert to_int16(np.array([3e38, -3e38], np.float32)).tolist() == [32767, -32768]


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_what_was_int16_comes_back_as_it_was(values: list[int]) -> None:
    assert to_int16(np.array(values, dtype=np.float64) / 32768).tolist() == values
