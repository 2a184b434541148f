"""Where sound comes from: what every source offers, and how its numbers become int16.

A recording knows nothing of time: `capture` paces it. A live source gives sound when it comes, and says when
that was: `live` takes it. Neither knows sensors or topics; `framer` cuts and numbers what both give.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from threading import Event
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


@dataclass(frozen=True, slots=True)
class Loss:
    """A break in the sound, before anybody numbered it.

    `samples`: how many are missing, per channel; None where nobody knows, 0 where none need be.
    """

    samples: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """Sound as it came. `captured_at_us`: UTC of its last sample. `lost`: what broke off just before it.

    The block may be a view of a buffer that is used again: it holds until the next arrival is asked for.
    """

    block: Block
    sample_rate_hz: int
    captured_at_us: int
    lost: Loss | None = None


Room = Callable[[int], int]
"""How many samples of a rate end the frame that the next sample falls into."""


Arrivals = Generator[Arrival, None, None]
"""To be closed by whoever does not read it to its end."""


class LiveSource(Protocol):
    """A source that nobody can slow down, such as a microphone."""

    @property
    def name(self) -> str:
        """What errors and logs call it; without passwords."""
        ...

    def arrivals(self, room: Room, stop: Event) -> Arrivals:
        """Give sound as it comes, until it ends or `stop` is set; pieces that end with a frame spare a copy.

        Raises:
            CaptureError: the source never worked, or is gone for good.
            ConfigurationError: a library that it needs is missing, or a setting cannot work.

        """
        ...


def to_int16(sound: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Turn numbers in [-1, 1) into int16 of the same shape, by the one rule that holds everywhere.

    Times 32768, rounded half to even, clipped to -32768 .. 32767. NaN is silence.
    """
    with np.errstate(over="ignore"):  # a float32 near its end becomes infinite, and is clipped as it would be
        scaled = np.rint(sound * float(FULL_SCALE))
    clipped = np.clip(
        np.nan_to_num(scaled, nan=0.0, posinf=np.inf, neginf=-np.inf), -FULL_SCALE, FULL_SCALE - 1
    )
    return np.asarray(clipped, dtype=np.int16)
