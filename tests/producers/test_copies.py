"""From a sound card's callback to the encoder a sample is copied once: from its memory into the ring."""

import tracemalloc
from dataclasses import dataclass, field
from threading import Event

import numpy as np

from producers.encode import encode_samples
from producers.framer import Framer
from producers.live import LiveCapture
from producers.ring import SampleRing
from producers.source import Arrivals, Block, Room
from producers.sources.microphone import RingReader, RingWriter
from schemas.frame import Encoding
from tests.producers.conftest import ManualClock, MemorySink, counting, heard

RATE_HZ = 16_000


@dataclass
class Status:
    """PortAudio's flags."""

    input_overflow: bool = False


@dataclass
class Time:
    """PortAudio's times of a block, in seconds of the stream's clock."""

    inputBufferAdcTime: float = 0.0  # noqa: N815
    currentTime: float = 0.0  # noqa: N815


@dataclass
class CallingDevice:
    """Stands where PortAudio stands: calls the callback with buffers, all before it ends."""

    active: bool = True

    def abort(self) -> None:
        self.active = False

    def close(self) -> None:
        self.active = False


@dataclass
class WatchingEncoder:
    """Encodes, and notes which samples came straight out of the ring."""

    ring: SampleRing
    straight: int = 0
    copied: int = 0
    blocks: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, block: Block, sample_rate_hz: int, encoding: Encoding) -> bytes:
        if np.shares_memory(block, self.ring.buffer):
            self.straight += len(block)
        else:
            self.copied += len(block)
        return encode_samples(block, sample_rate_hz, encoding)


class FedRing:
    """A live source that calls the callback with a few buffers whenever the reader is dry."""

    name = "fed"

    def __init__(self, ring: SampleRing, sound: Block, buffer_samples: int, clock: ManualClock) -> None:
        self._ring, self._sound, self._size, self._clock = ring, sound, buffer_samples, clock
        self._callback = RingWriter(ring, sound.shape[1], RATE_HZ, clock)

    def arrivals(self, room: Room, stop: Event) -> Arrivals:
        at = 0
        for at in range(0, len(self._sound), self._size):
            part = self._sound[at : at + self._size]
            self._clock.now_us += 1_000_000 * len(part) // RATE_HZ
            self._callback(memoryview(part.tobytes()), len(part), Time(), Status())
            yield from RingReader(CallingDevice(), self._ring, RATE_HZ, self._clock).ready(room, stop)
        yield from RingReader(CallingDevice(active=False), self._ring, RATE_HZ, self._clock).arrivals(
            room, stop
        )


def watched(sound: Block, ring: SampleRing, buffer_samples: int) -> tuple[WatchingEncoder, MemorySink]:
    clock = ManualClock()
    sink, encoder = MemorySink(clock), WatchingEncoder(ring)
    LiveCapture("roof", sink, None, clock, encode=encoder).run(
        FedRing(ring, sound, buffer_samples, clock), Event()
    )
    return encoder, sink


def test_the_encoder_reads_the_ring_itself() -> None:
    sound, ring = counting(160_000), SampleRing(10 * RATE_HZ, 1, RATE_HZ)
    encoder, sink = watched(sound, ring, 139)
    assert (encoder.straight, encoder.copied) == (160_000, 0)
    assert np.array_equal(heard(sink.frames), sound)


def test_only_a_frame_across_the_rings_end_is_put_together_in_a_second_place() -> None:
    sound, ring = counting(160_000, 2), SampleRing(16_100, 2, RATE_HZ)  # not a multiple of a frame
    encoder, sink = watched(sound, ring, 256)
    assert np.array_equal(heard(sink.frames), sound)
    assert encoder.copied == 320 * (160_000 // 16_100)
    assert encoder.straight + encoder.copied == 160_000


def test_the_callback_allocates_nothing_in_proportion_to_the_sound() -> None:
    ring, clock = SampleRing(10 * RATE_HZ, 1, RATE_HZ), ManualClock()
    callback = RingWriter(ring, 1, RATE_HZ, clock)
    data, time, status = memoryview(bytes(2 * 16_000)), Time(), Status()
    callback(data, 16_000, time, status)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for _ in range(8):
        callback(data, 16_000, time, status)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 8 * 600, "a second of sound is 32,000 bytes; a mark and a few numbers are not"


def test_whole_frames_of_a_view_are_sliced_and_only_a_rest_is_copied() -> None:
    sound = counting(1000)
    seen: list[bool] = []

    def encode(block: Block, sample_rate_hz: int, encoding: Encoding) -> bytes:
        seen.append(np.shares_memory(block, sound))
        return encode_samples(block, sample_rate_hz, encoding)

    framer = Framer(encode=encode)
    framer.feed(sound[:700], RATE_HZ, 1_000_000)
    framer.feed(sound[700:], RATE_HZ, 1_018_750)
    framer.flush()
    assert seen == [True, True, False, False]
