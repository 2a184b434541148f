"""What tests of the shell share: logs of given sounds, the embedded broker, and a reader of its topics."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray

from earwitness.embedded import embedded_broker
from earwitness.topics import TopicAdmin
from schemas.codec import Codec
from schemas.deadletter import Header
from schemas.frame import AudioFrame, Encoding
from schemas.topics import Topics
from tests.processors.tiny_model import RATE_HZ, WINDOW

TOPICS = Topics()
EPOCH = bytes.fromhex("0190000000007000800000000000000a")
BEGIN_US = 1_750_000_000_000_000
FRAME = 320
DEADLINE_S = 20.0
QUIET, LOUD = 1000, 30_000
"""Peaks of windows that the tiny model hears as quiet and as loud."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a consumer hands it on."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()


def stretches(*peaks: int) -> NDArray[np.int16]:
    """One window of a square wave for each peak; int16[len(peaks) * WINDOW]."""
    sound = np.repeat(np.array(peaks, np.int16), WINDOW)
    sound[1::2] *= -1
    return sound


def frames_of(pcm: NDArray[np.int16], first_sample: int = 0) -> list[AudioFrame]:
    """Cut sound into frames of 20 ms that were captured one after another."""
    frames = []
    for at in range(0, len(pcm), FRAME):
        data, first = pcm[at : at + FRAME].astype("<i2").tobytes(), first_sample + at
        end_us = BEGIN_US + (first + len(data) // 2) * 1_000_000 // RATE_HZ
        frames.append(AudioFrame(EPOCH, first, len(data) // 2, end_us, RATE_HZ, 1, Encoding.PCM_S16LE, data))
    return frames


def records_of(
    codec: Codec, frames: Sequence[AudioFrame], first_offset: int = 0, sensor: bytes = b"roof"
) -> list[Record]:
    """Append frames, 2 ms after their capture, to a log that was never written."""
    return [
        Record(first_offset + n, frame.captured_at_us // 1000 + 2, sensor, codec.encode(frame))
        for n, frame in enumerate(frames)
    ]


@contextmanager
def broker_with_topics(topics: Topics = TOPICS) -> Iterator[str]:
    """Run the embedded broker with a tenant's topics, of four partitions each."""
    with embedded_broker((topics.frames, *topics.outputs)) as address:
        yield address


@dataclass(frozen=True, slots=True)
class Found:
    """A record as it stands in a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    timestamp_ms: int


def read(broker: str, topic: str, count: int) -> list[Found]:
    """Read a topic from its beginning until `count` records have come; fail at a deadline."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "reader", "log_level": 0})
    partitions = consumer.list_topics(topic, DEADLINE_S).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found: list[Found] = []
    deadline_s = monotonic() + DEADLINE_S
    while len(found) < count:
        assert monotonic() < deadline_s, f"{len(found)} of {count} records came to {topic}"
        found += [_found(message) for message in consumer.consume(count - len(found), 0.1)]
    consumer.close()
    return found


def end_of(broker: str, topic: str, partition: int) -> int:
    """Return the offset after a partition's last record."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "reader", "log_level": 0})
    _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), DEADLINE_S)
    consumer.close()
    return int(high)


def until_listed(admin: TopicAdmin, names: Iterable[str], partitions: int = 3) -> None:
    """Wait until the broker lists topics, which takes a moment after they were made."""
    deadline_s, wanted = (
        monotonic() + DEADLINE_S,
        {name: 1 if name.endswith(Topics().control) else partitions for name in names},
    )
    while admin.partitions(wanted) != wanted:
        assert monotonic() < deadline_s


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until a condition holds; fail at a deadline."""
    deadline_s = monotonic() + DEADLINE_S
    while not condition():
        assert monotonic() < deadline_s, "it did not come about in time"
        await asyncio.sleep(0.001)


def _found(message: Any) -> Found:
    assert message.error() is None
    return Found(
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=message.value(),
        headers=list(message.headers() or []),
        timestamp_ms=message.timestamp()[1],
    )
