"""Where sound comes from: what every source offers, and how its numbers become int16.

A source knows nothing of time, sensors or topics: `capture` paces it, `framer` cuts and numbers it.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.int16]
"""int16[n, channels]: n samples, one after another."""

FULL_SCALE = 32768


class Source(Protocol):
    """A recording or a generator that can be played from its beginning."""

    @property
    def name(self) -> str:
        """What errors and logs call it."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second and channel."""
        ...

    @property
    def channels(self) -> int:
        """Interleaved channels."""
        ...

    @property
    def samples(self) -> int | None:
        """Samples per channel in one pass, or None where nobody knows."""
        ...

    def blocks(self) -> Iterator[Block]:
        """Give the sound once, in blocks of bounded size.

        Raises:
            CaptureError: the source cannot be read to its end.

        """
        ...


def to_int16(sound: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Turn numbers in [-1, 1) into int16 of the same shape, by the one rule that holds everywhere.

    Times 32768, rounded half to even, clipped to -32768 .. 32767. NaN is silence.
    """
    scaled = np.rint(sound * float(FULL_SCALE))
    clipped = np.clip(
        np.nan_to_num(scaled, nan=0.0, posinf=np.inf, neginf=-np.inf), -FULL_SCALE, FULL_SCALE - 1
    )
    return np.asarray(clipped, dtype=np.int16)
