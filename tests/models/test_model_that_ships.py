"""The committed model: the same bits in any batch, nothing in silence, alerts over a background."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models import catalogue
from models.card import LIMITS
from models.evaluate import active, windows_of
from models.export import open_session, score
from models.recordings import ALERTS, PCM, to_pcm
from producers.sources import sounds
from schemas.model import MODEL_FILE, ModelSpec, read_spec

DIRECTORY = catalogue.CATALOGUE / "earwitness-small" / "1"
LARGEST_BATCH = 64


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return read_spec(DIRECTORY)


def scores(windows: PCM) -> NDArray[np.float32]:
    return score(open_session(DIRECTORY / MODEL_FILE), windows)


def thresholds(spec: ModelSpec) -> NDArray[np.float64]:
    return np.array([spec.thresholds[label] for label in spec.labels])


def noisy_windows(count: int) -> PCM:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((count, 16_000)) * np.geomspace(1.0, 10_000.0, count)[:, None]
    return np.clip(noise, -32768, 32767).astype(np.int16)


def test_a_window_has_the_same_scores_to_the_last_bit_in_any_batch_and_place() -> None:
    session, windows = open_session(DIRECTORY / MODEL_FILE), noisy_windows(LARGEST_BATCH)
    alone = np.concatenate([score(session, window[None]) for window in windows])
    for size in range(1, LARGEST_BATCH + 1):
        assert np.array_equal(score(session, windows[:size]), alone[:size]), size
        assert np.array_equal(score(session, windows[-size:]), alone[-size:]), size


def test_nothing_is_heard_in_digital_silence(spec: ModelSpec) -> None:
    silent = scores(np.zeros((1, 16_000), np.int16))
    assert np.isfinite(silent).all()
    assert (silent < thresholds(spec)).all()


def test_nothing_is_heard_in_the_noise_of_rounding(spec: ModelSpec) -> None:
    dither = np.random.default_rng(2).integers(-1, 2, (16, 16_000)).astype(np.int16)
    assert (scores(dither) < thresholds(spec)).all()


@pytest.mark.parametrize("value", [-32768, 32767])
def test_full_scale_gives_finite_scores(value: int) -> None:
    constant = np.full((1, 16_000), value, np.int16)
    square = np.where(np.arange(16_000) % 2, value, -1 - value).astype(np.int16)[None]
    for windows in (constant, square):
        assert np.isfinite(scores(windows)).all()


def test_scores_are_probabilities() -> None:
    given = scores(noisy_windows(16))
    assert given.dtype == np.float32
    assert given.shape == (16, 12)
    assert ((given >= 0) & (given <= 1)).all()


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 10.0])
@pytest.mark.parametrize(
    ("label", "sound"),
    [
        ("smoke_alarm", sounds.smoke_alarm(6.0, 16_000)),
        ("smoke_alarm", sounds.smoke_alarm(6.0, 16_000, sounds.LOW_FREQUENCY)),
        ("siren", sounds.siren(6.0, 16_000, sounds.WAIL)),
        ("siren", sounds.siren(6.0, 16_000, sounds.YELP)),
    ],
    ids=["piezo", "low frequency", "wail", "yelp"],
)
def test_an_alert_is_found_over_a_background_and_not_taken_for_the_other(
    spec: ModelSpec, label: str, sound: sounds.Samples, snr_db: float
) -> None:
    background = sounds.ambience(np.random.default_rng(3), 6.0, 16_000)
    given = scores(windows_of(to_pcm(sounds.mix(sound, background, snr_db))))
    reached = given >= thresholds(spec)
    found = {alert: active(reached[:, spec.labels.index(alert)], spec.m, spec.n) for alert in ALERTS}
    assert found.pop(label).any()
    assert not found.popitem()[1].any()


def test_the_model_is_small_enough_to_keep_in_a_repository() -> None:
    assert (DIRECTORY / MODEL_FILE).stat().st_size < 1_000_000


def test_the_card_says_the_limits_that_training_writes() -> None:
    assert LIMITS in (DIRECTORY / "CARD.md").read_text("utf-8")
