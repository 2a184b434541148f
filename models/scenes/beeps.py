"""rng -> beeps `float64[S]` that are no alarm, though made to be taken for one.

What beeps breaks at least one mark of every pattern of an alarm:

- no fundamental lies where an alarm has one: not in 2.3 to 3.7 kHz (piezo sounders, +-10 % and more), not
  in 468 to 572 Hz (the square wave of NFPA 72);
- no rhythm is temporal three: groups have one, two, four or five beeps, or never end;
- no beep glides, and two pitches change places faster than 400 times a minute, which is no siren by the
  California Code of Regulations, title 13, section 1021, or fall once, as a door chime does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy import signal

from models.scenes.oscillator import Signal, additive, gate, lay, pulse_train, resonate

RINGS_S = ((0.4, 0.2, 0.4, 2.0), (1.0, 4.0))
"""On, off, on ... of a telephone in Britain and on most of the Continent (ITU-T E.180, supplement 2)."""


@dataclass(frozen=True, slots=True)
class Beeper:
    """What beeps: pitch, length and spacing of its beeps from start to start, how many, then how long a rest.

    All but `beeps` are drawn from a range; the rest starts where the last beep of a group ends.
    """

    hz: tuple[float, float]
    on_s: tuple[float, float]
    every_s: tuple[float, float]
    beeps: tuple[int, ...]
    rest_s: tuple[float, float]


BEEPERS: Mapping[str, Beeper] = MappingProxyType(
    {
        "microwave": Beeper((1900, 2200), (0.6, 0.8), (1.0, 1.05), (4, 5), (20, 60)),
        "reversing": Beeper((1000, 1300), (0.45, 0.55), (0.95, 1.05), (10_000,), (1, 2)),
        "battery": Beeper((2000, 2250), (0.08, 0.2), (1.0, 1.0), (1,), (4, 12)),
        "checkout": Beeper((1800, 2250), (0.08, 0.15), (1.0, 1.0), (1,), (0.8, 4)),
        "alarm_clock": Beeper((2000, 2100), (0.05, 0.07), (0.12, 0.13), (4,), (0.6, 0.7)),
    }
)
"""Kitchens, vehicles, power supplies on battery, tills, and quartz clocks (2048 Hz: a sixteenth of their
32,768 Hz). A reversing vehicle is the hardest: temporal three's beep, but 1 kHz to 1.3 kHz and without its
pause (ISO 9533 and SAE J994 leave pitch and rate to the maker; these are usual)."""


def draw_beeps(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Draw so many samples of one beeper, a telephone or a door chime."""
    name = str(rng.choice([*BEEPERS, "telephone", "chime"]))
    if name == "telephone":
        return _telephone(rng, samples, rate_hz)
    if name == "chime":
        return _chime(rng, samples, rate_hz)
    return _beeping(rng, BEEPERS[name], samples, rate_hz)


def _beeping(rng: np.random.Generator, beeper: Beeper, samples: int, rate_hz: int) -> Signal:
    beeps_s = _beeps_s(rng, beeper, samples / rate_hz)
    hz = rng.uniform(*beeper.hz)
    phase = hz * np.arange(samples) / rate_hz
    wave = additive(phase, pulse_train(rng.uniform(0.35, 0.5), 9), rate_hz, 0.47 * rate_hz)
    level = gate(beeps_s, samples, rate_hz, rng.uniform(0.001, 0.006))
    return resonate(wave * level, hz, rng.uniform(2.0, 10.0), rng.uniform(0.3, 0.8), rate_hz)


def _beeps_s(rng: np.random.Generator, beeper: Beeper, length_s: float) -> Signal:
    """Return starts and ends in seconds, `float64[B, 2]`, the first within the first fifth."""
    on_s, every_s = rng.uniform(*beeper.on_s), rng.uniform(*beeper.every_s)
    start_s, beeps = rng.uniform(0.0, min(1.0, 0.2 * length_s)), []
    while start_s < length_s:
        for _ in range(rng.choice(beeper.beeps)):
            beeps.append((start_s, start_s + on_s))
            start_s += every_s
            if start_s >= length_s:
                break
        start_s += rng.uniform(*beeper.rest_s) - every_s + on_s
    return np.array(beeps)


def _telephone(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Ring by changing 12 to 20 times a second between two pitches, in the cadence of some country."""
    seconds = np.arange(samples) / rate_hz + rng.uniform(0.0, 0.3)
    low_hz = rng.uniform(750.0, 1400.0)
    swap_hz, ratio = rng.uniform(12.0, 20.0), rng.uniform(1.15, 1.35)
    hz = np.where((seconds * swap_hz * 2) % 2 < 1, low_hz, low_hz * ratio)
    ends_s = np.cumsum(RINGS_S[int(rng.integers(len(RINGS_S)))])
    ringing = np.searchsorted(ends_s, seconds % ends_s[-1], side="right") % 2 == 0
    pole = np.exp(-1.0 / (0.005 * rate_hz))
    wave = additive(np.cumsum(hz) / rate_hz, pulse_train(0.4, 6), rate_hz, 0.47 * rate_hz)
    return np.asarray(wave * signal.lfilter([1.0 - pole], [1.0, -pole], ringing.astype(np.float64)))


def _chime(rng: np.random.Generator, samples: int, rate_hz: int) -> Signal:
    """Strike two bars, the second a major third below, each ringing out; again after 4 s or more."""
    high_hz, decay_s, start = rng.uniform(740.0, 950.0), rng.uniform(0.4, 1.2), 0
    seconds, sound = np.arange(round(4 * decay_s * rate_hz)) / rate_hz, np.zeros(samples)
    while start < samples:
        for hz, after_s in ((high_hz, 0.0), (0.8 * high_hz, rng.uniform(0.5, 0.9))):
            bar = np.sin(2 * np.pi * hz * seconds) + 0.2 * np.sin(2 * np.pi * 2.756 * hz * seconds)
            lay(sound, bar * np.exp(-seconds / decay_s), start + round(after_s * rate_hz))
        start += round(rng.uniform(4.0, 10.0) * rate_hz)
    return sound
