"""rng -> sirens after the standards, `float64[S]`: pattern by pattern.

    course of the pitch ─ passing vehicle ─ pulse, reed or chopper ─ soft clipping ─ horn

Sirens are made at twice the rate: third-order products of the clipping then stay above the band that is
kept. Where a figure has no source beside it, it is our own choice within what the source of its pattern
leaves open.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy import signal

from models.scenes.oscillator import Signal, additive, pulse_train, resonate

Course = tuple[Signal, Signal]
"""The phase in cycles and the level from 0 to 1 of a siren, each `float64[S]`."""
Draw = Callable[[np.random.Generator, int], Signal]
"""Draw one siren at a rate in Hz."""

EMITTED_S = (4.5, 13.5)
"""Length of a siren at the vehicle: a pass at 30 m/s, 9 % of the speed of sound, keeps to 4 to 15 s."""
WAIL_CYCLE_S, YELP_CYCLE_S = (3.0, 6.0), (0.25, 0.40)
"""10 to 30 wails and 150 to 250 yelps a minute: California Code of Regulations, title 13, section 1028."""
PHASER_CYCLE_S = (0.06, 0.12)
"""The 'priority' or 'phaser' of electronic sirens: a yelp three to four times as fast (no standard)."""
SWEEP_LOW_HZ, SWEEP_HIGH_HZ = (450.0, 750.0), (1100.0, 1700.0)
"""Within what sirens measured after SAE J1849 sweep: 500 to 1600 (wail) and 500 to 1800 Hz (PA300's yelp)."""
RUMBLER_DIVISOR = 4
"""A rumbler repeats the main tone at a quarter of its frequency through a woofer (Federal Signal)."""
CHOPPER_PORTS, SECOND_ROW_PORTS = 8, (10, 12)
CHOPPER_TOP_HZ = (600.0, 900.0)
"""Pitch at full speed, after rotary sirens of 200 to 600 Hz (Lewis, Acoustical Society of New Zealand) and
faster ones; two rows of ports in 5:6 or so sound together on many."""
SPEED_OF_SOUND_M_S = 343.0
HALVING_TAPS = 161
"""Of the filter before every second sample is dropped: -1 dB at 91 % of the band, -80 dB at its end."""

TWO_TONES: Mapping[str, tuple[float, float, float, float, float]] = MappingProxyType(
    {
        "germany": (435.0, 580.0, 0.75, 0.83, 1.086),
        "france_police": (435.0, 580.0, 0.55, 0.98, 1.02),
        "france_gendarmerie": (435.0, 732.0, 0.55, 0.98, 1.02),
        "france_samu": (435.0, 651.0, 0.55, 0.98, 1.02),
        "france_fire": (435.0, 488.0, 1.1, 0.98, 1.02),
        "italy": (392.0, 660.0, 1.5, 0.95, 1.05),
        "hi_lo": (770.0, 960.0, 0.55, 0.95, 1.05),
    }
)
"""Low Hz, high Hz, seconds a tone, and between which factors both tones may lie together.

Germany: DIN 14610, a fourth (3:4) between 360 and 630 Hz, four tones in 3 s. France: +-2 %, 50 to 60 cycles
a minute, fire brigades 25 to 30. Italy: ministerial decree of 17 October 1980, +-5 %, both tones in 3 s.
Hi-lo of electronic sirens (Britain, United States): the makers' usual pair, 50 to 65 cycles a minute."""
TONE_SPREAD = 0.08
"""How far the time of a tone may be off: within the cycles a minute above."""


def _wail(rng: np.random.Generator, rate_hz: int) -> Course:
    return _sweeps(rng, rng.uniform(*WAIL_CYCLE_S), rate_hz)


def _yelp(rng: np.random.Generator, rate_hz: int) -> Course:
    return _sweeps(rng, rng.uniform(*YELP_CYCLE_S), rate_hz)


def _phaser(rng: np.random.Generator, rate_hz: int) -> Course:
    return _sweeps(rng, rng.uniform(*PHASER_CYCLE_S), rate_hz)


def _sweeps(rng: np.random.Generator, cycle_s: float, rate_hz: int) -> Course:
    """Charge and discharge a capacitor that sets the pitch: exponential up, exponential down."""
    place = (np.arange(round(_whole_s(rng, cycle_s) * rate_hz)) / (cycle_s * rate_hz)) % 1.0
    rise, bend = rng.uniform(0.25, 0.7), rng.uniform(0.5, 3.0)
    falling = place >= rise
    part = np.where(falling, (place - rise) / (1 - rise), place / rise)
    charged = (1 - np.exp(-bend * part)) / (1 - np.exp(-bend))
    height = np.where(falling, 1 - charged, charged)
    low_hz, high_hz = rng.uniform(*SWEEP_LOW_HZ), rng.uniform(*SWEEP_HIGH_HZ)
    hz = low_hz * (high_hz / low_hz) ** height
    return np.cumsum(hz) / rate_hz, np.ones(hz.size)


def _two_tone(rng: np.random.Generator, rate_hz: int) -> Course:
    """Alternate two horns; compressed air takes some milliseconds to change over."""
    low_hz, high_hz, tone_s, least, most = TWO_TONES[str(rng.choice(list(TWO_TONES)))]
    tone_s *= rng.uniform(1 - TONE_SPREAD, 1 + TONE_SPREAD)
    seconds = np.arange(round(_whole_s(rng, 2 * tone_s) * rate_hz)) / rate_hz
    change_s = rng.uniform(0.004, 0.03)
    high = (seconds // tone_s) % 2 == rng.integers(2)
    into_s = np.minimum(seconds % tone_s, tone_s - seconds % tone_s)
    level = np.clip(into_s / change_s, rng.uniform(0.0, 0.8), 1.0)
    return np.cumsum(np.where(high, high_hz, low_hz) * rng.uniform(least, most)) / rate_hz, level


def _air_raid(rng: np.random.Generator, rate_hz: int) -> Course:
    """Switch a heavy rotor on and off: its speed follows with inertia, its loudness with its speed."""
    up_s, down_s = rng.uniform(2.5, 3.4, 2)
    gain_s, loss_s = rng.uniform(1.0, 2.0), rng.uniform(2.5, 5.0)
    speed, courses = rng.uniform(0.5, 0.6), []
    for _ in range(rng.integers(1, 3)):
        for length_s, target, time_s in ((up_s, 1.02, gain_s), (down_s, 0.4, loss_s)):
            seconds = np.arange(round(length_s * rate_hz)) / rate_hz
            courses.append(target + (speed - target) * np.exp(-seconds / time_s))
            speed = courses[-1][-1]
    speeds = np.minimum(1.0, np.concatenate(courses))
    return np.cumsum(rng.uniform(*CHOPPER_TOP_HZ) * speeds) / rate_hz, speeds**1.5


def _whole_s(rng: np.random.Generator, cycle_s: float) -> float:
    """Return a length of whole cycles within what a siren emits."""
    fewest, most = np.ceil(EMITTED_S[0] / cycle_s), np.floor(EMITTED_S[1] / cycle_s)
    return float(cycle_s * rng.integers(int(fewest), int(most) + 1))


def _horn(rng: np.random.Generator, phase: Signal, rate_hz: int) -> Signal:
    """Overdrive an amplifier and a compression driver with a pulse wave."""
    wave = additive(phase, pulse_train(rng.uniform(0.2, 0.5), 12), rate_hz, 0.235 * rate_hz)
    clipped = np.tanh(rng.uniform(0.8, 2.5) * wave / np.abs(wave).max())
    return resonate(
        clipped, rng.uniform(900.0, 2200.0), rng.uniform(0.7, 3.0), rng.uniform(0.2, 0.7), rate_hz
    )


def _rumbler(rng: np.random.Generator, phase: Signal, rate_hz: int) -> Signal:
    low = additive(phase / RUMBLER_DIVISOR, pulse_train(0.5, 3), rate_hz, 0.235 * rate_hz)
    return _horn(rng, phase, rate_hz) + rng.uniform(0.3, 1.0) * np.tanh(2.0 * low)


def _reed(rng: np.random.Generator, phase: Signal, rate_hz: int) -> Signal:
    """Sound a trumpet with a membrane: nearly a sawtooth, brighter or duller from horn to horn."""
    k = np.arange(1, 19)
    strengths = k ** -rng.uniform(0.8, 1.5) * rng.uniform(0.6, 1.4, k.size)
    trembling = phase + 0.01 * np.sin(2 * np.pi * phase * 0.0137) * rng.uniform(0.0, 1.0)
    return np.tanh(rng.uniform(0.5, 1.5) * additive(trembling, strengths, rate_hz, 0.235 * rate_hz))


def _chopper(rng: np.random.Generator, phase: Signal, rate_hz: int) -> Signal:
    """Cut air with one or two rows of ports on a rotor that is never quite round."""
    strengths = np.arange(1, 16) ** -rng.uniform(1.0, 1.6) * rng.uniform(0.5, 1.5, 15)
    wave = additive(phase, strengths, rate_hz, 0.235 * rate_hz)
    if rng.random() < 0.5:
        second = phase * rng.choice(SECOND_ROW_PORTS) / CHOPPER_PORTS
        wave += rng.uniform(0.5, 1.0) * additive(second, strengths, rate_hz, 0.235 * rate_hz)
    round_trip = 1 + rng.uniform(0.0, 0.15) * np.sin(2 * np.pi * phase / CHOPPER_PORTS)
    return np.asarray(wave * round_trip + rng.uniform(0.01, 0.06) * rng.normal(size=phase.size))


def _passing(rng: np.random.Generator, course: Course, rate_hz: int) -> Course:
    """Hear the course from the roadside: what left at t arrives at t + r(t)/c, no weaker than -9 dB."""
    phase, level = course
    left_s = np.arange(phase.size) / rate_hz
    along_m = rng.uniform(8.0, 30.0) * (left_s - rng.uniform(0.2, 0.8) * left_s[-1])
    away_m = np.hypot(along_m, rng.uniform(4.0, 25.0))
    arrives_s = left_s + away_m / SPEED_OF_SOUND_M_S
    heard_s = np.arange(arrives_s[0], arrives_s[-1], 1.0 / rate_hz)
    near = np.maximum(away_m.min() / away_m, 0.35)
    return np.interp(heard_s, arrives_s, phase), np.interp(heard_s, arrives_s, level * near)


def _siren(
    course: Callable[[np.random.Generator, int], Course],
    voice: Callable[[np.random.Generator, Signal, int], Signal],
    passing: float,
) -> Draw:
    """Join a course and a voice; the vehicle passes by with the given probability."""

    def draw(rng: np.random.Generator, rate_hz: int) -> Signal:
        run = course(rng, 2 * rate_hz)
        phase, level = _passing(rng, run, 2 * rate_hz) if rng.random() < passing else run
        low_pass = signal.firwin(HALVING_TAPS, 0.47, window=("kaiser", 8.0))
        sound = voice(rng, phase, 2 * rate_hz) * level
        return np.asarray(signal.resample_poly(sound, 1, 2, window=low_pass))

    return draw


SIRENS: Mapping[str, Draw] = MappingProxyType(
    {
        "wail": _siren(_wail, _horn, 0.4),
        "yelp": _siren(_yelp, _horn, 0.4),
        "phaser": _siren(_phaser, _horn, 0.4),
        "rumbler_wail": _siren(_wail, _rumbler, 0.4),
        "rumbler_yelp": _siren(_yelp, _rumbler, 0.4),
        "two_tone": _siren(_two_tone, _reed, 0.5),
        "air_raid": _siren(_air_raid, _chopper, 0.0),
    }
)
"""Pattern -> how to draw it."""
