"""From a sound card's callback to the encoder: how many bytes are copied per sample, and how long it takes.

Compared with one plain copy of the same bytes in blocks of the same size (numpy's, which is memcpy), with the
encoder taken off: it copies once more, into the bytes of a frame, which is what it is for.
"""

from collections.abc import Callable
from threading import Event
from time import perf_counter

import numpy as np
import pytest

from producers.clock import SystemClock
from producers.framer import Framer, FramerSettings
from producers.ring import SampleRing
from producers.source import Block
from producers.sources.microphone import RingReader, RingWriter
from schemas.frame import Encoding
from tests.producers.test_copies import CallingDevice, Status, Time

SECONDS, ROUNDS = 60, 5
FRAME_MS = 20


class CountingEncoder:
    """Counts the samples that come straight out of the ring, and those that were put together elsewhere."""

    def __init__(self, ring: SampleRing) -> None:
        self._ring, self._encoded = ring, dict[int, bytes]()
        self.straight, self.copied = 0, 0

    def __call__(self, block: Block, sample_rate_hz: int, encoding: Encoding) -> bytes:
        if np.may_share_memory(block, self._ring.buffer):
            self.straight += len(block)
        else:
            self.copied += len(block)
        return self._encoded.setdefault(block.size, bytes(2 * block.size))


def best_of(rounds: int, measured: Callable[[], float]) -> float:
    return min(measured() for _ in range(rounds))


def through_the_ring(buffer_samples: int, rate_hz: int, channels: int) -> tuple[float, float]:
    """Return ns per sample from callback to encoder, and bytes copied per sample and channel."""
    clock, sound = SystemClock(), np.ones((buffer_samples, channels), np.int16)
    ring = SampleRing(10 * rate_hz, channels, rate_hz)
    encoder = CountingEncoder(ring)
    framer = Framer(FramerSettings(FRAME_MS, clock_tolerance_ms=10**9), encode=encoder)
    callback, data = RingWriter(ring, channels, rate_hz, clock), memoryview(sound.tobytes())
    reader = RingReader(CallingDevice(), ring, rate_hz, clock)
    stop, time, status = Event(), Time(), Status()
    samples = SECONDS * rate_hz
    begin_s = perf_counter()
    for _ in range(samples // buffer_samples):
        callback(data, buffer_samples, time, status)
        for arrival in reader.ready(framer.room, stop):
            framer.feed(arrival.block, rate_hz, arrival.captured_at_us)
    elapsed_s = perf_counter() - begin_s
    heard = encoder.straight + encoder.copied
    assert heard >= samples - 2 * buffer_samples - rate_hz // 20
    return 1e9 * elapsed_s / (samples * channels), 2 * (heard + encoder.copied) / heard


def plain_copy(buffer_samples: int, rate_hz: int, channels: int) -> float:
    """Return ns per sample of copying the same buffers once."""
    sound, into = (np.ones((buffer_samples, channels), np.int16) for _ in range(2))
    times = SECONDS * rate_hz // buffer_samples
    begin_s = perf_counter()
    for _ in range(times):
        into[:] = sound
    return 1e9 * (perf_counter() - begin_s) / (times * buffer_samples * channels)


@pytest.mark.parametrize(
    ("buffer_samples", "rate_hz", "channels"), [(320, 16_000, 1), (512, 16_000, 1), (480, 48_000, 2)]
)
def test_a_sample_is_copied_once(buffer_samples: int, rate_hz: int, channels: int) -> None:
    ns, copied_bytes = min(through_the_ring(buffer_samples, rate_hz, channels) for _ in range(ROUNDS))
    copy_ns = best_of(ROUNDS, lambda: plain_copy(buffer_samples, rate_hz, channels))
    cpu = 100 * ns * rate_hz * channels / 1e9
    print(
        f"\n{buffer_samples} samples a callback, {rate_hz} Hz, {channels} ch: "
        f"{copied_bytes:.3f} bytes copied per sample (once is 2), "
        f"{ns:.1f} ns per sample = {ns / copy_ns:.0f} plain copies of {copy_ns:.2f} ns; {cpu:.2f} % of a core"
    )
    assert copied_bytes < 2.05
