"""Pieces of sound -> passages, each of which can be one file: joined by index, holes filled with zeros.

    pieces    ├──7──┤├──7──┤      ├─7─┤  ├7┤   ├──8──┤    7, 8: epochs
    passages  ├──────7──────┤0000├──7──┤       ├──8──┤    late and doubled frames are dropped
                              gap of up to FILL_S

A passage is of one epoch, rate, number of channels and type of sample. Its values wait in a spool, in memory
up to SPOOL_BYTES and on disk beyond, until everything about them is known.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

import numpy as np

from earwitness.analysis.piece import Piece, Values
from earwitness.analysis.sound import QUIET_MS

FILL_S = 60.0
"""A longer hole than this, or a jump back by as much, begins another passage."""
SPOOL_BYTES = 1 << 26
BLOCK_SAMPLES = 1 << 16
MAX_GAPS = 1000
"""Holes are listed up to this many; all of them are counted."""
Gap = tuple[int, int]
"""The first missing sample, and how many."""


@dataclass(slots=True, eq=False)
class Passage:
    """Unbroken sound `[first_sample, end_sample)` of an epoch; `gaps` were missing and are zeros."""

    sensor: str
    epoch: str
    sample_rate_hz: int
    channels: int
    dtype: str
    first_sample: int
    end_sample: int
    start_us: int
    end_us: int
    first_offset: int
    last_offset: int
    spool: IO[bytes]
    missing_samples: int = 0
    dropped_frames: int = 0
    gaps: list[Gap] = field(default_factory=list)
    followed: bool = False
    """Whether another passage comes after it."""

    @property
    def samples(self) -> int:
        """How many samples each channel has."""
        return self.end_sample - self.first_sample

    @property
    def length_s(self) -> float:
        """How long it takes."""
        return self.samples / self.sample_rate_hz

    @property
    def data_bytes(self) -> int:
        """How much its values take."""
        return self.samples * self.channels * np.dtype(self.dtype).itemsize

    def blocks(self) -> Iterator[Values]:
        """Yield all of it from the start, block by block: int16 or float32, `[samples, channels]`."""
        self.spool.seek(0)
        size = BLOCK_SAMPLES * self.channels * np.dtype(self.dtype).itemsize
        while data := self.spool.read(size):
            yield np.frombuffer(data, np.dtype(self.dtype)).reshape(-1, self.channels)

    def append(self, piece: Piece) -> None:
        """Add the piece that comes next, after what is missing before it."""
        missing = piece.first_sample - self.end_sample
        if missing:
            self._fill(missing)
        self.spool.write(piece.values.tobytes())
        self.end_sample, self.end_us = piece.end_sample, piece.utc_us(piece.end_sample)
        self.last_offset = piece.offset

    def _fill(self, missing: int) -> None:
        if len(self.gaps) < MAX_GAPS:
            self.gaps.append((self.end_sample, missing))
        self.missing_samples += missing
        for begin in range(0, missing, BLOCK_SAMPLES):
            self.spool.write(
                np.zeros((min(BLOCK_SAMPLES, missing - begin), self.channels), self.dtype).tobytes()
            )


def passages(pieces: Iterable[Piece], sensor: str, spool_bytes: int = SPOOL_BYTES) -> Iterator[Passage]:
    """Join pieces; each passage can be read until the next one is asked for."""
    now: Passage | None = None
    appended_ms = 0
    for piece in pieces:
        if now is not None and _is_late(now, piece, piece.appended_ms - appended_ms):
            now.dropped_frames += 1
            continue
        if now is None or not _goes_on(now, piece):
            yield from _given(now, followed=True)
            now = _opened(piece, sensor, spool_bytes)
        now.append(piece)
        appended_ms = piece.appended_ms
    yield from _given(now, followed=False)


def _given(passage: Passage | None, *, followed: bool) -> Iterator[Passage]:
    if passage is not None:
        passage.followed = followed
        with passage.spool:
            yield passage


def _is_late(passage: Passage, piece: Piece, quiet_ms: int) -> bool:
    """Say whether a worker would not have listened to it: late, doubled, or of a second producer."""
    if piece.epoch != passage.epoch:
        return piece.epoch < passage.epoch and quiet_ms <= QUIET_MS
    return 0 < passage.end_sample - piece.first_sample <= FILL_S * piece.sample_rate_hz


def _goes_on(passage: Passage, piece: Piece) -> bool:
    of = piece.epoch, piece.sample_rate_hz, piece.values.shape[1], piece.values.dtype.name
    hole = piece.first_sample - passage.end_sample
    same = of == (passage.epoch, passage.sample_rate_hz, passage.channels, passage.dtype)
    return same and 0 <= hole <= FILL_S * piece.sample_rate_hz


def _opened(piece: Piece, sensor: str, spool_bytes: int) -> Passage:
    start_us = piece.utc_us(piece.first_sample)
    return Passage(
        sensor=sensor,
        epoch=piece.epoch,
        sample_rate_hz=piece.sample_rate_hz,
        channels=piece.values.shape[1],
        dtype=piece.values.dtype.name,
        first_sample=piece.first_sample,
        end_sample=piece.first_sample,
        start_us=start_us,
        end_us=start_us,
        first_offset=piece.offset,
        last_offset=piece.offset,
        spool=tempfile.SpooledTemporaryFile(spool_bytes),
    )
