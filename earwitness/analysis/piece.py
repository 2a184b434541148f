"""AudioFrame -> Piece: its samples, all channels as they came; and which of them are wanted.

Positions are sample indices of an epoch. The time of a sample comes from the frame that holds it.
"""

import logging
from dataclasses import dataclass, replace
from typing import Any, Protocol

from numpy.typing import NDArray

from processors.log import Record
from processors.pcm import samples
from schemas.errors import DeadLetterError
from schemas.frame import AudioFrame
from schemas.identity import epoch_text

logger = logging.getLogger(__name__)

Values = NDArray[Any]
"""int16 or float32, `[samples, channels]`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame, or the part of it that is wanted; `captured_us` belongs to sample `frame_end - 1`."""

    epoch: str
    sample_rate_hz: int
    first_sample: int
    values: Values
    frame_end: int
    captured_us: int
    offset: int
    appended_ms: int

    @property
    def end_sample(self) -> int:
        """The sample after the last one."""
        return self.first_sample + len(self.values)

    @property
    def length_ms(self) -> int:
        """How long it takes."""
        return len(self.values) * 1000 // self.sample_rate_hz

    def utc_us(self, sample: int) -> int:
        """Return the sensor's clock at a sample, by this frame: what detections and coverage say, too."""
        return self.captured_us + (sample - self.frame_end + 1) * 1_000_000 // self.sample_rate_hz

    def sample_at(self, time_us: int) -> int:
        """Return the first sample that is not before a time; it may lie outside this frame."""
        return self.frame_end - 1 - (self.captured_us - time_us) * self.sample_rate_hz // 1_000_000

    def within(self, begin: int, end: int) -> "Piece | None":
        """Return what of it lies in samples `[begin, end)`."""
        begin, end = max(begin, self.first_sample), min(end, self.end_sample)
        if begin >= end:
            return None
        return replace(
            self,
            first_sample=begin,
            values=self.values[begin - self.first_sample : end - self.first_sample],
        )


class Cut(Protocol):
    """Says which samples are wanted."""

    def of(self, piece: Piece) -> Piece | None:
        """Return what is wanted of a frame."""
        ...

    def begun(self, piece: Piece) -> bool:
        """Say whether nothing that is wanted can lie before a frame."""
        ...

    def over(self, piece: Piece) -> bool:
        """Say whether nothing that is wanted can follow a frame."""
        ...


@dataclass(frozen=True, slots=True)
class SampleCut:
    """Samples `[begin, end)` of one epoch."""

    epoch: str
    begin: int
    end: int

    def of(self, piece: Piece) -> Piece | None:
        """Return what is wanted of a frame."""
        return piece.within(self.begin, self.end) if piece.epoch == self.epoch else None

    def begun(self, piece: Piece) -> bool:
        """Say whether nothing that is wanted can lie before a frame."""
        return (piece.epoch, piece.first_sample) <= (self.epoch, self.begin)

    def over(self, piece: Piece) -> bool:
        """Say whether nothing that is wanted can follow a frame."""
        return (piece.epoch, piece.end_sample) >= (self.epoch, self.end)


@dataclass(frozen=True, slots=True)
class TimeCut:
    """What was heard in `[begin_us, end_us)` by the sensor's own clock."""

    begin_us: int
    end_us: int

    def of(self, piece: Piece) -> Piece | None:
        """Return what is wanted of a frame, by its own clock."""
        return piece.within(piece.sample_at(self.begin_us), piece.sample_at(self.end_us))

    def begun(self, piece: Piece) -> bool:
        """Say whether nothing that is wanted can lie before a frame."""
        return piece.utc_us(piece.first_sample) <= self.begin_us

    def over(self, piece: Piece) -> bool:
        """Say whether nothing that is wanted can follow a frame."""
        return piece.utc_us(piece.end_sample) >= self.end_us


@dataclass(frozen=True, slots=True)
class WholeFrames:
    """Whatever the offsets hold."""

    def of(self, piece: Piece) -> Piece | None:
        """Return all of a frame."""
        return piece

    def begun(self, piece: Piece) -> bool:
        """Say that the offsets say it."""
        return True

    def over(self, piece: Piece) -> bool:
        """Say that the offsets say it."""
        return True


def piece_of(frame: AudioFrame, record: Record) -> Piece | None:
    """Decode a frame where it stands in the log; what cannot be decoded is logged, and None."""
    try:
        values = samples(frame)
    except DeadLetterError as exc:
        logger.warning("%s: counted as missing: %s", record.place, exc)
        return None
    return Piece(
        epoch_text(frame.epoch),
        frame.sample_rate_hz,
        frame.first_sample,
        values,
        frame.end_sample,
        frame.captured_at_us,
        record.offset,
        record.timestamp,
    )
