from itertools import pairwise

import pytest

from processors.deadline import AHEAD_PERIOD_MS, Deadline

NOW_MS = 1_750_000_000_000
SPARE_MS = 100
"""A tenth of the deadline of these tests, a second."""


def patience_ms(deadline: Deadline, now_ms: float = NOW_MS) -> float:
    """How old a window may be by the broker's clock, if this machine's is right."""
    return now_ms - deadline.before_ms(now_ms)


def test_a_window_may_wait_for_what_publishing_and_scoring_leave_of_the_deadline() -> None:
    deadline = Deadline(1000)
    assert patience_ms(deadline) == 1000 - SPARE_MS
    deadline.called(0.2)
    assert patience_ms(deadline) == pytest.approx(1000 - SPARE_MS - 200)


def test_a_slow_call_is_forgotten_little_by_little() -> None:
    deadline = Deadline(1000)
    found = []
    for call_s in (0.3, *[0.01] * 60):
        deadline.called(call_s)
        found.append(patience_ms(deadline))
    assert all(before < after for before, after in pairwise(found[:30]))
    assert found[-1] == pytest.approx(1000 - SPARE_MS - 10)


def test_a_scorer_that_takes_longer_than_the_deadline_is_still_given_what_is_fresh() -> None:
    deadline = Deadline(1000)
    deadline.called(30.0)
    assert patience_ms(deadline) == 1000 - SPARE_MS - 500


@pytest.mark.parametrize("ahead_ms", [-3000, 0, 1000, 3000])
def test_a_clock_that_is_ahead_or_behind_is_seen_in_what_was_published(ahead_ms: int) -> None:
    deadline = Deadline(1000)
    for took_ms in (40, 5, 90):
        deadline.published(NOW_MS, NOW_MS + took_ms + ahead_ms)
    assert patience_ms(deadline) == 1000 - SPARE_MS + ahead_ms + 5


def test_a_clock_that_was_set_is_followed() -> None:
    deadline = Deadline(1000)
    deadline.published(NOW_MS, NOW_MS + 5)
    for at_ms in range(0, 3 * round(AHEAD_PERIOD_MS), 1000):
        deadline.published(NOW_MS + at_ms, NOW_MS + at_ms + 2005)
    assert patience_ms(deadline) == 1000 - SPARE_MS + 2005
    deadline.published(NOW_MS, NOW_MS - 700)
    assert patience_ms(deadline) == 1000 - SPARE_MS - 700
