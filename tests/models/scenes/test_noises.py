"""Noises are what they say."""

import numpy as np
import pytest

from models.scenes import noises
from models.scenes.noises import NOISES, STRUCK, draw_noise
from schemas.errors import ConfigurationError
from tests.models.scenes.heard import RATE_HZ, SEEDS, power


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_every_noise_is_finite_as_long_as_asked_and_peaks_at_one(kind: str, rate_hz: int) -> None:
    for seed, length_s in enumerate((0.1, 1.0, 3.0, 5.3)):
        sound = draw_noise(np.random.default_rng(seed), kind, length_s, rate_hz)
        assert sound.dtype == np.float64
        assert sound.size == round(length_s * rate_hz)
        assert np.isfinite(sound).all()
        assert np.abs(sound).max() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", NOISES)
def test_the_same_seed_draws_the_same_noise_and_another_seed_another(kind: str) -> None:
    first, again, other = (draw_noise(np.random.default_rng(seed), kind, 2.0, RATE_HZ) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("slope_db", [-9.0, -6.0, -3.0, 0.0, 3.0])
def test_noise_has_the_slope_it_was_given(slope_db: float) -> None:
    hz, energy = power(noises._sloped(np.random.default_rng(1), 20 * RATE_HZ, slope_db, RATE_HZ))
    octaves = [energy[(hz > low) & (hz < 2 * low)].mean() for low in (100, 200, 400, 800, 1600, 3200)]
    fall_db = np.polyfit(np.arange(6), 10 * np.log10(octaves), 1)[0]
    assert fall_db == pytest.approx(slope_db, abs=0.3)


def test_hum_is_the_mains_and_its_harmonics() -> None:
    for seed in SEEDS:
        hz, energy = power(draw_noise(np.random.default_rng(seed), "hum", 10.0, RATE_HZ))
        audible = (hz > 30) & (hz < 330)
        off_by = min(
            (energy * (np.abs(hz - mains * np.maximum(1, np.round(hz / mains))) > 3) * audible).sum()
            for mains in (50.0, 60.0)
        )
        assert off_by < 0.1 * energy[audible].sum()


def test_engines_fire_as_often_as_their_speed_says() -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        firings = np.arange(0, 10 * RATE_HZ, 400)
        strikes = noises._firings(rng, firings, 4, 10 * RATE_HZ)
        places = np.flatnonzero(strikes)
        assert places.size == firings.size
        assert np.abs(places - firings).max() <= 400 // 50 + 1
        assert 0.5 < strikes[places].mean() < 1.1


def test_engines_are_low() -> None:
    for seed in SEEDS:
        hz, energy = power(draw_noise(np.random.default_rng(seed), "engine", 5.0, RATE_HZ))
        assert energy[(hz > 20) & (hz < 2000)].sum() > 0.7 * energy[hz > 20].sum()


def test_a_whistle_is_held_and_creeps_by_a_few_per_cent() -> None:
    for seed in SEEDS:
        sound = noises._whistle(np.random.default_rng(seed), 8 * RATE_HZ, RATE_HZ)
        found = []
        for second in sound.reshape(8, RATE_HZ):
            hz, energy = power(second)
            found.append(hz[energy.argmax()])
            assert second.std() > 0.5 * sound.std()
        assert max(found) / min(found) < 1.07


@pytest.mark.parametrize("name", STRUCK)
def test_a_blow_starts_at_once_and_dies_away(name: str) -> None:
    for seed in SEEDS:
        blow = noises._blow(np.random.default_rng(seed), STRUCK[name], RATE_HZ)
        quarter = blow.size // 4
        assert np.sum(blow[:quarter] ** 2) > 5 * np.sum(blow[-quarter:] ** 2)


def test_clatter_comes_in_peaks() -> None:
    for seed in SEEDS:
        sound = draw_noise(np.random.default_rng(seed), "clatter", 10.0, RATE_HZ)
        assert np.abs(sound).max() > 5 * sound.std()


@pytest.mark.parametrize(
    ("kind", "length_s", "rate_hz", "names"),
    [
        ("thunder", 1.0, RATE_HZ, "coloured, hum, engine, tones, beeps, clatter"),
        ("hum", 0.0, RATE_HZ, "0.1 to 600"),
        ("hum", float("nan"), RATE_HZ, "0.1 to 600"),
        ("hum", 1e9, RATE_HZ, "0.1 to 600"),
        ("hum", 1.0, 100, "8000 to 192000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(kind: str, length_s: float, rate_hz: int, names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        draw_noise(np.random.default_rng(0), kind, length_s, rate_hz)
