"""kind -> noise `float64[S]`: what is neither a smoke alarm nor a siren, some of it made to be taken for one.

    coloured  hum  engine  tones  beeps  clatter

A whistle among the tones may have the pitch of a sounder: it is held for seconds, which no alarm does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from models.scenes.beeps import draw_beeps
from models.scenes.oscillator import Signal, additive, lay, resonate, wander
from schemas.errors import ConfigurationError

Draw = Callable[[np.random.Generator, int, int], Signal]
"""Draw so many samples at a rate in Hz."""

RATES_HZ, LENGTHS_S = (8_000, 192_000), (0.1, 600.0)
MAINS_HZ = (50.0, 60.0)
DIAL_TONES_HZ = ((425.0,), (350.0, 440.0), (400.0,))
"""ITU-T E.180: Europe, North America and Britain, Japan."""
CONCERT_PITCH_HZ = 440.0
STROKES_A_POWER_STROKE = 2
"""Revolutions in which every cylinder of a four-stroke engine fires once."""


def draw_noise(rng: np.random.Generator, kind: str, length_s: float, rate_hz: int) -> Signal:
    """Draw noise of a kind with a peak of 1.

    Raises:
        ConfigurationError: no such kind, or a length or rate out of range.
    """
    if kind not in KINDS:
        raise ConfigurationError("kind", kind, f"one of {', '.join(NOISES)}")
    if not LENGTHS_S[0] <= length_s <= LENGTHS_S[1]:
        raise ConfigurationError("length_s", length_s, f"{LENGTHS_S[0]} to {LENGTHS_S[1]}")
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise ConfigurationError("rate_hz", rate_hz, f"{RATES_HZ[0]} to {RATES_HZ[1]}")
    noise = KINDS[kind](rng, round(length_s * rate_hz), rate_hz)
    return np.asarray(noise / np.abs(noise).max())


def _coloured(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Shape white noise to a slope of -9 to +3 dB an octave above 40 Hz, swelling slowly."""
    shaped = _sloped(rng, samples, rng.uniform(-9.0, 3.0), rate_hz)
    if rng.random() < 0.3:
        hz = float(np.exp(rng.uniform(np.log(150.0), np.log(3000.0))))
        shaped = resonate(shaped, hz, rng.uniform(0.5, 3.0), rng.uniform(0.2, 0.8), rate_hz)
    knots = max(2, round(samples / rate_hz / rng.uniform(1.0, 8.0)) + 1)
    return np.asarray(shaped * 10 ** (rng.uniform(0.0, 5.0) * wander(rng, samples, knots) / 20))


def _sloped(rng: np.random.Generator, samples: int, slope_db: float, rate_hz: int) -> Signal:
    hz = np.maximum(np.fft.rfftfreq(samples, 1.0 / rate_hz), 40.0)
    spectrum = np.fft.rfft(rng.normal(size=samples)) * (hz / 40.0) ** (slope_db / (20 * np.log10(2.0)))
    return np.fft.irfft(spectrum, samples)


def _hum(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Hum with the mains and its harmonics, even ones louder (a core is pulled twice a period), and hiss."""
    drift = 1 + 0.001 * wander(rng, samples, max(2, samples // (2 * rate_hz)))
    phase = np.cumsum(rng.choice(MAINS_HZ) * drift) / rate_hz
    k = np.arange(1, 31)
    strengths = k ** -rng.uniform(0.6, 1.8) * rng.uniform(0.2, 1.0, k.size) * np.where(k % 2, 0.4, 1.0)
    hiss = _sloped(rng, samples, -3.0, rate_hz)
    hum = additive(phase, strengths, rate_hz, 0.47 * rate_hz)
    return np.asarray(hum + rng.uniform(0.005, 0.1) * hiss / hiss.std())


def _engine(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Let the cylinders of a four-stroke engine fire in turn, unevenly, through an exhaust's resonances."""
    cylinders = int(rng.choice([1, 2, 3, 4, 6, 8]))
    idle_rpm = np.exp(rng.uniform(np.log(650.0), np.log(4500.0)))
    knots = max(3, round(samples / rate_hz / rng.uniform(1.0, 4.0)))
    rpm = np.clip(idle_rpm * np.exp(rng.uniform(0.02, 0.25) * wander(rng, samples, knots)), 500.0, 7000.0)
    phase = np.cumsum(rpm / 60 * cylinders / STROKES_A_POWER_STROKE) / rate_hz
    firings = np.flatnonzero(np.diff(np.floor(phase), prepend=-1.0) > 0)
    strikes = _firings(rng, firings, cylinders, samples)
    bang = np.exp(-np.arange(round(0.02 * rate_hz)) / (rng.uniform(0.001, 0.004) * rate_hz))
    exhaust = signal.fftconvolve(strikes, bang)[:samples]
    intake = exhaust * rng.normal(size=samples) * rng.uniform(0.05, 0.4)
    sound = exhaust - exhaust.mean() + intake
    for hz in np.exp(rng.uniform(np.log(60.0), np.log(900.0), 3)):
        sound = resonate(sound, float(hz), rng.uniform(1.0, 5.0), rng.uniform(0.3, 0.8), rate_hz)
    return np.asarray(sound + 0.01 * sound.std() * rng.normal(size=samples))


def _firings(rng: np.random.Generator, firings: NDArray[np.intp], cylinders: int, samples: int) -> Signal:
    """Return impulses: every cylinder has its own strength, every firing jitters, some fail."""
    strength = rng.uniform(0.7, 1.0, cylinders)[np.arange(firings.size) % cylinders]
    strength = strength * rng.normal(1.0, 0.08, firings.size)
    strength[rng.random(firings.size) < rng.uniform(0.0, 0.03)] *= 0.2
    strikes = np.zeros(samples)
    late = rng.integers(0, 1 + samples // (50 * max(1, firings.size)), firings.size)
    np.add.at(strikes, np.minimum(firings + late, samples - 1), strength)
    return strikes


def _tones(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    draws = (_whistle, _whine, _dial_tone, _chord, _melody)
    return draws[int(rng.integers(len(draws)))](rng, samples, rate_hz)


def _whistle(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Boil a kettle: the pitch creeps up by a few per cent and trembles, steam hisses along."""
    hz = rng.uniform(1500.0, 3500.0) * (1 + rng.uniform(0.0, 0.05) * np.linspace(0.0, 1.0, samples))
    tremble = 1 + 0.002 * wander(rng, samples, max(2, 8 * samples // rate_hz))
    tone = additive(np.cumsum(hz * tremble) / rate_hz, np.array([1.0, 0.1]), rate_hz, 0.47 * rate_hz)
    hiss = _sloped(rng, samples, 2.0, rate_hz)
    return np.asarray(tone + rng.uniform(0.05, 0.4) * hiss / hiss.std())


def _whine(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Whine as a converter or a monitor does, above what alarms use."""
    hz = rng.uniform(3800.0, 0.45 * rate_hz) if rate_hz > 9000 else 3700.0
    drift = 1 + 0.002 * wander(rng, samples, max(2, samples // rate_hz))
    return np.sin(2 * np.pi * np.cumsum(hz * drift) / rate_hz) + 0.02 * rng.normal(size=samples)


def _dial_tone(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    seconds = np.arange(samples) / rate_hz
    pair = DIAL_TONES_HZ[int(rng.integers(len(DIAL_TONES_HZ)))]
    return np.asarray(sum(np.sin(2 * np.pi * hz * seconds) for hz in pair))


def _chord(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Hold one to four notes of an organ, with a slow tremulant."""
    seconds, sound = np.arange(samples) / rate_hz, np.zeros(samples)
    tremulant = 1 + rng.uniform(0.0, 0.15) * np.sin(2 * np.pi * rng.uniform(3.0, 7.0) * seconds)
    for note in rng.choice(np.arange(-24, 20), rng.integers(1, 5), replace=False):
        phase = _semitones_hz(note) * seconds
        sound += additive(phase, np.logspace(1, 8, 8, base=0.6), rate_hz, 0.47 * rate_hz)
    return np.asarray(sound * tremulant)


def _melody(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Pluck or strike notes of a scale one after the other, the last still ringing."""
    beat_s, decay_s = rng.uniform(0.2, 0.7), rng.uniform(0.2, 1.5)
    strengths = np.asarray(np.arange(1, 9) ** -rng.uniform(0.8, 2.0), dtype=np.float64)
    seconds = np.arange(round(4 * decay_s * rate_hz)) / rate_hz
    sound, start, key = np.zeros(samples), 0, int(rng.integers(-17, 6))
    while start < samples:
        note = key + int(rng.choice([0, 2, 4, 5, 7, 9, 11, 12]))
        phase = _semitones_hz(note) * seconds
        tone = additive(phase, strengths, rate_hz, 0.47 * rate_hz) * np.exp(-seconds / decay_s)
        lay(sound, tone * np.minimum(1.0, seconds / 0.004) * rng.uniform(0.4, 1.0), start)
        start += round(beat_s * rng.choice([0.5, 1.0, 1.0, 2.0]) * rate_hz)
    return sound


def _semitones_hz(above: int) -> float:
    return float(CONCERT_PITCH_HZ * 2 ** (above / 12))


@dataclass(frozen=True, slots=True)
class Struck:
    """What is struck: its modes, how long they ring, the share of noise, the time between blows."""

    hz: tuple[float, float]
    modes: int
    ring_s: tuple[float, float]
    noise: float
    every_s: tuple[float, float]
    regular: bool


STRUCK: Mapping[str, Struck] = MappingProxyType(
    {
        "dishes": Struck((1200, 6500), 12, (0.02, 0.25), 0.2, (0.1, 1.2), False),
        "keyboard": Struck((800, 5000), 6, (0.002, 0.01), 0.8, (0.06, 0.3), False),
        "footsteps": Struck((60, 300), 4, (0.01, 0.05), 0.3, (0.45, 0.65), True),
        "hammering": Struck((200, 3000), 10, (0.01, 0.12), 0.4, (0.3, 0.8), True),
    }
)


def _clatter(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Strike one of a few bodies again and again, each blow at its own strength."""
    struck = STRUCK[str(rng.choice(list(STRUCK)))]
    blows = [_blow(rng, struck, rate_hz) for _ in range(int(rng.integers(2, 6)))]
    every_s, sound = rng.uniform(*struck.every_s), np.zeros(samples)
    start = round(rng.uniform(0.0, 0.2) * samples)
    while start < samples:
        lay(sound, blows[int(rng.integers(len(blows)))] * rng.lognormal(0.0, 0.5), start)
        wait_s = every_s * rng.normal(1.0, 0.04) if struck.regular else rng.exponential(every_s)
        start += max(1, round(wait_s * rate_hz))
    return sound


def _blow(rng: np.random.Generator, struck: Struck, rate_hz: int) -> Signal:
    """Return one blow: modes that ring out, spread at random, over a burst of filtered noise."""
    ring_s = rng.uniform(*struck.ring_s)
    seconds = np.arange(round(max(0.05, 6 * ring_s) * rate_hz)) / rate_hz
    highest_hz = min(struck.hz[1], 0.45 * rate_hz)
    modes_hz = np.exp(rng.uniform(np.log(struck.hz[0]), np.log(highest_hz), struck.modes))
    rings_s = ring_s * rng.uniform(0.3, 1.0, struck.modes)
    heights = rng.normal(size=struck.modes) / struck.modes
    modal = np.sin(2 * np.pi * np.outer(seconds, modes_hz)) * np.exp(-np.divide.outer(seconds, rings_s))
    burst = rng.normal(size=seconds.size) * np.exp(-seconds / rng.uniform(0.002, 0.02))
    band = signal.butter(1, (struck.hz[0], highest_hz), "bandpass", fs=rate_hz, output="sos")
    return np.asarray(modal @ heights + struck.noise * signal.sosfilt(band, burst))


KINDS: Mapping[str, Draw] = MappingProxyType(
    {
        "coloured": _coloured,
        "hum": _hum,
        "engine": _engine,
        "tones": _tones,
        "beeps": draw_beeps,
        "clatter": _clatter,
    }
)
NOISES = tuple(KINDS)
