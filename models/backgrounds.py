"""Numbers -> sounds to train on in which nothing should be found, some of them easily taken for something.

The noise that a model is tested with comes from another generator, `models/scenes`. Its hums, engines,
clatter, whistles, chords and tunes are built much as these are, from the same physics, so a model is less
often wrong about them than about others.
"""

from collections.abc import Callable, Mapping

import numpy as np

from models.features import RATE_HZ
from models.music import band, melody
from models.tones import HIGHEST_HZ, Rng, Sound, at_peak, coloured, lay, noise, smooth, tone

NOTHING = "background"
"""What a generated sound is called that is no alert."""


def draw_background(rng: Rng, seconds: float) -> Sound:
    """Draw a sound in which nothing should be found, of any kind there is."""
    kind = list(BACKGROUNDS.values())[int(rng.integers(len(BACKGROUNDS)))]
    return at_peak(kind(rng, round(seconds * RATE_HZ)))


def _hum(rng: Rng, size: int) -> Sound:
    """Mains with up to 47 partials, of a core, a dimmer or a ballast, which may beat, over noise."""
    time_s, mains = np.arange(size) / RATE_HZ, float(rng.choice([50.0, 60.0])) * rng.uniform(0.995, 1.005)
    k = np.arange(1, int(rng.integers(4, 49)))
    strengths = k ** -rng.uniform(0.2, 2.0) * np.exp(rng.normal(0.0, rng.uniform(0.0, 1.2), k.size))
    strengths *= np.where(k % 2, rng.uniform(0.0, 1.0), 1.0) if rng.random() < 0.7 else 1.0
    phases = rng.uniform(0.0, 2 * np.pi, k.size)
    cycles = np.cumsum(mains * (1 + np.cumsum(rng.normal(0, 1, size)) * 2e-6)) / RATE_HZ
    hum = sum(
        strength * np.sin(2 * np.pi * number * cycles + phase)
        for number, strength, phase in zip(k, strengths, phases, strict=True)
    )
    beat = 1 + rng.uniform(0.0, 0.6) ** 2 * np.sin(2 * np.pi * rng.uniform(0.1, 6.0) * time_s)
    hiss = coloured(rng, size, rng.uniform(-8.0, 3.0))
    return np.asarray(at_peak(hum * beat) + at_peak(hiss) * 10 ** rng.uniform(-2.5, 0.0))


def _engine(rng: Rng, size: int) -> Sound:
    """Combustions that wander, each cylinder of its own strength, and breath, through pipes; over noise.

    They are quicker than a rotor's blades; the quick ones are as quick as a chainsaw.
    """
    time_s, every_s = np.arange(size) / RATE_HZ, rng.uniform(0.4, 4.0)
    knots = rng.normal(0.0, rng.uniform(0.01, 0.25), int(size / RATE_HZ / every_s) + 3)
    wander = np.interp(time_s / every_s, np.arange(knots.size), knots)
    fires = np.cumsum(np.exp(rng.uniform(np.log(28.0), np.log(220.0)) + wander)) / RATE_HZ
    strokes = np.flatnonzero(np.diff(np.floor(fires)) > 0)
    late = rng.uniform(0.0, 0.08) * size / max(1, strokes.size)
    at = np.minimum(strokes + (late * rng.random(strokes.size)).astype(int), size - 1)
    cylinders = rng.uniform(0.4, 1.0, int(rng.integers(1, 9)))
    strengths = cylinders[np.arange(at.size) % cylinders.size] * rng.normal(1.0, 0.1, at.size)
    strengths[rng.random(at.size) < rng.uniform(0.0, 0.05)] *= 0.2
    train = np.zeros(size)
    train[at] = strengths
    ring = np.arange(int(0.05 * RATE_HZ)) / RATE_HZ
    bang = np.exp(-ring * rng.uniform(150.0, 900.0))
    for _ in range(int(rng.integers(1, 5))):
        hz = np.exp(rng.uniform(np.log(40.0), np.log(1200.0)))
        bang += (
            rng.uniform(0.3, 2.0) * np.sin(2 * np.pi * hz * ring) * np.exp(-ring * rng.uniform(30.0, 300.0))
        )
    pulses = at_peak(np.fft.irfft(np.fft.rfft(train, 2 * size) * np.fft.rfft(bang, 2 * size))[:size])
    pulses = at_peak(pulses - pulses.mean())
    breath = np.abs(pulses) * at_peak(coloured(rng, size, rng.uniform(-6.0, 0.0)))
    return pulses + rng.uniform(0.0, 0.7) * breath + at_peak(noise(rng, size)) * 10 ** rng.uniform(-2.5, -0.3)


def _beeps(rng: Rng, size: int) -> Sound:
    """Beeps that no alarm makes: other pitches than a sounder's, or a sounder's but short and far apart.

    The others are few in a row, warbling, or, as of a vehicle that reverses, as long as their pauses.
    """
    time_s, kind = np.arange(size) / RATE_HZ + rng.uniform(0.0, 4.0), rng.random()
    if kind < 0.35:
        sounder = rng.uniform(2400.0, 3900.0) if rng.random() < 0.8 else rng.uniform(440.0, 620.0)
        return tone(rng, np.full(size, sounder)) * smooth(_seldom(rng, time_s))
    if kind < 0.5:
        pulse_s = rng.uniform(0.25, 0.6)
        on = time_s % (2 * pulse_s) < pulse_s
        return tone(rng, np.full(size, rng.uniform(900.0, 2200.0))) * smooth(on.astype(float))
    hz = float(rng.choice([rng.uniform(700.0, 2300.0), rng.uniform(3900.0, 6000.0)]))
    period_s, share = rng.uniform(0.15, 2.5), rng.uniform(0.1, 0.6)
    on = ((time_s % period_s) < share * period_s) & (time_s % rng.uniform(2.0, 8.0) < rng.uniform(0.5, 3.0))
    warble = 1 + (0.1 * np.sign(np.sin(2 * np.pi * 20.0 * time_s)) if rng.random() < 0.3 else 0.0)
    return tone(rng, np.full(size, hz) * warble) * smooth(on.astype(float))


def _seldom(rng: Rng, time_s: Sound) -> Sound:
    """Open a gate once or twice for a moment, then not for a second or more: appliances, low batteries.

    More would, within a window, be an alarm's fast beeps, and longer ones its pulses, cut off by the window:
    an appliance's long beep at a sounder's pitch is learned nowhere, and may be taken for an alarm.
    """
    pulse_s = np.exp(rng.uniform(np.log(0.02), np.log(0.12)))
    pulses, every_s = int(rng.integers(1, 3)), pulse_s * rng.uniform(1.5, 3.0)
    at = time_s % (pulses * every_s + rng.uniform(1.0, 4.0))
    return np.asarray((at < pulses * every_s) & (at % every_s < pulse_s), float)


def _birds(rng: Rng, size: int) -> Sound:
    """Phrases of whistles that glide, each repeated some times but never quite, over a little noise.

    They are nearly pure, unlike a sounder's sweeps, which are all the same and have overtones.
    """
    sound, at = at_peak(noise(rng, size)) * 10 ** rng.uniform(-3.0, -1.0), 0
    while at < size:
        seconds, pause_s = rng.uniform((0.03, 0.02), (0.3, 0.25))
        start, glide = np.exp(rng.uniform(np.log(1500), np.log(6500))), rng.uniform(0.6, 1.6)
        deep, turns, loudness = rng.uniform(0.0, 0.15), rng.uniform(0.0, 80.0), rng.uniform(0.1, 1.0)
        for _ in range(int(rng.integers(1, 9))):
            length = int(RATE_HZ * seconds * rng.uniform(0.7, 1.3))
            trill = 1 + deep * np.sin(np.linspace(0.0, turns, length))
            hz = start * rng.uniform(0.9, 1.1) * glide ** np.linspace(0.0, 1.0, length) * trill
            whistle = _whistle(hz)
            lay(sound, loudness * rng.uniform(0.5, 1.0) * whistle, at)
            at += length + int(RATE_HZ * pause_s * rng.uniform(0.5, 2.0))
        at += int(RATE_HZ * rng.uniform(0.1, 2.5))
    return sound


def _whistle(hz: Sound) -> Sound:
    """Whistle a pitch, purely, and not at all where it is beyond the band."""
    pure = np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)
    return np.asarray(np.where(hz < HIGHEST_HZ, pure, 0.0) * np.hanning(hz.size))


def _insects(rng: Rng, size: int) -> Sound:
    """Pulses of one pitch, in chirps or without end, from one to three singers.

    Crickets sing at 2 to 8 kHz, 15 to 70 pulses a second, some of them 1 to 4 chirps a second: H. C. Gerhardt
    and F. Huber, "Acoustic Communication in Insects and Anurans", 2002. Those at a sounder's pitch are left
    out: frames of 20 ms do not tell their chirps from beeps.
    """
    time_s, sound = np.arange(size) / RATE_HZ, at_peak(noise(rng, size)) * 10 ** rng.uniform(-3.0, -1.0)
    for _ in range(int(rng.integers(1, 4))):
        pulse_s = 1 / rng.uniform(15.0, 70.0)
        on = np.sin(np.pi * (time_s % pulse_s) / pulse_s) ** rng.uniform(1.0, 6.0)
        if rng.random() < 0.6:
            chirp_s = 1 / rng.uniform(1.0, 4.0)
            on = on * smooth((time_s % chirp_s < chirp_s * rng.uniform(0.15, 0.7)).astype(float), 160)
        sound += rng.uniform(0.2, 1.0) * on * tone(rng, np.full(size, rng.uniform(3900.0, 7500.0)))
    return sound


def _steady_tones(rng: Rng, size: int) -> Sound:
    """Whistles, whines, dial tones, chords that last: one to four pitches, pure or full, and some hiss.

    All creep and tremble a little, as a kettle's does; one that slides would, within a window, be a siren.
    """
    time_s, sound = np.arange(size) / RATE_HZ, np.zeros(size)
    knots = rng.normal(0.0, rng.uniform(0.0, 0.003), int(8 * size / RATE_HZ) + 2)
    creeping = np.exp(rng.uniform(-0.01, 0.01) * time_s + np.interp(8 * time_s, np.arange(knots.size), knots))
    for pitch_hz in np.exp(rng.uniform(np.log(90.0), np.log(6000.0), int(rng.integers(1, 5)))):
        hz = pitch_hz * creeping
        pure = np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)
        sound += rng.uniform(0.1, 1.0) * (pure if rng.random() < 0.5 else at_peak(tone(rng, hz)))
    tremulant = 1 + rng.uniform(0.0, 0.15) * np.sin(2 * np.pi * rng.uniform(3.0, 7.0) * time_s)
    hiss = at_peak(coloured(rng, size, rng.uniform(-6.0, 3.0))) * 10 ** rng.uniform(-2.0, 0.2)
    return np.asarray(at_peak(sound) * tremulant + hiss)


def _clatter(rng: Rng, size: int) -> Sound:
    """Knocks, clicks, footsteps and dishes: bursts anywhere, or blows on a few things."""
    sound = at_peak(noise(rng, size)) * 10 ** rng.uniform(-3.0, -1.5)
    return sound + (_bursts(rng, size) if rng.random() < 0.4 else _blows(rng, size))


def _bursts(rng: Rng, size: int) -> Sound:
    sound = np.zeros(size)
    for _ in range(int(rng.integers(2, 8 * size // RATE_HZ))):
        length = int(RATE_HZ * np.exp(rng.uniform(np.log(0.004), np.log(0.3))))
        at, fade = int(rng.integers(size)), np.exp(-np.arange(length) / length * 5)
        ringing = tone(rng, np.full(length, rng.uniform(200, 5000)))
        body = ringing if rng.random() < 0.4 else at_peak(coloured(rng, length, rng.uniform(-9, 3)))
        lay(sound, body * fade * rng.random(), at)
    return sound


def _blows(rng: Rng, size: int) -> Sound:
    """Blows on some bodies in turn, by chance or, as of feet and hammers, evenly.

    What is even is low: high and even would be a clock.
    """
    sound, at, even = np.zeros(size), int(rng.integers(RATE_HZ)), rng.random() < 0.5
    lowest_hz = np.exp(rng.uniform(np.log(50.0), np.log(400.0 if even else 3000.0)))
    highest_hz = min(8 * lowest_hz, 1000.0 if even else 7600.0)
    bodies = [_body(rng, lowest_hz, highest_hz) for _ in range(int(rng.integers(1, 6)))]
    every_s = rng.uniform(0.25, 0.9) if even else np.exp(rng.uniform(np.log(0.05), np.log(1.2)))
    while at < size:
        body = bodies[int(rng.integers(len(bodies)))] * np.exp(rng.normal(0.0, 0.5))
        lay(sound, body, at)
        at += 1 + int(RATE_HZ * every_s * (rng.normal(1.0, 0.05) if even else rng.exponential()))
    return at_peak(sound)


def _body(rng: Rng, lowest_hz: float, highest_hz: float) -> Sound:
    """Return one blow on a body: 2 to 14 modes that ring, and a burst of noise, dull if they are low."""
    ring_s = np.exp(rng.uniform(np.log(0.002), np.log(0.3)))
    time_s = np.arange(int(RATE_HZ * max(0.03, 5 * ring_s))) / RATE_HZ
    modes = np.exp(rng.uniform(np.log(lowest_hz), np.log(highest_hz), int(rng.integers(2, 15))))
    decays = ring_s * rng.uniform(0.3, 1.0, modes.size)
    heights = rng.normal(size=modes.size) / np.sqrt(modes.size)
    rings = np.sin(2 * np.pi * np.outer(time_s, modes)) * np.exp(-time_s[:, None] / decays)
    brightest = 3.0 if highest_hz > 1000.0 else -6.0
    burst = at_peak(coloured(rng, time_s.size, rng.uniform(-9.0, brightest)))
    burst *= np.exp(-time_s / rng.uniform(0.001, 0.03))
    return at_peak(rings @ heights + rng.uniform(0.0, 1.0) * burst)


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


BACKGROUNDS: Mapping[str, Callable[[Rng, int], Sound]] = {
    "noise": noise,
    "hum": _hum,
    "engine": _engine,
    "melody": melody,
    "band": band,
    "beeps": _beeps,
    "birds": _birds,
    "insects": _insects,
    "steady tones": _steady_tones,
    "clatter": _clatter,
    "babble": _babble,
}
