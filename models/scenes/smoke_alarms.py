"""rng -> smoke alarms after the standards, `float64[S]`: pattern by pattern.

    rhythm ─ pitch with drift and sag ─ pulse oscillator ─ click ─ piezo resonator

Where a figure has no source beside it, it is our own choice within what the source of its pattern leaves
open.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy import signal

from models.scenes.oscillator import Signal, additive, gate, pulse_train, resonate, wander

SHORTEST_S, LONGEST_S = 4.0, 15.0
ON_S, OFF_S, PAUSE_S = 0.5, 0.5, 1.5
"""Temporal three: three beeps, then a pause. ISO 8201, ANSI S3.41-1990, NFPA 72 (18.4.2): each +-10 %."""
TIMING_SPREAD, BEEP_JITTER_S = 0.08, 0.004
"""How far an alarm's clock and one beep's edges stray: together below the 10 % of the standards."""
PIEZO_HZ = (2900.0, 3400.0)
"""What the piezo sounders of smoke alarms resonate at; EN 14604 allows nominally at most 3.5 kHz."""
BEEP_PERIOD_S, SWEEP_HZ = (0.1, 0.3), (2400.0, 3600.0)
"""EN 14604 sets the level (85 dB(A) at 3 m) and leaves the rhythm open: fast beeps and sweeps, as sold."""


def _temporal_three(rng: np.random.Generator, rate_hz: int) -> Signal:
    beeps_s = _temporal_three_beeps(rng)
    hz = rng.uniform(*PIEZO_HZ)
    piezo = pulse_train(rng.uniform(0.2, 0.5), 8)
    return _piezo(rng, beeps_s, np.full(_samples(beeps_s, rate_hz), hz), piezo, rate_hz)


def _low_frequency(rng: np.random.Generator, rate_hz: int) -> Signal:
    """Play a square wave of 520 Hz +-10 % through a small cone that falls off below and rises above.

    NFPA 72 (18.4.6.3) asks for such a wave, or its equal, in sleeping rooms.
    """
    beeps_s = _temporal_three_beeps(rng)
    pitch = np.full(_samples(beeps_s, rate_hz), rng.uniform(475.0, 565.0))
    square = pulse_train(rng.uniform(0.46, 0.54), 30)
    wave = _driven(rng, beeps_s, pitch, square, rate_hz)
    return resonate(wave, rng.uniform(600.0, 1400.0), rng.uniform(0.7, 2.0), rng.uniform(0.2, 0.7), rate_hz)


def _fast_beeps(rng: np.random.Generator, rate_hz: int) -> Signal:
    period_s, duty = rng.uniform(*BEEP_PERIOD_S), rng.uniform(0.4, 0.65)
    starts_s = np.arange(0.0, rng.uniform(SHORTEST_S, 12.0) + period_s, period_s)
    beeps_s = np.stack([starts_s, starts_s + duty * period_s], axis=1)
    hz = np.full(_samples(beeps_s, rate_hz), rng.uniform(2800.0, PIEZO_HZ[1]))
    return _piezo(rng, beeps_s, hz, pulse_train(rng.uniform(0.2, 0.5), 8), rate_hz)


def _sweeping(rng: np.random.Generator, rate_hz: int) -> Signal:
    """Sweep up, down or both, 2 to 7 times a second, with or without a break after each sweep."""
    period_s, duty = 1.0 / rng.uniform(2.0, 7.0), rng.choice([1.0, rng.uniform(0.6, 0.9)])
    starts_s = np.arange(0.0, rng.uniform(SHORTEST_S, 12.0) + period_s, period_s)
    beeps_s = np.stack([starts_s, starts_s + duty * period_s], axis=1)
    place = (np.arange(_samples(beeps_s, rate_hz)) / (rate_hz * period_s)) % 1.0
    low_hz, high_hz = rng.uniform(SWEEP_HZ[0], 2750.0), rng.uniform(3150.0, SWEEP_HZ[1])
    height = signal.sawtooth(2 * np.pi * place, width=rng.choice([0.05, 0.5, 0.95])) / 2 + 0.5
    strengths = pulse_train(rng.uniform(0.2, 0.5), 8)
    return _driven(rng, beeps_s, low_hz + (high_hz - low_hz) * height, strengths, rate_hz)


def _temporal_three_beeps(rng: np.random.Generator) -> Signal:
    """Return starts and ends in seconds, `float64[B, 2]`, of two to four cycles up to the last beep."""
    on_s, off_s, pause_s = np.array([ON_S, OFF_S, PAUSE_S]) * rng.uniform(
        1 - TIMING_SPREAD, 1 + TIMING_SPREAD, 3
    )
    cycles = np.arange(rng.integers(2, 5))[:, None] * (3 * on_s + 2 * off_s + pause_s)
    starts_s = (cycles + np.arange(3) * (on_s + off_s))[:, :, None]
    beeps_s = starts_s + np.array([0.0, on_s]) + rng.uniform(0, BEEP_JITTER_S, (len(cycles), 3, 2))
    fits = beeps_s[:, -1, 1] < LONGEST_S - 0.05
    return np.asarray(beeps_s[fits].reshape(-1, 2) - beeps_s[0, 0, 0])


def _samples(beeps_s: Signal, rate_hz: int) -> int:
    """Return the length of a pattern: to its last edge and 20 ms more for the resonator."""
    return round((float(beeps_s[-1, 1]) + 0.02) * rate_hz)


def _piezo(rng: np.random.Generator, beeps_s: Signal, hz: Signal, strengths: Signal, rate_hz: int) -> Signal:
    wave = _driven(rng, beeps_s, hz, strengths, rate_hz)
    centre_hz = hz[0] * rng.uniform(0.98, 1.02)
    return resonate(wave, centre_hz, rng.uniform(6.0, 25.0), rng.uniform(0.5, 0.95), rate_hz)


def _driven(rng: np.random.Generator, beeps_s: Signal, hz: Signal, strengths: Signal, rate_hz: int) -> Signal:
    """Drive a sounder: the pitch sags within a beep and falls with the battery; ripple and clicks on top."""
    seconds = np.arange(hz.size) / rate_hz
    starts_s = beeps_s[:, 0]
    since_s = seconds - starts_s[np.searchsorted(starts_s, seconds, side="right") - 1]
    sag = rng.uniform(-0.005, 0.015) * np.exp(-since_s / rng.uniform(0.02, 0.1))
    battery = -rng.uniform(0.0, 0.006) * seconds / LONGEST_S + 0.001 * wander(rng, hz.size, 6)
    phase = np.cumsum(hz * (1 + sag) * (1 + battery)) / rate_hz
    ripple = 1 + rng.uniform(0.0, 0.12) * np.sin(2 * np.pi * rng.uniform(15.0, 120.0) * seconds)
    level = gate(beeps_s, hz.size, rate_hz, rng.uniform(0.001, 0.006))
    click = rng.uniform(0.0, 0.4) * rng.normal(size=hz.size) * np.exp(-since_s / 0.0007)
    return additive(phase, strengths, rate_hz, 0.47 * rate_hz) * ripple * level + click * (level > 0)


SMOKE_ALARMS: Mapping[str, Callable[[np.random.Generator, int], Signal]] = MappingProxyType(
    {
        "temporal_three": _temporal_three,
        "low_frequency": _low_frequency,
        "fast_beeps": _fast_beeps,
        "sweeping": _sweeping,
    }
)
"""Pattern -> how to draw it at a rate in Hz."""
