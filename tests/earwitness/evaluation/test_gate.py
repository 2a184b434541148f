"""A trigger in front of a model: what passes is counted by detection, what is saved by window."""

import numpy as np
import pytest

from earwitness.evaluation.gate import MOST_MISSED, choose_threshold, gated
from earwitness.evaluation.heard import Heard
from tests.earwitness.evaluation.made import heard


def trigger(scores: list[float]) -> Heard:
    """Return what a trigger heard: of its labels only the first counts."""
    return heard(scores)


def test_a_detection_passes_when_the_model_still_makes_it_behind_the_trigger() -> None:
    model = heard([0.0, 0.9, 0.9, 0.0, 0.0, 0.8, 0.0])
    assert len(model.found) == 2
    both = gated([(model, trigger([0.0, 0.7, 0.0, 0.0, 0.0, 0.7, 0.0]))], (), 0.5)
    first_only = gated([(model, trigger([0.0, 0.7, 0.7, 0.0, 0.0, 0.2, 0.0]))], (), 0.5)
    assert (both.passed.right, both.passed.all) == (2, 2)
    assert (first_only.passed.right, first_only.passed.all) == (1, 2)


def test_two_of_three_windows_have_to_pass_where_the_rule_asks_for_two() -> None:
    model = heard([0.0, 0.9, 0.9, 0.9, 0.0], m=2, n=3)
    lost = gated([(model, trigger([0.0, 0.9, 0.0, 0.0, 0.0]))], (), 0.5)
    kept = gated([(model, trigger([0.0, 0.9, 0.0, 0.9, 0.0]))], (), 0.5)
    assert (lost.passed.right, kept.passed.right) == (0, 1)


def test_another_label_at_the_same_time_does_not_count_as_the_detection() -> None:
    model = heard([0.0, 0.9, 0.0], rain=[0.0, 0.0, 0.9])
    found = gated([(model, trigger([0.0, 0.0, 0.9]))], (), 0.5).passed
    assert (found.right, found.all) == (1, 2)


def test_windows_of_background_below_the_threshold_are_rejected() -> None:
    found = gated((), [trigger([0.1, 0.2, 0.6]), trigger([0.5])], 0.5).rejected
    assert (found.right, found.all) == (2, 4)


def test_the_threshold_is_the_highest_that_loses_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    pairs = [
        (heard([0.0, 0.9, 0.0]), trigger([0.0, float(score), 0.0])) for score in rng.uniform(0.3, 1, 400)
    ]
    chosen = choose_threshold(pairs)
    passed = gated(pairs, (), chosen).passed
    assert passed.value is not None
    assert passed.value >= 1 - MOST_MISSED
    above = gated(pairs, (), chosen + 0.01).passed
    assert above.value is not None
    assert above.value < 1 - MOST_MISSED


def test_with_nothing_to_lose_there_is_no_share() -> None:
    assert gated((), (), 0.5).passed.value is None
    assert choose_threshold(()) == pytest.approx(0.01)
