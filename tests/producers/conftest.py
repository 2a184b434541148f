"""Fakes and the embedded broker for the tests of producers."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from producers.errors import BufferFullError
from producers.source import Block
from schemas.codec import Codec
from schemas.frame import AudioFrame, Encoding

EPOCH = bytes.fromhex("0190000000007000800000000000000a")
DEADLINE_S = 30.0


class CountedEpochs:
    """Names epochs one after another."""

    def __init__(self) -> None:
        self.named: list[bytes] = []

    def __call__(self, after: bytes | None) -> bytes:
        assert after == (self.named[-1] if self.named else None)
        number = len(self.named) + 1
        self.named.append(number.to_bytes(6) + EPOCH[6:])
        return self.named[-1]


class ManualClock:
    """Time passes only in `wait`; what is planned `at` a time happens when it has come."""

    def __init__(self, wall_us: int = 1_700_000_000_000_000) -> None:
        self.offset_us = wall_us
        self.now_us = 0
        self._planned: list[tuple[int, Callable[[], None]]] = []

    def wall_us(self) -> int:
        return self.now_us + self.offset_us

    def monotonic_us(self) -> int:
        return self.now_us

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        self._planned.append((round(seconds * 1e6), action))
        self._planned.sort(key=lambda planned: planned[0])

    def wait(self, stop: Event, seconds: float) -> bool:
        until_us = self.now_us + max(1, round(seconds * 1e6))
        while self._planned and self._planned[0][0] <= until_us and not stop.is_set():
            when_us, action = self._planned.pop(0)
            self.now_us = max(self.now_us, when_us)
            action()
        if not stop.is_set():
            self.now_us = max(self.now_us, until_us)
        return stop.is_set()


@dataclass
class MemorySink:
    """Keeps what is published, and when; takes `room` frames at most."""

    clock: ManualClock
    room: int | None = None
    partitions: int = 8
    frames: list[AudioFrame] = field(default_factory=list)
    at_us: list[int] = field(default_factory=list)

    def publish(self, sensor: str, frame: AudioFrame) -> None:
        if self.room is not None and len(self.frames) >= self.room:
            raise BufferFullError("memory", sensor, len(self.frames))
        self.frames.append(frame)
        self.at_us.append(self.clock.now_us)

    def publish_waiting(self, sensor: str, frame: AudioFrame, stop: Event | None = None) -> None:
        self.publish(sensor, frame)

    def partition_count(self) -> int | None:
        return self.partitions


class ArraySource:
    """A source of given samples, `int16[n, channels]`, in blocks of a given size."""

    def __init__(self, sound: Block, sample_rate_hz: int = 16_000, block_samples: int = 1000) -> None:
        self.name = "array"
        self.sample_rate_hz, self.channels = sample_rate_hz, sound.shape[1]
        self.samples: int | None = len(sound)
        self._sound, self._block_samples = sound, block_samples

    def blocks(self) -> Iterator[Block]:
        for start in range(0, len(self._sound), self._block_samples):
            yield self._sound[start : start + self._block_samples]


def counting(samples: int, channels: int = 1) -> Block:
    """Samples that all differ from their neighbours."""
    values = np.arange(samples * channels, dtype=np.int64) % 65_521 - 32_768
    return values.astype(np.int16).reshape(samples, channels)


def heard(frames: list[AudioFrame]) -> Block:
    """The PCM_S16LE samples of frames, one after another."""
    parts = [np.frombuffer(frame.data, "<i2").reshape(-1, frame.channels) for frame in frames]
    return np.concatenate(parts).astype(np.int16)


def a_frame(first_sample: int = 0, samples: int = 320) -> AudioFrame:
    """A frame of silence."""
    data = bytes(2 * samples)
    return AudioFrame(EPOCH, first_sample, samples, 1, 16_000, 1, Encoding.PCM_S16LE, data)


@dataclass(frozen=True)
class Record:
    """A record as a consumer finds it."""

    partition: int
    offset: int
    sensor: str
    frame: AudioFrame


def records_of(bootstrap_servers: str, topic: str, count: int) -> list[Record]:
    """Read a topic from its beginning until `count` records have come."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "reader"})
    partitions = consumer.list_topics(topic, DEADLINE_S).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    records: list[Record] = []
    codec, deadline_s = Codec(), time.monotonic() + DEADLINE_S
    while len(records) < count and time.monotonic() < deadline_s:
        for message in consumer.consume(count - len(records), 0.5):
            assert message.error() is None
            frame = codec.decode(AudioFrame, message.value())
            key, partition, offset = message.key(), message.partition(), message.offset()
            assert isinstance(key, bytes)
            assert partition is not None
            assert offset is not None
            records.append(Record(partition, offset, key.decode(), frame))
    consumer.close()
    return records


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sink(clock: ManualClock) -> MemorySink:
    return MemorySink(clock)


@pytest.fixture(scope="session")
def embedded() -> Iterator[str]:
    """The address of librdkafka's cluster in memory, which makes topics of four partitions when asked for."""
    owner = Producer({"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(owner.list_topics(timeout=DEADLINE_S).brokers.values()))
    yield f"{broker.host}:{broker.port}"
    owner.flush(0)
