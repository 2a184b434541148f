"""numbers -> sound: alarms, sirens and background that belong to nobody.

For demos, tests and training. Everything here is mono, float64 in [-1, 1], and a function of its
arguments and of the random generator that is passed in: the same seed gives the same samples.

    smoke alarm   ███   ███   ███            ███   ███   ███      ISO 8201: three pulses of
                  0     1     2     3        4     5     6 s      0.5 s, then 1.5 s of silence

    siren         ╱╲╱╲╱╲     wail: about 4 s from one low to the next; yelp: about 0.3 s
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

PULSE_S, GAP_S, PAUSE_S = 0.5, 0.5, 1.5
"""ISO 8201:1987, temporal-three, each ±10 %: a pulse, the silence between two, that after three."""
PULSES = 3
EDGE_S = 0.005
"""Rise and fall of a pulse, so that it does not click."""
SOUNDING_DB = -30.0
"""A block of a signal sounds if its power is at most this far below its loudest block's."""


@dataclass(frozen=True, slots=True)
class Tone:
    """A steady tone and the amplitudes of its partials: the first is the fundamental's."""

    frequency_hz: float
    partials: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A tone that climbs from `low_hz` to `high_hz` and falls back once every `period_s`."""

    low_hz: float
    high_hz: float
    period_s: float
    partials: tuple[float, ...] = (1.0, 0.4, 0.25, 0.1)


@dataclass(frozen=True, slots=True)
class Background:
    """Shape of generated background: noise that falls with frequency, swells slowly, and hums."""

    slope_db_per_octave: float = -4.0
    swell_db: float = 3.0
    """Standard deviation of the slow changes of level."""
    hum_hz: float = 50.0
    hum_db: float = -12.0
    """Power of the hum against the noise."""
    level_dbfs: float = -30.0
    """Root mean square of the whole against a full-scale value of 1."""


SQUARE = tuple(1.0 / k if k % 2 else 0.0 for k in range(1, 32))
"""Fourier series of a square wave, up to the 31st partial."""
PIEZO = Tone(3100.0, (1.0, 0.2, 0.1))
"""The usual piezo sounder of a domestic smoke alarm, about 3.1 kHz."""
LOW_FREQUENCY = Tone(520.0, SQUARE)
"""NFPA 72, 18.4.6.3: a square wave of 520 Hz ±10 % wakes sleepers that 3.1 kHz does not."""
WAIL = Sweep(600.0, 1350.0, 4.0)
"""15 sweeps a minute; California Code of Regulations 13 § 1028 allows a wail 10 to 30."""
YELP = Sweep(600.0, 1350.0, 0.3)
"""200 sweeps a minute; the same section allows a yelp 150 to 250."""


def smoke_alarm(seconds: float, rate_hz: int, tone: Tone = PIEZO, start_s: float = 0.0) -> Samples:
    """Sound a temporal-three smoke alarm, `float64[seconds * rate_hz]`.

    `start_s` is the point of the 4 s pattern at which the sound begins.
    """
    time_s = start_s + np.arange(_length(seconds, rate_hz)) / rate_hz
    return _partials(np.full_like(time_s, tone.frequency_hz), rate_hz, tone.partials) * _temporal_three(
        time_s
    )


def siren(seconds: float, rate_hz: int, sweep: Sweep = WAIL, start_s: float = 0.0) -> Samples:
    """Sound a vehicle's siren, `float64[seconds * rate_hz]`.

    It sweeps evenly in pitch, that is in the logarithm of frequency. `start_s` is the point of the
    sweep at which the sound begins; a sweep begins at `low_hz`.
    """
    time_s = start_s + np.arange(_length(seconds, rate_hz)) / rate_hz
    height = 1.0 - np.abs(2.0 * ((time_s / sweep.period_s) % 1.0) - 1.0)
    frequency_hz = sweep.low_hz * (sweep.high_hz / sweep.low_hz) ** height
    return _partials(frequency_hz, rate_hz, sweep.partials)


def ambience(
    rng: np.random.Generator, seconds: float, rate_hz: int, background: Background = Background()
) -> Samples:
    """Make a background out of nothing but numbers, `float64[seconds * rate_hz]`."""
    size = _length(seconds, rate_hz)
    noise = _coloured_noise(rng, size, rate_hz, background.slope_db_per_octave)
    noise *= _swell(rng, seconds, size, background.swell_db)
    hum = _partials(np.full(size, background.hum_hz), rate_hz, (1.0, 0.5, 0.3, 0.2))
    sound = _at_rms(noise, 1.0) + _at_rms(hum, _gain(background.hum_db))
    return np.clip(_at_rms(sound, _gain(background.level_dbfs)), -1.0, 1.0)


def mix(signal: Samples, background: Samples, snr_db: float) -> Samples:
    """Lay a signal over a background of the same length, `float64[N]`.

    SNR is the signal's mean power where it sounds over the background's mean power throughout. It
    sounds in the blocks (160 samples, 10 ms at 16 kHz) whose power is within 30 dB of its loudest
    block's, so the silence between the pulses of an alarm does not count. The background keeps its
    level; if the sum would clip, all of it is lowered.

    Raises:
        ValueError: the lengths differ, or signal or background is silent: there is no such ratio.

    """
    if signal.shape != background.shape:
        raise ValueError(f"signal has {signal.size} samples, background {background.size}")
    signal_power, background_power = sounding_power(signal), float(np.mean(background**2))
    if signal_power == 0.0 or background_power == 0.0:
        raise ValueError("signal or background is silent: no gain gives the SNR that was asked for")
    gain = np.sqrt(background_power / signal_power) * _gain(snr_db)
    mixed = signal * gain + background
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max())))


def sounding_power(signal: Samples, block_samples: int = 160) -> float:
    """Return the mean power of a signal over the blocks in which it sounds; see `mix`."""
    padded = np.pad(signal, (0, -signal.size % block_samples))
    powers = np.mean(padded.reshape(-1, block_samples) ** 2, axis=1)
    return float(powers[powers >= powers.max() * _gain(SOUNDING_DB) ** 2].mean())


def draw_alert(rng: np.random.Generator, seconds: float, rate_hz: int) -> tuple[Samples, str]:
    """Draw a smoke alarm or a siren within the tolerances of their standards, and its label."""
    if rng.random() < 0.5:
        return draw_smoke_alarm(rng, seconds, rate_hz), "smoke_alarm"
    return draw_siren(rng, seconds, rate_hz), "siren"


def draw_smoke_alarm(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """Draw a smoke alarm: piezo of 2.8 to 3.5 kHz, or 520 Hz ±10 %, anywhere in its pattern."""
    if rng.random() < 0.7:
        tone = Tone(rng.uniform(2800.0, 3500.0), (1.0, rng.uniform(0.0, 0.5), rng.uniform(0.0, 0.3)))
    else:
        tone = Tone(520.0 * rng.uniform(0.9, 1.1), SQUARE)
    return smoke_alarm(seconds, rate_hz, tone, start_s=rng.uniform(0.0, 4.0))


def draw_siren(rng: np.random.Generator, seconds: float, rate_hz: int) -> Samples:
    """Draw a siren: wail (10 to 30 a minute) or yelp (150 to 250), anywhere in its sweep."""
    period_s = 60.0 / (rng.uniform(10.0, 30.0) if rng.random() < 0.6 else rng.uniform(150.0, 250.0))
    low_hz = rng.uniform(450.0, 800.0)
    high_hz = low_hz * rng.uniform(1.6, 2.6)
    partials = (1.0, *(rng.uniform(0.0, 0.7) / k for k in range(1, 6)))
    sweep = Sweep(low_hz, high_hz, period_s, partials)
    return siren(seconds, rate_hz, sweep, start_s=rng.uniform(0.0, period_s))


def _temporal_three(time_s: Samples) -> Samples:
    """Return the pattern's amplitude, 0 to 1, at each time: three pulses, then the pause."""
    beat_s = PULSE_S + GAP_S
    in_pattern = time_s % (PULSES * beat_s - GAP_S + PAUSE_S)
    in_beat = np.where(in_pattern < PULSES * beat_s, in_pattern % beat_s, PULSE_S)
    return np.clip(np.minimum(in_beat, PULSE_S - in_beat) / EDGE_S, 0.0, 1.0)


def _partials(frequency_hz: Samples, rate_hz: int, amplitudes: tuple[float, ...]) -> Samples:
    """Sum a tone's partials, those at or above half the rate left out, to a peak of 1."""
    cycles = np.cumsum(frequency_hz) / rate_hz
    sound = np.zeros_like(frequency_hz)
    for k, amplitude in enumerate(amplitudes, start=1):
        if amplitude:
            sound += np.where(k * frequency_hz < rate_hz / 2, amplitude, 0.0) * np.sin(2 * np.pi * k * cycles)
    return sound / max(float(np.abs(sound).max(initial=0.0)), 1e-9)


def _coloured_noise(rng: np.random.Generator, size: int, rate_hz: int, slope_db_per_octave: float) -> Samples:
    """Return Gaussian noise whose spectrum falls by this slope above 20 Hz, and is flat below."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / rate_hz), 20.0) / 20.0)
    spectrum = np.fft.rfft(rng.standard_normal(size)) * 10 ** (slope_db_per_octave * octaves / 20)
    return np.asarray(np.fft.irfft(spectrum, size))


def _swell(rng: np.random.Generator, seconds: float, size: int, swell_db: float) -> Samples:
    """Return a gain that wanders between one random level a second."""
    levels_db = swell_db * rng.standard_normal(int(seconds) + 2)
    knots = np.arange(levels_db.size)
    return np.asarray(10 ** (np.interp(np.linspace(0, knots[-1], size), knots, levels_db) / 20))


def _at_rms(sound: Samples, rms: float) -> Samples:
    return sound * (rms / max(float(np.sqrt(np.mean(sound**2))), 1e-12))


def _gain(db: float) -> float:
    return float(10 ** (db / 20))


def _length(seconds: float, rate_hz: int) -> int:
    return round(seconds * rate_hz)
