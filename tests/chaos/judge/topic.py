"""Topics -> records: read by a plain consumer that belongs to no group, from given offsets to the end."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

TIMEOUT_S = 60.0
AT_ONCE, POLL_S = 1000, 0.02
_ALONE = {
    "group.id": "judge",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 20,
    "log_level": 0,
}
_PASSES = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT})
"""A broker is away for a moment."""

Header = tuple[str, bytes | None]
Place = tuple[int, int]
"""A partition and an offset."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A record as it stands in the log; its append time is in milliseconds since 1970."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    appended_ms: int

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.partition, self.offset


@dataclass(frozen=True, slots=True)
class Topic:
    """What stands in a topic, in the order of each partition, and where its partitions end."""

    records: list[Logged]
    ends: dict[int, int]


def read_topics(servers: str, begin: Mapping[str, Mapping[int, int]]) -> dict[str, Topic]:
    """Read topics, from an offset in each partition to the end that it has now.

    Raises:
        KafkaException: an offset is not in the log.
        TimeoutError: nothing came for a minute.

    """
    found = {topic: Topic([], {}) for topic in begin}
    consumer = Consumer({"bootstrap.servers": servers, **_ALONE})
    try:
        partitions = [
            TopicPartition(t, number, at) for t, offsets in begin.items() for number, at in offsets.items()
        ]
        consumer.assign(partitions)
        for message in _to_the_ends(consumer, len(partitions)):
            topic, partition = found[message.topic() or ""], message.partition() or 0
            if message.error() is None:
                topic.records.append(_logged(message))
            else:
                topic.ends[partition] = message.offset() or 0
    finally:
        consumer.close()
    for topic in found.values():
        topic.records.sort(key=lambda record: record.place)
    return found


def _to_the_ends(consumer: Consumer, partitions: int) -> Iterator[Message]:
    """Yield records, and of each partition the message that says it is over."""
    over, deadline_s = set[tuple[str | None, int | None]](), time.monotonic() + TIMEOUT_S
    while len(over) < partitions:
        for message in consumer.consume(AT_ONCE, POLL_S):
            error = message.error()
            if error is not None and error.code() in _PASSES:
                continue
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is not None:
                over.add((message.topic(), message.partition()))
            deadline_s = time.monotonic() + TIMEOUT_S
            yield message
        if time.monotonic() > deadline_s:
            raise TimeoutError(
                f"nothing came for {TIMEOUT_S:g} s, and {partitions - len(over)} partitions go on"
            )


def _logged(message: Message) -> Logged:
    return Logged(
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=tuple((header[0], _bytes(header[1])) for header in message.headers() or ()),
        appended_ms=message.timestamp()[1],
    )


def _bytes(found: str | bytes | None) -> bytes | None:
    return found.encode() if isinstance(found, str) else found
