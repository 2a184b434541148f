"""An oscillator sounds nothing but its harmonics."""

import numpy as np

from models.scenes.oscillator import additive

RATE_HZ = 16_000


def test_an_oscillator_sounds_nothing_but_its_harmonics() -> None:
    phase = 3100.0 * np.arange(RATE_HZ) / RATE_HZ
    power = np.abs(np.fft.rfft(additive(phase, np.ones(12), RATE_HZ, 0.47 * RATE_HZ))) ** 2
    assert power[[3100, 6200]].sum() > (1 - 1e-9) * power.sum()
