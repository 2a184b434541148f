"""Numbers -> what generated sounds are made of: noise of a colour, a pitch with partials, gates.

Everything is mono `float64[S]` at 16 kHz, and a function of the random generator passed in.
"""

import numpy as np
from numpy.typing import NDArray

from models.features import RATE_HZ

Sound = NDArray[np.float64]
Rng = np.random.Generator

PARTIALS = 16
"""Bending makes more of them, which are faint and left out."""
CYCLE_SAMPLES = 1024
HIGHEST_HZ = 0.48 * RATE_HZ
"""Partials beyond it are left out."""
FADING_HZ = 800.0
"""They fade over so much below it, so that a glide does not click where one goes."""


def at_peak(sound: Sound) -> Sound:
    """Bring a sound's peak to 1; silence stays silence."""
    return np.asarray(sound / max(float(np.abs(sound).max(initial=0.0)), 1e-9))


def coloured(rng: Rng, size: int, slope_db_per_octave: float) -> Sound:
    """Return Gaussian noise whose spectrum falls by this slope above 20 Hz, and is flat below."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / RATE_HZ), 20.0) / 20.0)
    spectrum = np.fft.rfft(rng.standard_normal(size)) * 10 ** (slope_db_per_octave * octaves / 20)
    return np.asarray(np.fft.irfft(spectrum, size))


def noise(rng: Rng, size: int) -> Sound:
    """Noise of any colour that swells."""
    knots = rng.normal(0.0, rng.uniform(0.0, 6.0), size // RATE_HZ + 3)
    level = np.interp(np.linspace(0, knots.size - 1, size), np.arange(knots.size), knots)
    return np.asarray(coloured(rng, size, rng.uniform(-9.0, 2.0)) * 10 ** (level / 20))


def tone(rng: Rng, hz: Sound, horn: bool = False) -> Sound:
    """Sound a pitch, `float64[S]` in Hz, with partials of a random timbre, those beyond the band left out.

    A horn's are all strong. One cycle is bent as a worn loudspeaker bends it, not the sound: of that, what
    is beyond the band would fold back into it, and no microphone hears anything like it.
    """
    k = np.arange(1, PARTIALS + 1)
    slope = rng.uniform(0.6, 1.6) if horn else rng.uniform(0.6, 3.0)
    even = rng.uniform(0.5, 1.0) if horn else rng.uniform(0.0, 1.0) ** 2
    weights = k**-slope * np.where(k % 2, 1.0, even) * rng.uniform(0.5, 1.0, PARTIALS)
    turns = np.outer(k, np.arange(CYCLE_SAMPLES)) / CYCLE_SAMPLES
    cycle = weights @ np.sin(2 * np.pi * turns + rng.uniform(0.0, 2 * np.pi, (PARTIALS, 1)))
    bent = np.fft.rfft(np.tanh(rng.uniform(0.2, 3.0) * at_peak(cycle))) * 2 / CYCLE_SAMPLES
    phase, sound = 2 * np.pi * np.cumsum(hz) / RATE_HZ, np.zeros_like(hz)
    for number in k[k * hz.min(initial=RATE_HZ) < HIGHEST_HZ]:
        partial = np.abs(bent[number]) * np.cos(number * phase + np.angle(bent[number]))
        sound += partial * np.clip((HIGHEST_HZ - number * hz) / FADING_HZ, 0.0, 1.0)
    return sound


def smooth(gate: Sound, over: int = 48) -> Sound:
    """Let a gate open and close within 3 ms, so that it does not click."""
    return np.convolve(gate, np.ones(over) / over, mode="same")


def lay(onto: Sound, sound: Sound, at: int) -> None:
    """Add a sound from sample `at` on; what is beyond the end is cut off."""
    kept = max(0, min(sound.size, onto.size - at))
    onto[at : at + kept] += sound[:kept]
