"""numbers -> sounds to train on that belong to nobody: alarms, sirens, and much that is neither.

Everything is mono `float64[S]` with a peak of at most 1, and a function of the random generator passed in.
What a model is tested with comes from another generator, `models/scenes`, which shares nothing with this one.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from models.features import RATE_HZ

Sound = NDArray[np.float64]
Rng = np.random.Generator

ALERTS = ("smoke_alarm", "siren")
NOTHING = "background"
"""What a generated sound is called that is no alert."""


def draw_alert(rng: Rng, label: str, seconds: float) -> Sound:
    """Draw a smoke alarm or a siren, out of a worn or a good loudspeaker."""
    sound = _smoke_alarm(rng, seconds) if label == "smoke_alarm" else _siren(rng, seconds)
    return at_peak(_loudspeaker(rng, sound))


def draw_background(rng: Rng, seconds: float) -> Sound:
    """Draw a sound in which nothing should be found, of any kind there is."""
    kind = list(_BACKGROUNDS.values())[int(rng.integers(len(_BACKGROUNDS)))]
    return at_peak(kind(rng, round(seconds * RATE_HZ)))


def at_peak(sound: Sound) -> Sound:
    """Bring a sound's peak to 1; silence stays silence."""
    return np.asarray(sound / max(float(np.abs(sound).max(initial=0.0)), 1e-9))


def coloured(rng: Rng, size: int, slope_db_per_octave: float) -> Sound:
    """Return Gaussian noise whose spectrum falls by this slope above 20 Hz, and is flat below."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / RATE_HZ), 20.0) / 20.0)
    spectrum = np.fft.rfft(rng.standard_normal(size)) * 10 ** (slope_db_per_octave * octaves / 20)
    return np.asarray(np.fft.irfft(spectrum, size))


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
        return _tone(rng, steady) * envelope
    if kind < 0.8:
        period_s = rng.uniform(0.08, 0.45)
        on = (time_s % period_s) < period_s * rng.uniform(0.4, 0.75)
        return _tone(rng, np.full(size, _sounder_hz(rng))) * _smooth(on.astype(float))
    low, depth = rng.uniform(1800.0, 2800.0), rng.uniform(1.2, 1.7)
    sweep = (time_s * rng.uniform(1.5, 9.0)) % 1.0 if rng.random() < 0.5 else _triangle(time_s * 3.0)
    return _tone(rng, low * depth**sweep)


def _sounder_hz(rng: Rng) -> float:
    """Draw a pitch: a piezo's 2.7 to 3.6 kHz, or NFPA 72's 520 Hz ±10 % for sleepers."""
    return float(rng.uniform(2700.0, 3600.0) if rng.random() < 0.7 else 520.0 * rng.uniform(0.9, 1.1))


def _siren(rng: Rng, seconds: float) -> Sound:
    """Sound a wail, a yelp, two tones in turn, a phaser, or a siren that is turned by a motor."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ + rng.uniform(0.0, 8.0)
    low, ratio = rng.uniform(400.0, 850.0), rng.uniform(1.5, 2.9)
    kind = rng.random()
    if kind < 0.3:
        hz = low * ratio ** _rise_and_fall(rng, time_s / rng.uniform(2.0, 7.0))
    elif kind < 0.5:
        hz = low * ratio ** _rise_and_fall(rng, time_s / rng.uniform(0.2, 0.5))
    elif kind < 0.72:
        low, step_s = rng.uniform(340.0, 800.0), rng.uniform(0.25, 0.9)
        hz = low * rng.uniform(1.12, 1.6) ** _smooth(((time_s / step_s) % 2.0 < 1.0).astype(float))
    elif kind < 0.84:
        hz = low * ratio ** _rise_and_fall(rng, time_s * rng.uniform(5.0, 16.0))
    else:
        low, turn_s = rng.uniform(150.0, 400.0), rng.uniform(4.0, 14.0)
        hz = low * rng.uniform(1.8, 4.0) ** np.sqrt(_triangle(time_s / turn_s))
    passing = 1 + rng.uniform(0.0, 0.06) * np.tanh(
        (time_s - time_s[0] - seconds / 2) * rng.uniform(-1.5, 1.5)
    )
    return _tone(rng, hz * passing)


def _rise_and_fall(rng: Rng, cycles: Sound) -> Sound:
    """Return a height from 0 to 1 over the cycles: even, round, or a quick rise and a slow fall."""
    shape = rng.random()
    if shape < 0.4:
        return _triangle(cycles)
    if shape < 0.7:
        return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * cycles))
    peak, at = rng.uniform(0.1, 0.9), cycles % 1.0
    return np.asarray(np.where(at < peak, at / peak, (1 - at) / (1 - peak)))


def _tone(rng: Rng, hz: Sound) -> Sound:
    """Sound a pitch with partials of a random timbre, those beyond the band left out."""
    phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
    slope, even = rng.uniform(0.6, 3.0), rng.uniform(0.0, 1.0) ** 2
    sound = np.zeros_like(hz)
    for k in range(1, 17):
        weight = k**-slope * (even if k % 2 == 0 else 1.0) * rng.uniform(0.5, 1.0)
        sound += np.where(k * hz < 0.48 * RATE_HZ, weight, 0.0) * np.sin(k * phase + rng.uniform(0, 6.28))
    return np.tanh(rng.uniform(0.2, 3.0) * at_peak(sound))


def _temporal_three(time_s: Sound, beat_s: float, pause_s: float) -> Sound:
    in_pattern = time_s % (5 * beat_s + pause_s)
    on = (in_pattern < 5 * beat_s) & (in_pattern % (2 * beat_s) < beat_s)
    return _smooth(on.astype(float))


def _smooth(gate: Sound, over: int = 48) -> Sound:
    """Let a gate open and close within 3 ms, so that it does not click."""
    return np.convolve(gate, np.ones(over) / over, mode="same")


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


def _noise(rng: Rng, size: int) -> Sound:
    """Noise of any colour that swells."""
    knots = rng.normal(0.0, rng.uniform(0.0, 6.0), size // RATE_HZ + 3)
    level = np.interp(np.linspace(0, knots.size - 1, size), np.arange(knots.size), knots)
    return np.asarray(coloured(rng, size, rng.uniform(-9.0, 2.0)) * 10 ** (level / 20))


def _hum(rng: Rng, size: int) -> Sound:
    """Mains and their harmonics, over noise."""
    mains = float(rng.choice([50.0, 60.0])) * (2 if rng.random() < 0.3 else 1)
    hum = _tone(rng, np.full(size, mains * rng.uniform(0.995, 1.005)))
    return hum + at_peak(_noise(rng, size)) * 10 ** rng.uniform(-2.0, 0.0)


def _engine(rng: Rng, size: int) -> Sound:
    """A train of uneven combustions through an exhaust, at wandering revolutions."""
    time_s = np.arange(size) / RATE_HZ
    wander = np.interp(time_s, np.arange(size // RATE_HZ + 2), rng.normal(0, 0.1, size // RATE_HZ + 2))
    fires = np.cumsum(rng.uniform(12.0, 180.0) * np.exp(wander))
    strokes = np.flatnonzero(np.diff(np.floor(fires / RATE_HZ)) > 0)
    train = np.zeros(size)
    train[strokes] = rng.uniform(0.6, 1.0, strokes.size)
    ring = np.arange(int(0.05 * RATE_HZ)) / RATE_HZ
    body = np.sin(2 * np.pi * rng.uniform(50, 300) * ring) * np.exp(-ring * rng.uniform(40, 200))
    pulses = np.convolve(train, body)[:size]
    return at_peak(pulses) + at_peak(_noise(rng, size)) * 10 ** rng.uniform(-2.0, -0.3)


def _melody(rng: Rng, size: int) -> Sound:
    """Notes and chords of a scale, plucked or held."""
    sound, at = np.zeros(size), 0
    beat, root = rng.uniform(0.1, 0.7), rng.uniform(80.0, 700.0)
    while at < size:
        length = min(size - at, int(RATE_HZ * beat * rng.choice([1, 1, 2, 4])))
        decay = np.exp(-np.arange(length) / RATE_HZ * rng.uniform(0.5, 12.0))
        for _ in range(int(rng.integers(1, 4))):
            pitch = root * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
            vibrato = 1 + 0.01 * rng.random() * np.sin(2 * np.pi * 5.5 * np.arange(length) / RATE_HZ)
            sound[at : at + length] += _tone(rng, pitch * vibrato) * decay * rng.random()
        at += max(length, 1)
    return sound


def _beeps(rng: Rng, size: int) -> Sound:
    """Beeps that no alarm makes: other pitches than a sounder's, or a sounder's but short and far apart.

    The others are few in a row, warbling, or, as of a vehicle that reverses, as long as their pauses.
    """
    time_s, kind = np.arange(size) / RATE_HZ + rng.uniform(0.0, 4.0), rng.random()
    if kind < 0.35:
        sounder = rng.uniform(2400.0, 3900.0) if rng.random() < 0.8 else rng.uniform(440.0, 620.0)
        return _tone(rng, np.full(size, sounder)) * _smooth(_seldom(rng, time_s))
    if kind < 0.5:
        pulse_s = rng.uniform(0.25, 0.6)
        on = time_s % (2 * pulse_s) < pulse_s
        return _tone(rng, np.full(size, rng.uniform(900.0, 2200.0))) * _smooth(on.astype(float))
    hz = float(rng.choice([rng.uniform(700.0, 2300.0), rng.uniform(3900.0, 6000.0)]))
    period_s, share = rng.uniform(0.15, 2.5), rng.uniform(0.1, 0.6)
    on = ((time_s % period_s) < share * period_s) & (time_s % rng.uniform(2.0, 8.0) < rng.uniform(0.5, 3.0))
    warble = 1 + (0.1 * np.sign(np.sin(2 * np.pi * 20.0 * time_s)) if rng.random() < 0.3 else 0.0)
    return _tone(rng, np.full(size, hz) * warble) * _smooth(on.astype(float))


def _seldom(rng: Rng, time_s: Sound) -> Sound:
    """Open a gate once or twice for a moment, then not for a second or more: appliances, low batteries.

    More would, within a window, be an alarm's fast beeps.
    """
    pulse_s = np.exp(rng.uniform(np.log(0.02), np.log(0.25)))
    pulses, every_s = int(rng.integers(1, 3)), pulse_s * rng.uniform(1.5, 3.0)
    at = time_s % (pulses * every_s + rng.uniform(1.0, 4.0))
    return np.asarray((at < pulses * every_s) & (at % every_s < pulse_s), float)


def _birds(rng: Rng, size: int) -> Sound:
    """Phrases of whistles that glide, each repeated some times but never quite, over a little noise.

    They are nearly pure, unlike a sounder's sweeps, which are all the same and have overtones.
    """
    sound, at = at_peak(_noise(rng, size)) * 10 ** rng.uniform(-3.0, -1.0), 0
    while at < size:
        seconds, pause_s = rng.uniform((0.03, 0.02), (0.3, 0.25))
        start, glide = np.exp(rng.uniform(np.log(1500), np.log(6500))), rng.uniform(0.6, 1.6)
        deep, turns, loudness = rng.uniform(0.0, 0.15), rng.uniform(0.0, 80.0), rng.uniform(0.1, 1.0)
        for _ in range(int(rng.integers(1, 9))):
            length = int(RATE_HZ * seconds * rng.uniform(0.7, 1.3))
            trill = 1 + deep * np.sin(np.linspace(0.0, turns, length))
            hz = start * rng.uniform(0.9, 1.1) * glide ** np.linspace(0.0, 1.0, length) * trill
            whistle = np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ) * np.hanning(length)
            kept = max(0, min(length, size - at))
            sound[at : at + kept] += loudness * rng.uniform(0.5, 1.0) * whistle[:kept]
            at += length + int(RATE_HZ * pause_s * rng.uniform(0.5, 2.0))
        at += int(RATE_HZ * rng.uniform(0.1, 2.5))
    return sound


def _insects(rng: Rng, size: int) -> Sound:
    """Pulses of one pitch, in chirps or without end, from one to three singers.

    Crickets sing at 2 to 8 kHz, 15 to 70 pulses a second, some of them 1 to 4 chirps a second: H. C. Gerhardt
    and F. Huber, "Acoustic Communication in Insects and Anurans", 2002. Those at a sounder's pitch are left
    out: frames of 20 ms do not tell their chirps from beeps.
    """
    time_s, sound = np.arange(size) / RATE_HZ, at_peak(_noise(rng, size)) * 10 ** rng.uniform(-3.0, -1.0)
    for _ in range(int(rng.integers(1, 4))):
        pulse_s = 1 / rng.uniform(15.0, 70.0)
        on = np.sin(np.pi * (time_s % pulse_s) / pulse_s) ** rng.uniform(1.0, 6.0)
        if rng.random() < 0.6:
            chirp_s = 1 / rng.uniform(1.0, 4.0)
            on = on * _smooth((time_s % chirp_s < chirp_s * rng.uniform(0.15, 0.7)).astype(float), 160)
        sound += rng.uniform(0.2, 1.0) * on * _tone(rng, np.full(size, rng.uniform(3900.0, 7500.0)))
    return sound


def _steady_tones(rng: Rng, size: int) -> Sound:
    """A whistle, a whine, or a dial tone; one that slides would, within a window, be a siren."""
    drift = np.cumsum(rng.normal(0, 1, size)) * 2e-6
    pitches = np.exp(rng.uniform(np.log(90), np.log(6000), 2))
    tones = [_tone(rng, pitch * np.exp(drift)) * rng.choice([0.0, 1.0]) for pitch in pitches]
    return np.asarray(sum(tones) + (0.02 + 0.1 * rng.random()) * at_peak(_noise(rng, size)))


def _clatter(rng: Rng, size: int) -> Sound:
    """Knocks, clicks, footsteps and dishes: short bursts and struck bodies."""
    sound = at_peak(_noise(rng, size)) * 10 ** rng.uniform(-3.0, -1.5)
    for _ in range(int(rng.integers(2, 8 * size // RATE_HZ))):
        length = int(RATE_HZ * np.exp(rng.uniform(np.log(0.004), np.log(0.3))))
        at, fade = int(rng.integers(size)), np.exp(-np.arange(length) / length * 5)
        ringing = _tone(rng, np.full(length, rng.uniform(200, 5000)))
        body = ringing if rng.random() < 0.4 else at_peak(coloured(rng, length, rng.uniform(-9, 3)))
        sound[at : at + length] += (body * fade * rng.random())[: size - at]
    return sound


def _babble(rng: Rng, size: int) -> Sound:
    """Syllables without words: a glottal pulse train, or breath, through three moving formants."""
    sound, at = np.zeros(size), 0
    pitch = np.exp(rng.uniform(np.log(80), np.log(350)))
    while at < size:
        length = min(size - at, int(RATE_HZ * rng.uniform(0.06, 0.35)))
        if rng.random() < 0.8:
            sound[at : at + length] = _syllable(rng, length, pitch * rng.uniform(0.8, 1.25))
        at += length
    return sound


def _syllable(rng: Rng, length: int, pitch_hz: float) -> Sound:
    source = coloured(rng, length, -1.0)
    if rng.random() < 0.75:
        glide = pitch_hz * np.linspace(1.0, rng.uniform(0.8, 1.2), length)
        source = np.diff(np.floor(np.cumsum(glide) / RATE_HZ), prepend=0.0) + 0.02 * source
    hz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    centres = (rng.uniform(250, 850), rng.uniform(850, 2500), rng.uniform(2200, 3600))
    widths = (rng.uniform(60, 150), rng.uniform(80, 200), rng.uniform(120, 300))
    gain = np.zeros_like(hz)
    for number, (centre, width) in enumerate(zip(centres, widths, strict=True), start=1):
        gain += 1 / (1 + ((hz - centre) / width) ** 2) / number
    return at_peak(np.fft.irfft(np.fft.rfft(source) * gain, length)) * np.hanning(length)


_BACKGROUNDS: Mapping[str, Callable[[Rng, int], Sound]] = {
    "noise": _noise,
    "hum": _hum,
    "engine": _engine,
    "melody": _melody,
    "beeps": _beeps,
    "birds": _birds,
    "insects": _insects,
    "steady tones": _steady_tones,
    "clatter": _clatter,
    "babble": _babble,
}
