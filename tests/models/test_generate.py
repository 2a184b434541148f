"""Generated sounds are what they are called, within the figures of the standards they follow."""

import numpy as np
import pytest

from models.features import RATE_HZ
from models.generate import ALERTS, at_peak, coloured, draw_alert, draw_background


@pytest.mark.parametrize("label", ALERTS)
def test_an_alert_is_drawn_anew_each_time_and_the_same_from_the_same_seed(label: str) -> None:
    one, again, other = (draw_alert(np.random.default_rng(seed), label, 2.0) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("label", ALERTS)
def test_alerts_are_finite_at_full_scale_and_of_the_length_asked_for(label: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        sound = draw_alert(rng, label, 3.0)
        assert sound.shape == (48_000,)
        assert np.abs(sound).max() == pytest.approx(1.0)


def test_every_siren_has_most_of_its_power_below_6_khz_and_above_100_hz() -> None:
    rng = np.random.default_rng(4)
    hz = np.fft.rfftfreq(3 * RATE_HZ, 1 / RATE_HZ)
    for _ in range(30):
        power = np.abs(np.fft.rfft(draw_alert(rng, "siren", 3.0))) ** 2
        assert power[(hz > 100) & (hz < 6000)].sum() > 0.9 * power.sum()


def test_backgrounds_of_every_kind_are_finite() -> None:
    rng = np.random.default_rng(5)
    sounds = [draw_background(rng, 6.0) for _ in range(60)]
    assert all(np.isfinite(sound).all() and sound.shape == (6 * RATE_HZ,) for sound in sounds)
    peaks = np.array([np.abs(sound).max() for sound in sounds])
    assert np.isclose(peaks[peaks > 0], 1.0).all()
    assert np.count_nonzero(peaks == 0) < 5  # what beeps seldom may be silent for so long


def test_noise_falls_by_the_slope_asked_for() -> None:
    noise = coloured(np.random.default_rng(6), 64 * RATE_HZ, -6.0)
    hz, power = np.fft.rfftfreq(noise.size, 1 / RATE_HZ), np.abs(np.fft.rfft(noise)) ** 2
    low, high = (power[(hz > at) & (hz < 1.2 * at)].mean() for at in (500, 4000))
    assert 10 * np.log10(low / high) == pytest.approx(18.0, abs=0.5)


def test_silence_stays_silence_at_its_peak() -> None:
    assert not at_peak(np.zeros(10)).any()
