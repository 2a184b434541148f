"""Calibration says how often a score is right, and by how much scores should be cooled."""

import numpy as np
import pytest

from earwitness.evaluation.calibration import calibration
from earwitness.evaluation.clips import Clip
from tests.earwitness.evaluation.made import heard


def clips(score: float, right: float, count: int = 200) -> list[Clip]:
    """Recordings that are dogs with a probability, all heard as dogs with a score."""
    labels = np.where(np.arange(count) < right * count, "dog", "rain")
    return [Clip("a", str(label), heard([score], [1 - score])) for label in labels]


def test_scores_that_are_right_as_often_as_they_say_have_no_error() -> None:
    found = calibration(clips(0.8, 0.8))
    assert found is not None
    assert found.expected_error == pytest.approx(0.0, abs=1e-3)
    assert found.temperature == pytest.approx(1.0, abs=0.01)
    assert found.windows == 200


def test_scores_that_say_too_much_are_cooled() -> None:
    found = calibration(clips(0.99, 0.75))
    assert found is not None
    assert found.expected_error == pytest.approx(0.24, abs=1e-3)
    assert found.temperature > 3
    assert found.expected_error_tempered == pytest.approx(0.0, abs=0.01)


def test_windows_that_hold_next_to_nothing_are_not_judged() -> None:
    quiet = Clip("a", "dog", heard([0.9, 0.9], [0.1, 0.1], power=[1.0, 1e-4]))
    found = calibration([quiet])
    assert found is not None
    assert found.windows == 1


def test_without_a_window_to_judge_there_is_no_calibration() -> None:
    assert calibration([Clip("n", "speech", heard([0.9]))]) is None


def test_silence_is_not_judged() -> None:
    silent = Clip("a", "dog", heard([0.9, 0.9], [0.1, 0.1], power=[0.0, 0.0]))
    assert calibration([silent]) is None
    half = calibration([silent, Clip("b", "dog", heard([0.9, 0.9], [0.1, 0.1], power=[0.0, 1.0]))])
    assert half is not None
    assert half.windows == 1
