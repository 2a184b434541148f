"""a sound -> the same sound after a room, an equaliser, a codec, too much gain: what happens on its way.

For training, in the waveform, where power alone cannot say what happens. Each step is taken with a chance of
its own and draws from the generator that is passed in. Sounds are `float32[S]` at 16 kHz, about [-1, 1].
"""

import io
from dataclasses import dataclass

import numpy as np
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from models.features import RATE_HZ

Sound = NDArray[np.float32]
Rng = np.random.Generator

CODECS = (("WAV", "ULAW"), ("WAV", "GSM610"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS"))
"""Containers and encodings of libsndfile: telephones, players, the network."""


@dataclass(frozen=True, slots=True)
class Chances:
    """How often each disturbance happens to a sound."""

    room: float = 0.4
    equaliser: float = 0.6
    band: float = 0.15
    codec: float = 0.12
    clipping: float = 0.08


def disturb(rng: Rng, sound: Sound, chances: Chances) -> Sound:
    """Send a sound through whatever happens to it this time."""
    if rng.random() < chances.room:
        sound = in_room(rng, sound)
    if rng.random() < chances.equaliser:
        sound = equalised(rng, sound)
    if rng.random() < chances.band:
        sound = band_limited(rng, sound)
    if rng.random() < chances.clipping:
        sound = clipped(rng, sound)
    if rng.random() < chances.codec:
        sound = coded(rng, sound)
    return sound


def in_room(rng: Rng, sound: Sound) -> Sound:
    """Convolve with a room made here: a direct path, some early reflections, noise that decays by 60 dB."""
    decay_s = float(np.exp(rng.uniform(np.log(0.1), np.log(1.2))))
    tail = rng.standard_normal(int(RATE_HZ * decay_s))
    tail *= 10 ** (-3 * np.arange(tail.size) / tail.size)
    for _ in range(int(rng.integers(2, 8))):
        tail[int(rng.integers(8, 800))] += rng.choice([-1, 1]) * rng.uniform(1.0, 6.0)
    direct = rng.uniform(0.3, 5.0) * float(np.sqrt(np.sum(tail**2)))
    response = np.concatenate([[direct], tail]).astype(np.float32)
    wet = oaconvolve(sound, response)[: sound.size]
    return np.asarray(wet * (_rms(sound) / max(_rms(wet), 1e-9)), np.float32)


def equalised(rng: Rng, sound: Sound, most_db: float = 8.0) -> Sound:
    """Filter by a smooth random curve through seven points, up to `most_db` either way."""
    hz = np.fft.rfftfreq(sound.size, 1 / RATE_HZ)
    points = np.log(np.geomspace(30.0, 8000.0, 7))
    curve_db = np.interp(np.log(hz + 1.0), points, rng.uniform(-most_db, most_db, 7))
    return np.asarray(np.fft.irfft(np.fft.rfft(sound) * 10 ** (curve_db / 20), sound.size), np.float32)


def band_limited(rng: Rng, sound: Sound) -> Sound:
    """Lose the top or the bottom, as a sensor of a lower rate or a cheap microphone does."""
    samples, low = torch.from_numpy(sound), float(rng.uniform(50.0, 400.0))
    high = float(np.exp(rng.uniform(np.log(3000.0), np.log(7500.0))))
    samples = torchaudio.functional.lowpass_biquad(samples, RATE_HZ, high)
    return np.asarray(torchaudio.functional.highpass_biquad(samples, RATE_HZ, low).numpy())


def clipped(rng: Rng, sound: Sound) -> Sound:
    """Cut off what is above 10 to 70 % of the peak."""
    limit = float(np.abs(sound).max()) * float(rng.uniform(0.1, 0.7))
    return np.clip(sound, -limit, limit)


def coded(rng: Rng, sound: Sound) -> Sound:
    """Encode and decode by a codec that loses something; its delay is left in."""
    container, encoding = CODECS[int(rng.integers(len(CODECS)))]
    peak = max(float(np.abs(sound).max()), 1e-9)
    file = io.BytesIO()
    soundfile.write(file, sound / peak * 0.9, RATE_HZ, format=container, subtype=encoding)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    whole = np.zeros_like(sound)
    whole[: decoded.size] = decoded[: sound.size]
    return np.asarray(whole * (peak / 0.9), np.float32)


def _rms(sound: Sound) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
