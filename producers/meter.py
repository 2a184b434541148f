"""Sound -> how loud it is: RMS and peak in dBFS, and whether it clips, for whoever watches a capture.

The samples are read where they lie. One thread measures, another may take the reading.
"""

import math
from dataclasses import dataclass
from threading import Lock

import numpy as np

from producers.source import FULL_SCALE, Block

FLOOR_DBFS = -96.0
"""What silence is called: below the smallest step of 16 bits."""
_LOUDEST, _LOWEST = FULL_SCALE - 1, -FULL_SCALE


@dataclass(frozen=True, slots=True)
class Level:
    """How a stretch of sound was, over all its channels. `clipped`: values at either end of the scale."""

    values: int = 0
    rms_dbfs: float = FLOOR_DBFS
    peak_dbfs: float = FLOOR_DBFS
    clipped: int = 0


class Meter:
    """Measures sound; `take` reads the meter and starts it anew."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._values, self._energy, self._peak, self._clipped = 0, 0.0, 0, 0

    def feed(self, block: Block) -> None:
        """Measure `int16[n, channels]`."""
        if not block.size:
            return
        energy = float(np.einsum("ij,ij->", block, block, dtype=np.float64, casting="safe"))
        lowest, highest = int(block.min()), int(block.max())
        ends = lowest == _LOWEST or highest == _LOUDEST
        clipped = int(np.count_nonzero((block == _LOWEST) | (block == _LOUDEST))) if ends else 0
        with self._lock:
            self._values += block.size
            self._energy += energy
            self._peak = max(self._peak, -lowest, highest)
            self._clipped += clipped

    def take(self) -> Level:
        """Return how the sound was since the last time."""
        with self._lock:
            values, energy, peak, clipped = self._values, self._energy, self._peak, self._clipped
            self._clear()
        if not values:
            return Level()
        return Level(values, dbfs(math.sqrt(energy / values)), dbfs(peak), clipped)

    def _clear(self) -> None:
        self._values, self._energy, self._peak, self._clipped = 0, 0.0, 0, 0


def dbfs(amplitude: float) -> float:
    """Return an amplitude, 0 to 32768, in dB below full scale; a square wave of full scale has 0."""
    return max(FLOOR_DBFS, 20 * math.log10(amplitude / FULL_SCALE)) if amplitude > 0 else FLOOR_DBFS
