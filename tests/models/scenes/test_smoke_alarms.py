"""Smoke alarms keep to the standards that they are made after, measured on the sound itself."""

import numpy as np
import pytest

from tests.models.scenes.heard import RATE_HZ, SEEDS, beeps_s, drawn, pitches_hz, strongest_hz


@pytest.mark.parametrize("pattern", ["temporal_three", "low_frequency"])
@pytest.mark.parametrize("seed", range(12))
def test_temporal_three_keeps_the_times_of_iso_8201(pattern: str, seed: int) -> None:
    beeps = beeps_s(drawn("smoke_alarm", pattern, seed).sound)
    assert len(beeps) % 3 == 0
    assert len(beeps) >= 6
    assert (np.abs(beeps[:, 1] - beeps[:, 0] - 0.5) < 0.05).all()
    breaks = np.append(beeps[1:, 0] - beeps[:-1, 1], 1.5).reshape(-1, 3)
    assert (np.abs(breaks[:, :2] - 0.5) < 0.05).all()
    assert (np.abs(breaks[:, 2] - 1.5) < 0.15).all()


@pytest.mark.parametrize(
    ("pattern", "lowest_hz", "highest_hz"),
    [("temporal_three", 2850, 3450), ("fast_beeps", 2750, 3450), ("sweeping", 2350, 3650)],
)
def test_a_piezo_sounder_is_loudest_in_its_band(pattern: str, lowest_hz: float, highest_hz: float) -> None:
    for seed in SEEDS:
        sound = drawn("smoke_alarm", pattern, seed).sound
        assert lowest_hz <= strongest_hz(sound) <= highest_hz
        power = np.abs(np.fft.rfft(sound)) ** 2
        hz = np.fft.rfftfreq(sound.size, 1 / RATE_HZ)
        assert power[(hz > lowest_hz) & (hz < highest_hz)].sum() > 0.5 * power.sum()


def test_the_low_frequency_signal_is_a_square_wave_of_520_hz() -> None:
    for seed in SEEDS:
        sound = drawn("smoke_alarm", "low_frequency", seed).sound
        power = np.abs(np.fft.rfft(sound)) ** 2
        hz = np.fft.rfftfreq(sound.size, 1 / RATE_HZ)
        low = (hz > 440) & (hz < 600)
        base_hz = hz[low][power[low].argmax()]
        assert 468 <= base_hz <= 572
        odd, even = (
            sum(power[np.abs(hz - k * base_hz) < 25].sum() for k in harmonics)
            for harmonics in ((1, 3, 5, 7), (2, 4, 6, 8))
        )
        assert odd > 10 * even


def test_fast_beeps_repeat_every_100_to_300_ms() -> None:
    for seed in SEEDS:
        beeps = beeps_s(drawn("smoke_alarm", "fast_beeps", seed).sound)
        spacings = np.diff(beeps[:, 0])
        assert ((spacings > 0.095) & (spacings < 0.305)).all()
        assert np.ptp(spacings) < 0.012


def test_sweeping_sounders_sweep() -> None:
    for seed in SEEDS:
        pitch_hz = pitches_hz(drawn("smoke_alarm", "sweeping", seed).sound, 0.02)
        low_hz, high_hz = np.quantile(pitch_hz, [0.1, 0.9])
        assert high_hz - low_hz > 200
