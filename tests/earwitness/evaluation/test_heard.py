"""A guess weighs windows by their power; activity is the highest threshold at which a label is active."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.evaluation.heard import activity, joined, log_odds
from tests.earwitness.evaluation.made import heard


def test_a_guess_follows_the_loud_windows_not_the_many() -> None:
    made = heard(dog=[0.9, 0.2, 0.2, 0.2], rain=[0.1, 0.6, 0.6, 0.6], power=[1.0, 1e-4, 1e-4, 1e-4])
    assert made.guess(("dog", "rain")) == "dog"
    assert made.guess(("rain",)) == "rain"


def test_windows_that_were_not_scored_have_no_part_in_a_guess() -> None:
    nan = float("nan")
    assert heard([nan, 0.1], [nan, 0.9], [nan, 1.0]).guess(("dog", "rain")) == "rain"
    assert heard([nan], [nan], [nan]).guess(("dog", "rain")) is None


def test_log_odds_are_finite_for_scores_of_nothing_and_of_all() -> None:
    odds = log_odds(np.array([0.0, 0.5, 1.0], np.float32))
    assert np.isfinite(odds).all()
    assert odds[1] == pytest.approx(0.0)
    assert odds[0] == pytest.approx(-odds[2])


@given(
    st.lists(st.floats(0, 1, width=32), max_size=30),
    st.integers(1, 5).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))),
    st.floats(0.0625, 1, width=32),
)
def test_a_label_is_active_where_m_of_the_last_n_windows_reached_the_threshold(
    scores: list[float], way: tuple[int, int], threshold: float
) -> None:
    m, n = way
    reached = [score >= threshold for score in scores]
    expected = [sum(reached[max(0, at - n + 1) : at + 1]) >= m for at in range(len(scores))]
    assert (activity(np.array(scores, np.float32), m, n) >= np.float32(threshold)).tolist() == expected


def test_a_window_that_was_not_scored_has_reached_nothing() -> None:
    scores = np.array([0.9, np.nan, 0.9], np.float32)
    assert activity(scores, 2, 2).tolist() == [0, 0, 0]
    assert activity(scores, 2, 3).tolist() == pytest.approx([0, 0, 0.9])


def test_a_curve_holds_the_highest_activity_of_the_windows_that_hold_a_moment() -> None:
    times, values = heard([0.1, 0.8, 0.3]).curve("dog", 1, 1)
    assert times.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert values == pytest.approx([0.1, 0.8, 0.8, 0.3])


def test_detections_end_where_the_last_window_ends() -> None:
    made = heard([0.1, 0.8, 0.9, 0.1, 0.1, 0.1, 0.7])
    assert list(made.spans("dog")) == [(0.5, 2.0), (3.0, 4.0)]
    assert [f.score for f in made.found] == pytest.approx([0.9, 0.7])


def test_spans_are_joined_where_they_touch_or_lie_no_further_apart_than_a_pause() -> None:
    spans = [(0.0, 1.0), (1.0, 2.0), (1.5, 1.8), (3.0, 4.0)]
    assert list(joined(iter(spans))) == [(0.0, 2.0), (3.0, 4.0)]
    assert list(joined(iter(spans), 1.0)) == [(0.0, 4.0)]
    assert list(joined(iter(()))) == []


def test_of_digital_silence_nothing_is_guessed() -> None:
    assert heard([0.9, 0.9], [0.1, 0.1], power=[0.0, 0.0]).guess(("dog", "rain")) is None
    assert heard([0.9, 0.9], [0.1, 0.1], power=[0.0, 1e-9]).guess(("dog", "rain")) == "dog"


@pytest.mark.parametrize(("windows", "expected"), [(1, 1), (19, 1), (20, 2), (39, 2)])
def test_a_detection_is_a_false_alarm_for_each_10_s_that_it_has_begun(windows: int, expected: int) -> None:
    (found,) = heard([0.9] * windows).found
    assert found.false_alarms == expected
