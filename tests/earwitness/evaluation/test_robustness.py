"""Each curve changes what it says, and nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import backgrounds
from earwitness.evaluation.robustness import Trial, points, robustness
from models.dataset import read_labels
from tests.earwitness.evaluation.folders import write_folder


@pytest.fixture
def trial(tmp_path: Path, tiny_model: Path) -> Trial:
    listener = Listener.of(tiny_model)
    entries = read_labels(write_folder(tmp_path, [("loud", 0.9, 1.0, 1)] * 3))
    return Trial(listener, entries, backgrounds((), listener.spec, 1, (), np.random.default_rng(1)))


def test_every_curve_has_a_point_for_each_step_and_its_interval(trial: Trial) -> None:
    ticks: list[None] = []
    curves = robustness([trial], seed=1, tick=lambda: ticks.append(None))
    assert len(ticks) == points() == sum(len(curve) for curve in curves.values())
    assert set(curves) == {
        "white_noise_snr_db",
        "background_snr_db",
        "gain_db",
        "reverberation_rt60_s",
        "sample_rate_hz",
        "lost_share",
    }
    assert all(point.accuracy.all == 3 for curve in curves.values() for point in curve)


def test_the_same_seed_gives_the_same_curves(trial: Trial) -> None:
    assert robustness([trial], seed=1) == robustness([trial], seed=1)


def test_guesses_are_among_the_labels_that_are_given(trial: Trial) -> None:
    quiet = replace(trial, entries=[replace(entry, label="high") for entry in trial.entries])
    alone = robustness([quiet], seed=1)["sample_rate_hz"]
    among = robustness([quiet], seed=1, among=("loud", "high"))["sample_rate_hz"]
    assert {point.accuracy.value for point in alone} == {1.0}
    assert any(point.accuracy.right < point.accuracy.all for point in among)
