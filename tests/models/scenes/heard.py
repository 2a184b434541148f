"""Alarms as they are drawn, and what is measured on sounds."""

import numpy as np
from numpy.typing import NDArray

from models.scenes.alarms import Alarm, draw_alarm

RATE_HZ = 16_000
SEEDS = range(6)


def drawn(label: str, pattern: str, seed: int, rate_hz: int = RATE_HZ) -> Alarm:
    return draw_alarm(np.random.default_rng(seed), label, rate_hz, pattern)


def beeps_s(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the envelope is above a fifth of its peak, `float64[B, 2]` in seconds."""
    width = round(0.004 * RATE_HZ)
    envelope = np.convolve(np.abs(sound), np.ones(width) / width, mode="same")
    loud = np.concatenate([[0], envelope > 0.2 * np.quantile(envelope, 0.99), [0]]).astype(int)
    starts, ends = np.flatnonzero(np.diff(loud) > 0), np.flatnonzero(np.diff(loud) < 0)
    joined = np.flatnonzero(starts[1:] - ends[:-1] > 0.015 * RATE_HZ)
    starts, ends = starts[np.r_[0, joined + 1]], ends[np.r_[joined, ends.size - 1]]
    return np.stack([starts, ends], axis=1) / RATE_HZ


def strongest_hz(sound: NDArray[np.float64], rate_hz: int = RATE_HZ) -> float:
    return float(np.abs(np.fft.rfft(sound)).argmax() * rate_hz / sound.size)


def pitches_hz(sound: NDArray[np.float64], window_s: float = 0.064) -> NDArray[np.float64]:
    """Return the lowest of the strong peaks of every frame, 100 frames a second."""
    size, fft = round(window_s * RATE_HZ), 8192
    starts = range(0, sound.size - size, RATE_HZ // 100)
    frames = np.stack([sound[start : start + size] for start in starts]) * np.hanning(size)
    spectra = np.abs(np.fft.rfft(frames, fft))
    strong = spectra > 0.25 * spectra.max(axis=1, keepdims=True)
    first = strong.argmax(axis=1)
    after = [row[i : i + fft * 60 // RATE_HZ].argmax() + i for row, i in zip(spectra, first, strict=True)]
    return np.array(after) * RATE_HZ / fft


def power(sound: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the frequencies in Hz and the power of each."""
    hz, spectrum = np.fft.rfftfreq(sound.size, 1 / RATE_HZ), np.fft.rfft(sound * np.hanning(sound.size))
    return np.asarray(hz, dtype=np.float64), np.asarray(np.abs(spectrum) ** 2, dtype=np.float64)
