"""What is counted: m of n, windows that hold something, thresholds that keep false windows rare."""

import numpy as np
import pytest

from models.evaluate import Evidence, Heard, active, choose_thresholds, detections, windows_of
from models.recordings import LABELS, Recording


def flags(text: str) -> np.ndarray:
    return np.array([character == "#" for character in text])


def heard(label: str, logits: np.ndarray, power: np.ndarray | None = None) -> Heard:
    recording = Recording("esc10/x.ogg", label, 1, "", "", np.zeros(16_000, np.int16))
    return Heard(recording, logits, np.ones(len(logits)) if power is None else power)


def logits_for(label: str, values: list[float]) -> np.ndarray:
    logits = np.full((len(values), len(LABELS)), -9.0, np.float32)
    logits[:, LABELS.index(label)] = values
    return logits


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        ("....", "...."),
        ("#...", "...."),
        ("##..", ".##."),
        ("#.#.", "..#."),
        ("#..#", "...."),
        ("####", ".###"),
    ],
)
def test_a_label_is_active_where_two_of_the_last_three_windows_reached_it(
    reached: str, expected: str
) -> None:
    assert active(flags(reached), 2, 3).tolist() == flags(expected).tolist()


def test_detections_are_runs_of_active_windows() -> None:
    assert detections(flags("##...##"), 2, 3) == 2
    assert detections(flags("#.#.#.#"), 2, 3) == 3
    assert detections(flags("......."), 2, 3) == 0


def test_a_recording_is_guessed_by_its_loud_windows() -> None:
    logits = np.concatenate([logits_for("rain", [5.0] * 3), logits_for("rooster", [5.0])])
    assert heard("rooster", logits, np.array([1e-6, 1e-6, 1e-6, 1.0])).guess == "rooster"


def test_windows_far_below_the_loudest_do_not_count_against_accuracy() -> None:
    logits = np.concatenate([logits_for("rain", [5.0] * 3), logits_for("rooster", [5.0])])
    assert heard("rooster", logits, np.array([1e-6, 1e-6, 1e-6, 1.0])).window_accuracy == 1.0


def test_a_threshold_lets_one_in_a_hundred_windows_without_the_label_pass() -> None:
    logits = logits_for("rain", np.linspace(-5.0, 2.0, 1000).tolist())
    threshold = choose_thresholds(Evidence((heard("wind", logits),), ()))["rain"]
    scores = 1 / (1 + np.exp(-logits[:, LABELS.index("rain")]))
    assert 0 < np.mean(scores >= threshold) <= 0.01


def test_a_label_that_nothing_is_taken_for_still_needs_a_plausible_score() -> None:
    evidence = Evidence((heard("wind", logits_for("rain", [3.0] * 10)),), ())
    assert choose_thresholds(evidence)["siren"] == 0.3


def test_windows_start_every_half_second_and_a_short_sound_fills_one() -> None:
    audio = np.arange(24_000, dtype=np.int16)
    assert [int(window[0]) for window in windows_of(audio)] == [0, 8000]
    assert windows_of(audio[:100]).shape == (1, 16_000)
