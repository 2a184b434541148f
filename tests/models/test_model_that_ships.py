"""The committed models: the same bits in any batch, nothing in silence, alerts over a background."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from earwitness.shipping.card import AT_THRESHOLDS, CARD_FILE, LIMITS
from models import catalogue
from models.dataset import PCM, to_pcm
from models.evaluate import windows_of
from models.generate import ALERTS
from models.scenes.alarms import PATTERNS, draw_alarm
from models.session import open_session, score
from producers.sources import sounds
from schemas.model import MODEL_FILE, ModelSpec, read_spec

DIRECTORY = catalogue.CATALOGUE / "earwitness-small" / "2"
SMALL = catalogue.CATALOGUE / "earwitness-small-int8" / "2"
TRIGGER = catalogue.CATALOGUE / "earwitness-trigger" / "1"
LARGEST_BATCH = 64
PHASES_S = (0.0, 0.1, 0.2, 0.3, 0.4)
"""Moments of a hop: where windows cut a pattern decides what each of them hears."""
every_model = pytest.mark.parametrize("directory", [DIRECTORY, SMALL, TRIGGER], ids=lambda d: d.parent.name)
either_precision = pytest.mark.parametrize("directory", [DIRECTORY, SMALL], ids=lambda d: d.parent.name)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return read_spec(DIRECTORY)


def scores(windows: PCM, directory: Path = DIRECTORY) -> NDArray[np.float32]:
    return score(open_session(directory / MODEL_FILE), windows)


def thresholds(directory: Path = DIRECTORY) -> NDArray[np.float64]:
    spec = read_spec(directory)
    return np.array([spec.thresholds[label] for label in spec.labels])


def active(reached: NDArray[np.bool_], m: int, n: int) -> NDArray[np.bool_]:
    """Return where at least m of the last n windows reached the threshold, `bool[W]`."""
    return np.asarray(np.convolve(reached.astype(int), np.ones(n, dtype=int))[: reached.size] >= m)


def found(spec: ModelSpec, label: str, sound: sounds.Samples, directory: Path = DIRECTORY) -> bool:
    reached = scores(windows_of(to_pcm(sound)), directory) >= thresholds(directory)
    return bool(active(reached[:, spec.labels.index(label)], *spec.m_of_n_of(label)).any())


def begun(sound: sounds.Samples, begins_s: float) -> sounds.Samples:
    """Put a second of silence around a sound, so that it begins at a moment of a hop."""
    return np.pad(sound, (round((1.0 + begins_s) * 16_000), 16_000))


def noisy_windows(count: int) -> PCM:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((count, 16_000)) * np.geomspace(1.0, 10_000.0, count)[:, None]
    return np.clip(noise, -32768, 32767).astype(np.int16)


@every_model
def test_a_window_has_the_same_scores_to_the_last_bit_in_any_batch_and_place(directory: Path) -> None:
    session, windows = open_session(directory / MODEL_FILE), noisy_windows(LARGEST_BATCH)
    alone = np.concatenate([score(session, window[None]) for window in windows])
    for size in range(1, LARGEST_BATCH + 1):
        assert np.array_equal(score(session, windows[:size]), alone[:size]), size
        assert np.array_equal(score(session, windows[-size:]), alone[-size:]), size


@every_model
def test_nothing_is_heard_in_digital_silence(directory: Path) -> None:
    silent = scores(np.zeros((1, 16_000), np.int16), directory)
    assert np.isfinite(silent).all()
    assert (silent < thresholds(directory)).all()


def test_nothing_is_heard_in_the_noise_of_rounding() -> None:
    dither = np.random.default_rng(2).integers(-1, 2, (16, 16_000)).astype(np.int16)
    assert (scores(dither) < thresholds()).all()


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
        ("siren", sounds.siren(6.0, 16_000, sounds.WAIL)),
        ("siren", sounds.siren(6.0, 16_000, sounds.YELP)),
    ],
    ids=["piezo", "wail", "yelp"],
)
def test_an_alert_is_found_over_a_background_and_not_taken_for_the_other(
    spec: ModelSpec, label: str, sound: sounds.Samples, snr_db: float
) -> None:
    background = sounds.ambience(np.random.default_rng(3), 6.0, 16_000)
    mixed = sounds.mix(sound, background, snr_db)
    assert [alert for alert in ALERTS if found(spec, alert, mixed)] == [label]


@either_precision
@pytest.mark.parametrize("snr_db", [0.0, 5.0, 15.0, 25.0, 35.0, 50.0])
@pytest.mark.parametrize("begins_s", PHASES_S)
def test_a_clear_smoke_alarm_is_found_wherever_windows_cut_it(
    spec: ModelSpec, begins_s: float, snr_db: float, directory: Path
) -> None:
    alarm = begun(sounds.smoke_alarm(7.0, 16_000), begins_s)
    for seed in range(3):
        background = sounds.ambience(np.random.default_rng(seed), alarm.size / 16_000, 16_000)
        assert found(spec, "smoke_alarm", sounds.mix(alarm, background, snr_db), directory), seed


@either_precision
@pytest.mark.parametrize("sweep", [sounds.WAIL, sounds.YELP], ids=["wail", "yelp"])
@pytest.mark.parametrize("snr_db", [0.0, 5.0, 15.0, 25.0, 35.0, 50.0])
@pytest.mark.parametrize("begins_s", PHASES_S)
def test_a_clear_siren_is_found_wherever_windows_cut_it(
    spec: ModelSpec, begins_s: float, snr_db: float, sweep: sounds.Sweep, directory: Path
) -> None:
    siren = begun(sounds.siren(7.0, 16_000, sweep), begins_s)
    for seed in range(3):
        background = sounds.ambience(np.random.default_rng(seed), siren.size / 16_000, 16_000)
        assert found(spec, "siren", sounds.mix(siren, background, snr_db), directory), seed


@pytest.mark.parametrize(
    ("label", "sound"),
    [
        ("smoke_alarm", sounds.smoke_alarm(7.0, 16_000)),
        ("smoke_alarm", sounds.smoke_alarm(7.0, 16_000, sounds.LOW_FREQUENCY)),
        ("siren", sounds.siren(7.0, 16_000, sounds.WAIL)),
        ("siren", sounds.siren(7.0, 16_000, sounds.YELP)),
    ],
    ids=["piezo", "low frequency", "wail", "yelp"],
)
@pytest.mark.parametrize("begins_s", PHASES_S)
def test_an_alert_is_found_without_any_background(
    spec: ModelSpec, label: str, sound: sounds.Samples, begins_s: float
) -> None:
    assert found(spec, label, begun(0.5 * sound / np.abs(sound).max(), begins_s))


@pytest.mark.parametrize(
    ("label", "pattern"),
    [(label, pattern) for label in ALERTS for pattern in PATTERNS[label]],
)
def test_alerts_of_the_other_generator_are_found_in_a_clear_scene(
    spec: ModelSpec, label: str, pattern: str
) -> None:
    missed = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        alarm = begun(draw_alarm(rng, label, 16_000, pattern).sound, 0.0)
        background = sounds.ambience(rng, alarm.size / 16_000, 16_000)
        if not found(spec, label, sounds.mix(alarm, background, 20.0)):
            missed.append(seed)
    assert len(missed) <= 1, missed


@pytest.mark.parametrize("snr_db", [5.0, 10.0])
def test_an_alarm_of_low_frequency_is_found_where_it_is_louder_than_the_background(
    spec: ModelSpec, snr_db: float
) -> None:
    """In a background as loud as itself it may be missed."""
    background = sounds.ambience(np.random.default_rng(3), 6.0, 16_000)
    alarm = sounds.smoke_alarm(6.0, 16_000, sounds.LOW_FREQUENCY)
    assert found(spec, "smoke_alarm", sounds.mix(alarm, background, snr_db))


def test_the_model_is_small_enough_to_keep_in_a_repository() -> None:
    assert (DIRECTORY / MODEL_FILE).stat().st_size < 1_000_000


def test_with_8_bits_it_is_half_as_large_and_says_much_the_same() -> None:
    assert (SMALL / MODEL_FILE).stat().st_size <= 0.5 * (DIRECTORY / MODEL_FILE).stat().st_size
    assert read_spec(SMALL).labels == read_spec(DIRECTORY).labels
    assert np.abs(scores(noisy_windows(16), SMALL) - scores(noisy_windows(16))).max() < 0.3


def test_the_trigger_fits_into_100_kb_and_has_one_label() -> None:
    assert (TRIGGER / MODEL_FILE).stat().st_size <= 100_000
    assert read_spec(TRIGGER).labels == ("sound",)


def test_the_trigger_lets_an_alarm_through() -> None:
    background = sounds.ambience(np.random.default_rng(4), 6.0, 16_000)
    alarm = sounds.mix(sounds.smoke_alarm(6.0, 16_000), background, 5.0)
    assert (scores(windows_of(to_pcm(alarm)), TRIGGER) >= thresholds(TRIGGER)).mean() > 0.5


@every_model
def test_every_card_says_the_limits(directory: Path) -> None:
    card = (directory / CARD_FILE).read_text("utf-8")
    assert LIMITS in card
    assert (AT_THRESHOLDS.strip() in card) == (directory != TRIGGER)
