"""Blocks of any size -> frames: cuts, numbers and times a sensor's samples, and names its epochs.

    blocks   |--------|---|-------------|----|
    frames   |-----|-----|-----|-----|-----|·      · waits for the rest of its frame, or for `flush`

Whole frames are encoded from where their caller keeps them; only a rest that has to wait is copied, once.

Frame k of an epoch ends before sample `k · rate · frame_ms // 1000`: a grid that does not drift where a frame
is not a whole number of samples (44.1 at 44,100 Hz and 1 ms). Nothing here knows Kafka or a clock.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from producers.encode import encode_samples
from producers.source import Block
from schemas.errors import ConfigurationError
from schemas.frame import MAX_VALUES, AudioFrame, Encoding
from schemas.identity import new_epoch

MIN_FRAME_MS, MAX_FRAME_MS = 1, 1000

NewEpoch = Callable[[bytes | None], bytes]
"""Names an epoch that sorts after the one given."""
Encode = Callable[[Block, int, Encoding], bytes]
"""Turns `int16[n, channels]` of a rate into the bytes of a frame; keeps no view of it."""


@dataclass(frozen=True, slots=True)
class FramerSettings:
    """How sound is cut. `clock_tolerance_ms`: a larger step of the capture clock opens a new epoch."""

    frame_ms: int = 20
    encoding: Encoding = Encoding.PCM_S16LE
    clock_tolerance_ms: int = 250

    def __post_init__(self) -> None:
        if not MIN_FRAME_MS <= self.frame_ms <= MAX_FRAME_MS:
            raise ConfigurationError("frame_ms", self.frame_ms, f"{MIN_FRAME_MS} to {MAX_FRAME_MS}")
        if self.clock_tolerance_ms < 1:
            accepted = "1 or more: with less, every block would open an epoch"
            raise ConfigurationError("clock_tolerance_ms", self.clock_tolerance_ms, accepted)


def frame_end(sample: int, sample_rate_hz: int, frame_ms: int) -> int:
    """Return the first sample after the frame that holds this sample, both counted in their epoch."""
    per_1000_frames = sample_rate_hz * frame_ms
    frames = -(-1000 * (sample + 1) // per_1000_frames)
    return frames * per_1000_frames // 1000


def duration_us(samples: int, sample_rate_hz: int) -> int:
    """Return how long samples last, in whole microseconds, rounded down."""
    return samples * 1_000_000 // sample_rate_hz


class Framer:
    """Frames of one sensor. Its epochs: one at the start, after `restart`, and where the sound itself breaks.

    The sound breaks where its rate or its channels change, and where the capture clock and the number of
    samples disagree about the time since the last block.
    """

    def __init__(
        self,
        settings: FramerSettings | None = None,
        new_epoch: NewEpoch = new_epoch,
        encode: Encode = encode_samples,
    ) -> None:
        self._settings, self._new_epoch, self._encode = settings or FramerSettings(), new_epoch, encode
        self._epoch: bytes | None = None
        self._running = False
        self._rate_hz, self._last_us, self._first_sample = 0, 0, 0
        self._rest: Block = np.empty((0, 0), np.int16)
        """Room for one frame, of which the first `_waiting` samples wait for the others."""
        self._waiting = 0

    @property
    def epoch(self) -> bytes | None:
        """The newest epoch that was named, or None before any sound."""
        return self._epoch

    @property
    def next_sample(self) -> int:
        """The number that the next sample has, if it goes on in this epoch."""
        return self._first_sample + self._waiting if self._running else 0

    def room(self, sample_rate_hz: int) -> int:
        """Return how many samples of this rate end the frame that the next sample falls into."""
        going_on = self._running and sample_rate_hz == self._rate_hz
        sample = self.next_sample if going_on else 0
        return frame_end(sample, sample_rate_hz, self._settings.frame_ms) - sample

    def feed(self, block: Block, sample_rate_hz: int, captured_at_us: int) -> list[AudioFrame]:
        """Take `int16[n, channels]`; return the frames that it ends.

        `captured_at_us` is when its last sample was read.

        Raises:
            ConfigurationError: frames of this sound would be larger than readers accept.
            InvalidFrameError: rate, channels or time are outside what a frame can carry.

        """
        if not len(block):
            return []
        ended = self.restart() if self._breaks(block, sample_rate_hz, captured_at_us) else []
        if not self._running:
            self._open(block.shape[1], sample_rate_hz)
        self._last_us = captured_at_us
        return ended + self._cut(block)

    def restart(self) -> list[AudioFrame]:
        """End the epoch: the next sample opens a new one. Return what was left as a short frame."""
        left = self.flush()
        self._running = False
        return left

    def flush(self) -> list[AudioFrame]:
        """Return the samples that wait for the rest of their frame as a short frame; the epoch goes on."""
        return [self._frame_of_rest(0)] if self._waiting else []

    def _breaks(self, block: Block, sample_rate_hz: int, captured_at_us: int) -> bool:
        if not self._running:
            return False
        if sample_rate_hz != self._rate_hz or block.shape[1] != self._rest.shape[1]:
            return True
        expected_us = self._last_us + duration_us(len(block), sample_rate_hz)
        return abs(captured_at_us - expected_us) > 1000 * self._settings.clock_tolerance_ms

    def _open(self, channels: int, sample_rate_hz: int) -> None:
        frame_ms = self._settings.frame_ms
        if sample_rate_hz * frame_ms // 1000 * channels > MAX_VALUES:
            largest_ms = 1000 * (MAX_VALUES // channels) // sample_rate_hz
            accepted = f"up to {largest_ms} for {channels} channels at {sample_rate_hz} Hz"
            raise ConfigurationError("frame_ms", frame_ms, accepted)
        self._epoch = self._new_epoch(self._epoch)
        self._running, self._rate_hz, self._first_sample = True, sample_rate_hz, 0
        self._rest = np.empty((sample_rate_hz * frame_ms // 1000 + 1, channels), np.int16)

    def _cut(self, block: Block) -> list[AudioFrame]:
        frames = []
        if self._waiting:
            block = self._complete(block)
            if self._waiting < self._frame_samples():
                return []
            frames.append(self._frame_of_rest(len(block)))
        while len(block) >= (size := self._frame_samples()):
            samples, block = block[:size], block[size:]
            frames.append(self._frame(samples, len(block)))
        self._complete(block)
        return frames

    def _complete(self, block: Block) -> Block:
        """Copy as much as the waiting frame has room for; return what is left."""
        taken = block[: self._frame_samples() - self._waiting]
        self._rest[self._waiting : self._waiting + len(taken)] = taken
        self._waiting += len(taken)
        return block[len(taken) :]

    def _frame_samples(self) -> int:
        return frame_end(self._first_sample, self._rate_hz, self._settings.frame_ms) - self._first_sample

    def _frame_of_rest(self, after: int) -> AudioFrame:
        samples, self._waiting = self._rest[: self._waiting], 0
        return self._frame(samples, after)

    def _frame(self, samples: Block, after: int) -> AudioFrame:
        """Number and encode samples; `after` of the same block have come since."""
        if self._epoch is None:
            raise AssertionError("a frame before its epoch")
        first_sample, self._first_sample = self._first_sample, self._first_sample + len(samples)
        return AudioFrame(
            epoch=self._epoch,
            first_sample=first_sample,
            samples=len(samples),
            captured_at_us=self._last_us - duration_us(after, self._rate_hz),
            sample_rate_hz=self._rate_hz,
            channels=samples.shape[1],
            encoding=self._settings.encoding,
            data=self._encode(samples, self._rate_hz, self._settings.encoding),
        )
