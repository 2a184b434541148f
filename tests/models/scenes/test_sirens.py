"""Sirens keep to the standards that they are made after, measured on the sound itself."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from models.scenes import sirens
from models.scenes.sirens import TWO_TONES
from tests.models.scenes.heard import RATE_HZ, SEEDS, drawn, pitches_hz

FASTEST_PASS = 343.0 / (343.0 - 30.0)
"""The most that a passing vehicle raises a pitch."""


def period_s(course: NDArray[np.float64], longest_s: float) -> float:
    """Return the first lag at which a course of 100 values a second looks like itself again."""
    lags = np.arange(1, round(100 * longest_s))
    likeness = np.array([np.corrcoef(course[:-lag], course[lag:])[0, 1] for lag in lags])
    unlike = int(np.argmax(likeness < 0))
    peaks = signal.find_peaks(likeness[unlike:], height=0.6 * likeness[unlike:].max())[0]
    return float(lags[unlike + peaks[0]] / 100)


def test_a_yelp_is_heard_150_to_250_times_a_minute() -> None:
    for seed in SEEDS:
        pitch_hz = pitches_hz(drawn("siren", "yelp", seed).sound, 0.03)
        assert 0.25 / FASTEST_PASS - 0.015 < period_s(pitch_hz, 1.0) < 0.40 * FASTEST_PASS + 0.015


@pytest.mark.parametrize(("course", "a_minute"), [(sirens._wail, (10, 30)), (sirens._yelp, (150, 250))])
def test_wail_and_yelp_cycle_as_often_as_california_asks(
    course: Callable[[np.random.Generator, int], sirens.Course], a_minute: tuple[int, int]
) -> None:
    for seed in SEEDS:
        hz = np.diff(course(np.random.default_rng(seed), RATE_HZ)[0])
        rising = np.diff(hz) > 0
        cycles = np.count_nonzero(rising[1:] & ~rising[:-1]) + 1
        assert a_minute[0] - 0.1 <= 60 * cycles / (hz.size / RATE_HZ) <= a_minute[1] + 0.1


@pytest.mark.parametrize("pattern", ["wail", "yelp"])
def test_electronic_sirens_sweep_within_450_to_1700_hz(pattern: str) -> None:
    for seed in SEEDS:
        pitch_hz = pitches_hz(drawn("siren", pattern, seed).sound, 0.03)
        low_hz, high_hz = np.quantile(pitch_hz, [0.05, 0.95])
        assert 450 / FASTEST_PASS - 40 < low_hz < 1000
        assert high_hz < 3500
        assert high_hz / low_hz > 1.25


def test_a_rumbler_adds_a_quarter_of_the_pitch() -> None:
    for seed in SEEDS:
        sound = drawn("siren", "rumbler_wail", seed).sound
        plain = drawn("siren", "wail", seed).sound
        low = signal.butter(6, (100, 380), "bandpass", fs=RATE_HZ, output="sos")
        share, without = (np.mean(signal.sosfilt(low, x) ** 2) / np.mean(x**2) for x in (sound, plain))
        assert share > 0.02
        assert share > 20 * without


@pytest.mark.parametrize("seed", range(10))
def test_two_tone_horns_sound_the_intervals_of_their_countries(seed: int) -> None:
    pitch_hz = pitches_hz(drawn("siren", "two_tone", seed).sound, 0.1)
    middle = np.sqrt(np.quantile(pitch_hz, 0.1) * np.quantile(pitch_hz, 0.9))
    low_hz, high_hz = np.median(pitch_hz[pitch_hz < middle]), np.median(pitch_hz[pitch_hz >= middle])
    assert 360 / FASTEST_PASS < low_hz < 810 * FASTEST_PASS
    intervals = np.array([high / low for low, high, *_ in TWO_TONES.values()])
    assert np.abs(intervals / (high_hz / low_hz) - 1).min() < 0.06


def test_every_two_tone_horn_lies_within_its_rule() -> None:
    low_hz, high_hz, tone_s, least, most = TWO_TONES["germany"]
    assert low_hz * least >= 360
    assert high_hz * most <= 630
    assert high_hz / low_hz == pytest.approx(4 / 3, rel=0.001)
    assert 4 * tone_s == 3.0
    for name in ("france_police", "france_gendarmerie", "france_samu"):
        slowest, fastest = (30 / (TWO_TONES[name][2] * factor) for factor in (1.08, 0.92))
        assert 50 <= slowest < fastest <= 60


def test_a_rotor_has_inertia_and_a_pitch_of_300_to_900_hz() -> None:
    for seed in SEEDS:
        phase, level = sirens._air_raid(np.random.default_rng(seed), RATE_HZ)
        hz = np.diff(phase) * RATE_HZ
        assert hz.min() >= 240
        assert hz.max() <= 900
        assert np.abs(np.diff(hz)).max() * RATE_HZ < 700
        assert level.max() <= 1.0


def test_a_passing_vehicle_lowers_the_pitch_and_never_falls_silent() -> None:
    course = np.arange(10 * RATE_HZ) * 1000.0 / RATE_HZ, np.ones(10 * RATE_HZ)
    for seed in SEEDS:
        phase, level = sirens._passing(np.random.default_rng(seed), course, RATE_HZ)
        hz = np.diff(phase)[100:-100] * RATE_HZ
        assert (np.diff(hz[::100]) < 1e-3).all()
        assert hz[0] > 1003
        assert hz[-1] < 997
        assert 1000 / FASTEST_PASS - 15 < hz[-1] < hz[0] < 1000 * FASTEST_PASS
        assert level.min() >= 0.3
