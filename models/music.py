"""Numbers -> music to train on in which nothing should be found."""

import numpy as np
from numpy.typing import NDArray

from models.features import RATE_HZ
from models.tones import Rng, Sound, at_peak, coloured, lay, noise, smooth, tone


def melody(rng: Rng, size: int) -> Sound:
    """Notes and chords of a scale on one instrument, plucked or held; all are cut off, or all ring on."""
    sound, at, instrument = np.zeros(size), 0, int(rng.integers(2**32))
    beat, root = rng.uniform(0.1, 0.7), rng.uniform(80.0, 700.0)
    fades, rings = np.exp(rng.uniform(np.log(0.5), np.log(12.0))), rng.random() < 0.6
    while at < size:
        length = int(RATE_HZ * beat * rng.choice([1, 1, 2, 4]))
        time_s = np.arange(min(size - at, int(RATE_HZ * 5 / fades) if rings else length)) / RATE_HZ
        touched = np.minimum(1.0, time_s / 0.004) * np.exp(-fades * time_s)
        for _ in range(int(rng.integers(1, 4))):
            pitch = root * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
            vibrato = 1 + 0.01 * rng.random() * np.sin(2 * np.pi * 5.5 * time_s)
            note = tone(np.random.default_rng(instrument), pitch * vibrato)
            lay(sound, note * touched * rng.random(), at)
        at += length
    return sound


def band(rng: Rng, size: int) -> Sound:
    """Electronic music: some of drums, a bass, a pattern of notes again and again, and chords that last."""
    step_s, scale = 15.0 / rng.uniform(60.0, 180.0), rng.choice([0, 2, 3, 5, 7, 9, 10, 12], 5, replace=False)
    root, sound = np.exp(rng.uniform(np.log(80.0), np.log(240.0))), np.zeros(size)
    for part in (_drums, _pattern, _pattern, _chords):
        if rng.random() < 0.6:
            sound += rng.uniform(0.2, 1.0) * at_peak(part(rng, size, step_s, root, scale))
    return sound + at_peak(noise(rng, size)) * 10 ** rng.uniform(-4.0, -2.0)


def _drums(rng: Rng, size: int, step_s: float, _root: float, _scale: NDArray[np.int64]) -> Sound:
    """Two or three drums, each struck in some of 16 steps: a skin, whose pitch falls, or a burst of noise."""
    sound = np.zeros(size)
    for _ in range(int(rng.integers(2, 4))):
        decay_s, steps = (
            np.exp(rng.uniform(np.log(0.01), np.log(0.25))),
            rng.random(16) < rng.uniform(0.1, 0.6),
        )
        time_s = np.arange(int(RATE_HZ * 5 * decay_s)) / RATE_HZ
        drum = at_peak(coloured(rng, time_s.size, rng.uniform(-3.0, 6.0)))
        if rng.random() < 0.5:
            hz = rng.uniform(40.0, 250.0) * (1 + rng.uniform(0.5, 4.0) * np.exp(-time_s / 0.03))
            drum = np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ) + rng.uniform(0.0, 0.3) * drum
        _play(sound, drum * np.exp(-time_s / decay_s), steps, step_s)
    return sound


def _play(sound: Sound, drum: Sound, steps: NDArray[np.bool_], step_s: float) -> None:
    for number in range(int(sound.size / RATE_HZ / step_s)):
        if steps[number % steps.size]:
            lay(sound, drum, int(number * step_s * RATE_HZ))


def _pattern(rng: Rng, size: int, step_s: float, root: float, scale: NDArray[np.int64]) -> Sound:
    """Some notes that fade, in turn, again and again: a bass or, octaves higher, an arpeggio.

    Below 2 kHz: beeps at a piezo's pitch would be an alarm. Long notes are below 480 Hz: higher ones would be
    a siren.
    """
    high = rng.random() < 0.6
    octave = 2.0 ** int(rng.integers(1, 3) if high else rng.integers(-1, 1))
    note_s = step_s if high else step_s * int(rng.choice([1, 2, 4]))
    hz = octave * root * 2 ** (rng.choice(scale, int(rng.integers(4, 9))) / 12)
    number = np.arange(size) / RATE_HZ / note_s
    fading = np.exp(-(number % 1.0) * rng.uniform(0.7, 6.0))
    return tone(rng, hz[number.astype(int) % hz.size]) * smooth(fading)


def _chords(rng: Rng, size: int, step_s: float, root: float, scale: NDArray[np.int64]) -> Sound:
    """Chords of two to four detuned voices, which may tremble."""
    time_s, sound = np.arange(size) / RATE_HZ, np.zeros(size)
    chord = (time_s / (step_s * int(rng.choice([8, 16, 32])))).astype(int)
    for _ in range(int(rng.integers(2, 5))):
        notes = rng.choice(scale, 4) + 12 * int(rng.integers(0, 3))
        sound += tone(rng, root * 2 ** (notes[chord % 4] / 12) * rng.uniform(0.995, 1.005))
    return sound * (1 + rng.uniform(0.0, 0.8) * np.sin(2 * np.pi * rng.uniform(0.1, 7.0) * time_s))
