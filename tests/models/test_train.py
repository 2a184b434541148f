"""Training learns, repeats itself, and leaves a model directory that can be used."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from earwitness.train import quick_settings, synthesise, train_with_progress
from models.bank import Bank, synthetic_takes, take_of
from models.export import open_session, score
from models.fit import FitSettings, fit, repeat_exactly
from models.recordings import ALERTS, read_esc10
from models.train import TrainSettings
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, read_spec

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "esc10" / "labels.csv").is_file(), reason=f"no recordings at {DATA}"
)


def synthetic_bank() -> Bank:
    """Return a bank of generated sounds only: alerts stand in for recordings too."""
    takes = synthetic_takes(synthesise, np.random.default_rng(0), 40)
    alerts = [take for take in takes if take.label is not None]
    backgrounds = [take for take in takes if take.label is None]
    return Bank([[take] for take in alerts], alerts, backgrounds)


def test_training_twice_gives_the_same_weights() -> None:
    repeat_exactly()
    settings = FitSettings(steps=3, batch=8)
    one, two = (fit(synthetic_bank(), settings, 1, lambda _: None) for _ in range(2))
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, two.state_dict()[name]), name


def test_a_batch_holds_recordings_alerts_and_nothing_in_their_shares() -> None:
    batch = synthetic_bank().draw(np.random.default_rng(1), 100)
    assert batch.power.shape == (100, 49, 64)
    assert batch.targets[:76].sum(dim=1).tolist() == [1.0] * 76
    assert not batch.targets[76:].any()


def test_a_nearly_silent_window_of_a_recording_is_never_drawn_as_its_label() -> None:
    audio = np.zeros(80_000, np.int16)
    audio[:8000] = np.random.default_rng(2).integers(-9000, 9000, 8000)
    take = take_of(audio, "dog_bark")
    assert take.loud.max() * 320 < 8000
    assert take.quiet.min() * 320 > 8000 - 400


def test_a_fold_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folds"):
        TrainSettings(data=DATA, out=tmp_path, folds=(5,))


def test_data_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"labels\.csv"):
        read_esc10(tmp_path)


@needs_data
def test_a_quick_training_learns_and_writes_a_model_with_its_card(tmp_path: Path) -> None:
    out = tmp_path / "quick" / "1"
    settings = replace(quick_settings(DATA, out), folds=())
    trained = train_with_progress(settings, Console(file=io.StringIO()))
    first, last = np.mean(trained.losses[:10]), np.mean(trained.losses[-10:])
    assert last < 0.8 * first
    assert read_spec(out) == trained.spec
    silence = np.zeros((2, 16_000), np.int16)
    assert score(open_session(out / MODEL_FILE), silence).shape == (2, 10 + len(ALERTS))
    assert "not certified for life safety" in (out / "CARD.md").read_text(encoding="utf-8")
