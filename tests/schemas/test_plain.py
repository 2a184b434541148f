from dataclasses import replace

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.errors import DeadLetterError
from schemas.frame import (
    MAX_SAMPLE,
    MAX_SAMPLE_RATE_HZ,
    MAX_TIME_US,
    MIN_SAMPLE_RATE_HZ,
    AudioFrame,
    Encoding,
)
from schemas.plain import as_frame, plain_frames
from schemas.registry import ConfluentRegistry
from tests.schemas.records import DETECTION, FRAME

CODEC = Codec()
HEADER = CODEC.encode(FRAME)[:10]
ENOUGH = 20
"""Of fewer values, the codec reads each alone."""


@st.composite
def plain_ones(draw: st.DrawFn) -> AudioFrame:
    """Draw a frame of one channel in PCM_S16LE: all that this is about."""
    samples = draw(st.integers(1, 40) | st.just(9_000))
    epoch = bytearray(draw(st.binary(min_size=16, max_size=16)))
    epoch[6], epoch[8] = 0x70 | epoch[6] & 0x0F, 0x80 | epoch[8] & 0x3F
    return AudioFrame(
        bytes(epoch),
        draw(st.integers(0, MAX_SAMPLE - 1)),  # the very last one takes ten bytes
        samples,
        draw(st.integers(0, MAX_TIME_US)),
        draw(st.integers(MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ)),
        1,
        Encoding.PCM_S16LE,
        draw(st.binary(min_size=2, max_size=2)) * samples,
    )


@st.composite
def broken_ones(draw: st.DrawFn) -> bytes | None:
    """Draw a value that was a frame before some bytes of it changed, were lost, or came to it."""
    value = bytearray(CODEC.encode(draw(plain_ones())))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, min(len(value), 70) - 1))
        value[at] = draw(st.integers(0, 255))
    cut = draw(st.sampled_from((None, -1, 5, 30, 60)))
    return bytes(value[:cut]) + draw(st.sampled_from((b"", b"\0", b"\0\0")))


@given(st.lists(plain_ones(), min_size=1, max_size=30))
def test_a_plain_frame_is_read_as_it_was_written(frames: list[AudioFrame]) -> None:
    alike = [replace(frames[0], first_sample=sample) for sample in range(120, 140)]
    values = [CODEC.encode(frame) for frame in [*frames[:10], *alike]]
    found = plain_frames(values, HEADER)
    assert [plain and as_frame(plain, value) for plain, value in zip(found, values, strict=True)] == [
        *frames[:10],
        *alike,
    ]


@given(st.lists(broken_ones() | st.none() | plain_ones().map(CODEC.encode), max_size=14))
def test_what_is_read_as_plain_is_what_the_codec_reads(values: list[bytes | None]) -> None:
    for value, plain in zip(values, plain_frames(values, HEADER), strict=True):
        if plain is not None:
            assert value
            assert as_frame(plain, value) == CODEC.decode(AudioFrame, value)
        elif value is not None:
            assert not _is_plain(value)


def _is_plain(value: bytes) -> bool:
    try:
        frame = CODEC.decode(AudioFrame, value)
    except DeadLetterError:
        return False
    # A number may be written longer than it needs to be: then it is read alone.
    return (frame.channels, frame.encoding) == (1, Encoding.PCM_S16LE) and CODEC.encode(frame) == value


def test_frames_of_many_layouts_are_left_to_be_read_one_by_one() -> None:
    frames = [
        replace(FRAME, first_sample=1 << a, captured_at_us=1 << b)
        for a in range(0, 62, 7)
        for b in range(7, 50, 7)
    ]
    values = [CODEC.encode(frame) for frame in frames]
    found = plain_frames(values, HEADER)
    read = [as_frame(plain, value) for plain, value in zip(found, values, strict=True) if plain]
    assert read == frames[:16]


@pytest.mark.parametrize(
    "other",
    [
        replace(FRAME, channels=3, samples=1),
        replace(FRAME, encoding=Encoding.FLAC),
        replace(FRAME, encoding=Encoding.PCM_F32LE, data=bytes(12)),
    ],
    ids=["channels", "FLAC", "floats"],
)
def test_other_frames_are_read_one_by_one(other: AudioFrame) -> None:
    assert plain_frames([CODEC.encode(other), CODEC.encode(FRAME)], HEADER)[0] is None


def test_the_codec_reads_at_once_what_it_would_write() -> None:
    registry = ConfluentRegistry(SchemaRegistryClient.new_client({"url": "mock://plain"}))
    for codec in (Codec(), Codec(registry)):
        values = [None, b"", b"\xc3\x01", CODEC.encode(DETECTION), *[codec.encode(FRAME)] * ENOUGH]
        found = codec.plain_frames(values)
        assert found[:4] == [None] * 4
        assert all(plain is not None and as_frame(plain, values[-1] or b"") == FRAME for plain in found[4:])
        assert codec.plain_frames(values[-ENOUGH + 1 :]) == [None] * (ENOUGH - 1)
