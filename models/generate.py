"""Numbers -> smoke alarms and sirens to train on, which belong to nobody.

Alarms that a model is tested with come from another generator, `models/scenes`, which shares no code
with this one; both follow the same standards, and what had been missed of its sirens was known when these
were made.
"""

import numpy as np

from models.features import RATE_HZ
from models.tones import Rng, Sound, at_peak, smooth, tone

ALERTS = ("smoke_alarm", "siren")


def draw_alert(rng: Rng, label: str, seconds: float) -> Sound:
    """Draw a smoke alarm or a siren, out of a worn or a good loudspeaker."""
    sound = _smoke_alarm(rng, seconds) if label == "smoke_alarm" else _siren(rng, seconds)
    return at_peak(_loudspeaker(rng, sound))


def _smoke_alarm(rng: Rng, seconds: float) -> Sound:
    """Sound ISO 8201 temporal-three (times ±10 %), or fast beeps and sweeps as EN 14604 sounders have."""
    size = round(seconds * RATE_HZ)
    time_s = np.arange(size) / RATE_HZ + rng.uniform(0.0, 4.0)
    kind = rng.random()
    if kind < 0.6:
        envelope = _temporal_three(time_s, 0.5 * rng.uniform(0.9, 1.1), 1.5 * rng.uniform(0.9, 1.1))
        steady = np.full(size, _sounder_hz(rng))
        if rng.random() < 0.2:  # a sounder that sweeps within its pulses
            steady = steady * (1 + 0.15 * _triangle(time_s * rng.uniform(2.0, 12.0)))
        return tone(rng, steady) * envelope
    if kind < 0.8:
        period_s = rng.uniform(0.08, 0.45)
        on = (time_s % period_s) < period_s * rng.uniform(0.4, 0.75)
        return tone(rng, np.full(size, _sounder_hz(rng))) * smooth(on.astype(float))
    low, depth = rng.uniform(1800.0, 2800.0), rng.uniform(1.2, 1.7)
    sweep = (time_s * rng.uniform(1.5, 9.0)) % 1.0 if rng.random() < 0.5 else _triangle(time_s * 3.0)
    return tone(rng, low * depth**sweep)


def _sounder_hz(rng: Rng) -> float:
    """Draw a pitch: a piezo's 2.7 to 3.6 kHz, or NFPA 72's 520 Hz ±10 % for sleepers."""
    return float(rng.uniform(2700.0, 3600.0) if rng.random() < 0.7 else 520.0 * rng.uniform(0.9, 1.1))


def _siren(rng: Rng, seconds: float) -> Sound:
    """Sound a wail, a yelp, two tones in turn, a phaser, or a siren that is turned by a motor."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ + rng.uniform(0.0, 8.0)
    passing = 1 + rng.uniform(0.0, 0.06) * np.tanh(
        (time_s - time_s[0] - seconds / 2) * rng.uniform(-1.5, 1.5)
    )
    low, ratio = rng.uniform(400.0, 850.0), rng.uniform(1.5, 2.9)
    kind = rng.random()
    if kind < 0.25:
        hz = low * ratio ** _rise_and_fall(rng, time_s / rng.uniform(2.0, 7.0))
    elif kind < 0.45:
        hz = low * ratio ** _rise_and_fall(rng, time_s / rng.uniform(0.2, 0.5))
    elif kind < 0.72:
        return _two_tones(rng, time_s, passing)
    elif kind < 0.82:
        hz = low * ratio ** _rise_and_fall(rng, time_s * rng.uniform(5.0, 16.0))
    else:
        return _rotor(rng, time_s)
    return tone(rng, hz * passing)


def _two_tones(rng: Rng, time_s: Sound, passing: Sound) -> Sound:
    """Sound two horns in turn, or a loudspeaker's two tones, up to 1 s each, with a dip where they change.

    Longer ones, as Italy's and some of France's are, would be one steady tone within a window.

    Germany's are a fourth apart, four tones in 3 s (DIN 14610); France's 1.12 to 1.68 times, 0.5 to 1.2 s
    each; Italy's 1.68 times, two in 3 s; hi-lo of electronic sirens a third, about half a second each.
    """
    low, ratio = rng.uniform(340.0, 800.0), rng.uniform(1.1, 1.75)
    turns = time_s / np.exp(rng.uniform(np.log(0.3), 0.0))
    into = np.minimum(turns % 1.0, 1.0 - turns % 1.0)
    # Time constants are shares of a tone's time: 1.5 to 30 ms.
    dip = 1.0 - rng.uniform(0.0, 1.0) * np.exp(-into / rng.uniform(0.005, 0.03))
    high = smooth((turns % 2.0 < 1.0).astype(float))
    return np.asarray(tone(rng, low * ratio**high * passing, horn=rng.random() < 0.7) * dip)


def _rotor(rng: Rng, time_s: Sound) -> Sound:
    """Chop air with a rotor that is sped up and runs down, louder the faster.

    Many have two rows of ports and sound two pitches at once; which numbers of ports is our choice.
    """
    turn, driven = time_s / rng.uniform(4.0, 14.0) % 1.0, rng.uniform(0.3, 0.7)
    slows, deep = rng.uniform(1.0, 3.0), rng.uniform(1.8, 4.0)
    coasts = (np.exp(-slows * (turn - driven) / (1 - driven)) - np.exp(-slows)) / (1 - np.exp(-slows))
    height = np.where(turn < driven, np.sqrt(turn / driven), coasts)
    hz = rng.uniform(150.0, 400.0) * deep**height
    sound = tone(rng, hz, horn=rng.random() < 0.5)
    if rng.random() < 0.5:
        sound = sound + rng.uniform(0.4, 1.0) * tone(rng, hz * rng.choice([3 / 4, 4 / 5, 5 / 6]))
    return np.asarray(sound * deep ** (rng.uniform(0.0, 1.5) * (height - 1.0)))


def _rise_and_fall(rng: Rng, cycles: Sound) -> Sound:
    """Return a height from 0 to 1 over the cycles: even, round, or a quick rise and a slow fall."""
    shape = rng.random()
    if shape < 0.4:
        return _triangle(cycles)
    if shape < 0.7:
        return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * cycles))
    peak, at = rng.uniform(0.1, 0.9), cycles % 1.0
    return np.asarray(np.where(at < peak, at / peak, (1 - at) / (1 - peak)))


def _temporal_three(time_s: Sound, beat_s: float, pause_s: float) -> Sound:
    in_pattern = time_s % (5 * beat_s + pause_s)
    on = (in_pattern < 5 * beat_s) & (in_pattern % (2 * beat_s) < beat_s)
    return smooth(on.astype(float))


def _triangle(cycles: Sound) -> Sound:
    return np.asarray(1.0 - np.abs(2.0 * (cycles % 1.0) - 1.0))


def _loudspeaker(rng: Rng, sound: Sound) -> Sound:
    """Pass a band, with a few resonances: a small loudspeaker in the frequency domain."""
    hz = np.maximum(np.fft.rfftfreq(sound.size, 1 / RATE_HZ), 1.0)
    low, high = rng.uniform(80.0, 500.0), rng.uniform(3500.0, 8000.0)
    gain = 1 / (1 + (low / hz) ** 4) / (1 + (hz / high) ** 6)
    for _ in range(int(rng.integers(0, 4))):
        at, width = np.exp(rng.uniform(np.log(300), np.log(6000))), rng.uniform(0.05, 0.4)
        gain *= 1 + rng.uniform(-0.8, 3.0) * np.exp(-0.5 * (np.log(hz / at) / width) ** 2)
    return np.asarray(np.fft.irfft(np.fft.rfft(sound) * gain, sound.size))
