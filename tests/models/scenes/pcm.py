"""Pieces of recordings, mono `int16[samples]`."""

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> NDArray[np.int16]:
    """White noise of a level, of full scale."""
    values = np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))
    return np.clip(values * level * 32768, -32768, 32767).astype(np.int16)


def silence(seconds: float) -> NDArray[np.int16]:
    return np.zeros(round(seconds * RATE_HZ), np.int16)


def sequence(*parts: NDArray[np.int16]) -> NDArray[np.int16]:
    return np.concatenate(parts)
