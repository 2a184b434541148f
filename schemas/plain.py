"""Many values -> the plain frames among them, read at once: what most frames are, and most time goes to.

    header | epoch 16 | first_sample samples captured_at_us rate channels encoding size | data
                        └──────────── seven numbers of one to nine bytes ────────────┘

Avro's numbers have no fixed length, but frames that arrive together are nearly all laid out alike: values are
grouped by where their numbers end, and each number of a group is read from the same columns. Four to six
times as quick as one by one. What is not plain is not looked at any further: `Codec.decode` says why.
"""

from collections.abc import Sequence
from itertools import pairwise, repeat

import numpy as np
from numpy.typing import NDArray

from schemas.frame import (
    EPOCH_BYTES,
    MAX_FRAME_S,
    MAX_SAMPLE,
    MAX_SAMPLE_RATE_HZ,
    MAX_TIME_US,
    MAX_VALUES,
    MIN_SAMPLE_RATE_HZ,
    UUID_VARIANT,
    UUID_VERSION,
    AudioFrame,
    Encoding,
)

PlainFrame = tuple[int, int, int, int, int, int]
"""A frame of one channel in PCM_S16LE, within all limits of `AudioFrame`: its first sample, the sample after
its last, captured_at_us, the rate, and where in the value its epoch and its data begin. It has no names, and
copies nothing of the value: either would cost as much as all the rest."""

_NUMBERS, _NUMBER_BYTES = 7, 9
_HEAD_BYTES = 64
"""Holds every header, the epoch, and as many numbers as a plain frame can have."""
_MAX_LAYOUTS = 16

Rows = NDArray[np.intp]
Numbers = NDArray[np.uint64]


def plain_frames(values: Sequence[bytes | None], header: bytes) -> list[PlainFrame | None]:
    """Read the values that begin with `header` and are plain frames; None for each of the others."""
    found: list[PlainFrame | None] = [None] * len(values)
    heads = [(value or b"")[:_HEAD_BYTES].ljust(_HEAD_BYTES, b"\0") for value in values]
    head = np.frombuffer(b"".join(heads), np.uint8).reshape(-1, _HEAD_BYTES)
    numbers_at = len(header) + EPOCH_BYTES
    epoch, numbers = head[:, len(header) : numbers_at], head[:, numbers_at:]
    ours = (head[:, : len(header)] == np.frombuffer(header, np.uint8)).all(axis=1)
    ours &= (epoch[:, 6] >> 4 == UUID_VERSION) & (epoch[:, 8] >> 6 == UUID_VARIANT)
    ends = numbers < 0x80
    rows = np.flatnonzero(ours & (np.count_nonzero(ends, axis=1) >= _NUMBERS))
    for _ in range(_MAX_LAYOUTS):
        if not len(rows):
            break
        bounds = [0, *(np.flatnonzero(ends[rows[0]])[:_NUMBERS] + 1).tolist()]
        alike = (ends[rows, : bounds[-1]] == ends[rows[0], : bounds[-1]]).all(axis=1)
        _read(values, rows[alike], numbers, bounds, numbers_at, found)
        rows = rows[~alike]
    return found


def as_frame(plain: PlainFrame, value: bytes) -> AudioFrame:
    """Return a plain frame of a value with names."""
    first_sample, end_sample, captured_at_us, rate_hz, epoch_at, data_at = plain
    return AudioFrame(
        epoch=value[epoch_at : epoch_at + EPOCH_BYTES],
        first_sample=first_sample,
        samples=end_sample - first_sample,
        captured_at_us=captured_at_us,
        sample_rate_hz=rate_hz,
        channels=1,
        encoding=Encoding.PCM_S16LE,
        data=value[data_at:],
    )


def _read(
    values: Sequence[bytes | None],
    rows: Rows,
    numbers: NDArray[np.uint8],
    bounds: list[int],
    numbers_at: int,
    found: list[PlainFrame | None],
) -> None:
    """Read values whose numbers lie between the same `bounds`, of the bytes from `numbers_at` on."""
    if max(np.diff(bounds)) > _NUMBER_BYTES:
        return
    first, samples, captured_us, rate_hz, channels, encoding, size = (
        _number(numbers[rows, begin:end]) for begin, end in pairwise(bounds)
    )
    epoch_at, data_at = numbers_at - EPOCH_BYTES, numbers_at + bounds[-1]
    sizes = np.array([len(values[row] or b"") for row in rows.tolist()], np.uint64)
    # Numbers are zigzag: here they are twice what they mean; where they are odd, they are negative.
    plain = ((first | samples | captured_us | rate_hz) & 1 == 0) & (channels == 2) & (encoding == 0)
    plain &= (samples > 0) & (samples <= 2 * MAX_VALUES) & (size == 2 * samples)
    plain &= sizes == data_at + samples
    plain &= (rate_hz >= 2 * MIN_SAMPLE_RATE_HZ) & (rate_hz <= 2 * MAX_SAMPLE_RATE_HZ)
    plain &= samples <= MAX_FRAME_S * rate_hz
    plain &= (first <= 2 * MAX_SAMPLE) & (captured_us <= 2 * MAX_TIME_US)
    frames = zip(
        (first >> 1).tolist(),
        ((first + samples) >> 1).tolist(),
        (captured_us >> 1).tolist(),
        (rate_hz >> 1).tolist(),
        repeat(epoch_at),
        repeat(data_at),
    )
    for row, is_plain, frame in zip(rows.tolist(), plain.tolist(), frames, strict=True):
        if is_plain:
            found[row] = frame


def _number(groups: NDArray[np.uint8]) -> Numbers:
    """Put Avro's groups of seven bits together, the lowest first: uint8[n, bytes] -> uint64[n]."""
    number = (groups[:, 0] & 0x7F).astype(np.uint64)
    for at in range(1, groups.shape[1]):
        number |= (groups[:, at] & 0x7F).astype(np.uint64) << np.uint64(7 * at)
    return number
