"""Bytes -> the codec, both readers of frames, and what decodes their samples: what a fuzzer calls.

The first byte chooses: a frame, read one by one and at once among many, which must agree, or a detection, a
coverage or a sensor's state. Whatever is raised outside our error tree, or takes too long, is a finding.
"""

import random
import time
from collections.abc import Iterable, Iterator

import numpy as np

from processors.pcm import mono, samples
from schemas.codec import Codec, Format, Record
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.errors import DeadLetterError
from schemas.frame import AudioFrame
from schemas.plain import as_frame
from schemas.sensor import SensorState
from tests.fuzz.mutate import Mutator
from tests.schemas.records import COVERAGE, DETECTION, EXPIRED, SENSOR

SLOW_S = 2.0
"""A mebibyte of floats, or of FLAC, takes a twentieth of it."""
RSS_LIMIT_MB = 1024
MAX_BYTES = 1 << 16
_TOGETHER = 20
"""As many as are read at once; fewer are always read one by one."""
_KINDS: tuple[type[Record], ...] = (Detection, Coverage, SensorState)
_CODEC, _JSON = Codec(), Codec(output=Format.JSON)


class FoundError(Exception):
    """The two readers disagree, or a value does not come back, or it took too long."""


def target(data: bytes) -> bool:
    """Read one input every way; say whether it was a good record.

    Raises:
        FoundError: something is wrong that raises nothing by itself.
        Exception: whatever is raised that should not be.

    """
    since_s = time.process_time()
    kind, value = data[0] % 4 if data else 0, data[1:]
    good = _frame(value) if kind == 0 else _record(_KINDS[kind - 1], value)
    if time.process_time() - since_s > SLOW_S:
        raise FoundError(f"{len(data)} bytes took {time.process_time() - since_s:.1f} s")
    return good


def _frame(value: bytes) -> bool:
    plain = _CODEC.plain_frames([value] * _TOGETHER)
    if plain != [plain[0]] * _TOGETHER:
        raise FoundError("the same value is plain in one row and not in another")
    try:
        frame = _CODEC.decode(AudioFrame, value)
    except DeadLetterError:
        if plain[0] is not None:
            raise FoundError("a plain frame that is refused one by one") from None
        return False
    _compare(frame, None if plain[0] is None else as_frame(plain[0], value))
    try:
        pcm = mono(frame)
    except DeadLetterError:
        return False
    if pcm.dtype != np.int16 or pcm.shape != (frame.samples,) or len(samples(frame)) != frame.samples:
        raise FoundError(f"{frame.samples} samples became {pcm.dtype}{pcm.shape}")
    return True


def _compare(frame: AudioFrame, plain: AudioFrame | None) -> None:
    if _CODEC.decode(AudioFrame, _CODEC.encode(frame)) != frame:
        raise FoundError("a frame does not come back from its own bytes")
    if plain is not None and plain != frame:
        raise FoundError(f"read at once it is {plain}, one by one {frame}")


def _record(kind: type[Record], value: bytes) -> bool:
    try:
        record = _CODEC.decode(kind, value)
    except DeadLetterError:
        return False
    for codec in (_CODEC, _JSON):
        if _CODEC.decode(kind, codec.encode(record)) != record:
            raise FoundError(f"{record} does not come back from its own bytes")
    return True


def seeds(count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield inputs to begin with: good records of all kinds, and mutants of frames."""
    records: tuple[tuple[bytes, Record], ...]
    records = (b"\1", DETECTION), (b"\2", COVERAGE), (b"\3", SENSOR), (b"\2", EXPIRED)
    for which, record in records:
        for codec in (_CODEC, _JSON):
            yield which + codec.encode(record)
    for mutant in Mutator(seed).mutants(count):
        if mutant.value and len(mutant.value) < MAX_BYTES:
            yield b"\0" + mutant.value


def mutated(inputs: Iterable[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield mutations of inputs, by chance that repeats itself."""
    r, known = random.Random(seed), list(inputs)  # noqa: S311 - chance that repeats itself
    for _ in range(count):
        data = bytearray(r.choice(known))
        for _ in range(r.randint(1, 4)):
            at = r.randrange(len(data) + 1)
            data[at : at + r.randint(0, 3)] = r.randbytes(r.randint(0, 3))
        yield bytes(data)
