"""phase in cycles -> sound: the harmonics, beeps and resonances that alarms and noises are made of.

An oscillator adds up the harmonics that fit under the Nyquist frequency.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Signal = NDArray[np.float64]
"""`float64[S]`."""


def additive(phase: Signal, strengths: Signal, rate_hz: int, top_hz: float) -> Signal:
    """Add up harmonics 1 to K of a phase in cycles, `float64[S]`, with strengths `float64[K]`.

    A harmonic fades out over the last tenth below `top_hz`: nothing folds back.
    """
    hz = np.gradient(phase) * rate_hz
    turn = np.exp(2j * np.pi * phase)
    wave, power = np.zeros(phase.size), np.ones(phase.size, dtype=np.complex128)
    for k, strength in enumerate(strengths, start=1):
        power *= turn
        fade = np.clip((top_hz - k * hz) / (0.1 * top_hz), 0.0, 1.0)
        if not fade.any():
            break
        wave += strength * power.imag * fade
    return wave


def pulse_train(duty: float, harmonics: int) -> Signal:
    """Return the Fourier series of a pulse wave that is high for `duty` of its period, `float64[K]`."""
    k = np.arange(1, harmonics + 1)
    return np.asarray(2.0 / (np.pi * k) * np.sin(np.pi * k * duty))


def wander(rng: np.random.Generator, samples: int, knots: int) -> Signal:
    """Return a slow random course about 0 with a spread of about 1, `float64[S]`."""
    return np.interp(np.linspace(0.0, knots - 1.0, samples), np.arange(knots), rng.normal(size=knots))


def gate(beeps_s: Signal, samples: int, rate_hz: int, edge_s: float) -> Signal:
    """Return 1 within beeps `float64[B, 2]` (starts and ends), 0 outside, `float64[S]`, with linear edges."""
    level = np.zeros(samples)
    for start_s, end_s in beeps_s:
        first, last = round(start_s * rate_hz), min(samples, round(end_s * rate_hz))
        steps = np.arange(last - first)
        nearest = np.minimum(steps + 1, steps[::-1] + 1) / max(1.0, edge_s * rate_hz)
        level[first:last] = np.minimum(1.0, nearest)
    return level


def resonate(sound: Signal, hz: float, quality: float, share: float, rate_hz: int) -> Signal:
    """Mix a sound with what a two-pole resonator makes of it, in the given share."""
    numerator, denominator = signal.iirpeak(min(hz, 0.45 * rate_hz), quality, fs=rate_hz)
    return np.asarray(share * signal.lfilter(numerator, denominator, sound) + (1.0 - share) * sound)


def lay(onto: Signal, sound: Signal, start: int) -> None:
    """Add a sound in place from a sample on, cut off where `onto` ends."""
    fits = max(0, min(sound.size, onto.size - start))
    onto[start : start + fits] += sound[:fits]
