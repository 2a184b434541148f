"""Chance -> records that are no frames, among the good ones of the round's sensors."""

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from random import Random

from confluent_kafka import KafkaError, Message, Producer

from infra.local.kafka import QUIET_CLIENT
from schemas.codec import Codec
from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch
from schemas.topics import partition_of
from tests.chaos.evidence import Broken
from tests.chaos.stage import Stage

RECORDS, EVERY_S, FLUSH_S = 30, 0.1, 60.0
HEADER_BYTES = 10
"""Of a record without a registry: two that name the encoding, eight that name the schema."""
SAMPLES, SAMPLES_AT = 320, HEADER_BYTES + 16 + 1
"""Behind the epoch and `first_sample`, which is 0."""
OLD_MS = 1_500_000_000_000
Record = tuple[bytes | None, bytes | None]
"""A key and a value."""


def send_broken(stage: Stage) -> None:
    """Send broken records, of all kinds in turn, with the keys of sensors that are heard."""
    stage.note(f"{RECORDS} broken records")
    producer = Producer(
        {"bootstrap.servers": stage.system.servers, "enable.idempotence": True, **QUIET_CLIENT}
    )
    makers = list(BREAKING.values())
    for number in range(RECORDS):
        name = stage.draw.choice(stage.sensors.parts).sensor.encode()
        key, value = makers[number % len(makers)](name, stage.draw)
        partition = partition_of(name, len(stage.system.partitions))
        told = partial(_note, stage, number % len(makers) == STALE)
        producer.produce(stage.system.topics.frames, value, key, partition, on_delivery=told)
        producer.poll(0)
        stage.wait(EVERY_S)
    left = producer.flush(FLUSH_S)
    stage.note("sent")
    if left:
        stage.wrong.append(f"{left} broken records were not delivered within {FLUSH_S:g} s")


def _note(stage: Stage, stale: bool, error: KafkaError | None, record: Message) -> None:
    if error is not None:
        stage.wrong.append(f"a broken record was not delivered: {error}")
        return
    if stale:  # whether an epoch is stale, the log decides
        return
    partition, offset = record.partition(), record.offset()
    assert partition is not None
    assert offset is not None
    key, value = record.key(), record.value()
    assert not isinstance(key, str)
    assert not isinstance(value, str)
    stage.broken.append(Broken(partition, offset, key, value))


def _random_bytes(name: bytes, draw: Random) -> Record:
    return name, draw.randbytes(draw.randrange(1, 2000))


def _nothing(name: bytes, draw: Random) -> Record:
    return name, b""


def _null(name: bytes, draw: Random) -> Record:
    return name, None


def _truncated(name: bytes, draw: Random) -> Record:
    frame = _frame(new_epoch())
    return name, frame[: draw.randrange(1, len(frame))]


def _wrong_length(name: bytes, draw: Random) -> Record:
    frame = bytearray(_frame(new_epoch()))
    frame[SAMPLES_AT : SAMPLES_AT + 2] = _varint(SAMPLES + draw.choice((-1, 1)))
    return name, bytes(frame)


def _no_key(name: bytes, draw: Random) -> Record:
    return None, _frame(new_epoch())


def _key_not_text(name: bytes, draw: Random) -> Record:
    return b"\xff\xfe" + draw.randbytes(4), _frame(new_epoch())


def _unknown_schema(name: bytes, draw: Random) -> Record:
    frame = _frame(new_epoch())
    return name, frame[:2] + draw.randbytes(8) + frame[HEADER_BYTES:]


def _stale_epoch(name: bytes, draw: Random) -> Record:
    random = draw.randbytes(10)
    version, variant = bytes([0x70 | random[0] & 0x0F]), bytes([0x80 | random[2] & 0x3F])
    return name, _frame(OLD_MS.to_bytes(6) + version + random[1:2] + variant + random[3:])


BREAKING: Mapping[str, Callable[[bytes, Random], Record]] = {
    "random bytes": _random_bytes,
    "no bytes": _nothing,
    "no value": _null,
    "truncated": _truncated,
    "wrong length": _wrong_length,
    "no key": _no_key,
    "key that is no text": _key_not_text,
    "unknown schema": _unknown_schema,
    "stale epoch": _stale_epoch,
}
STALE = list(BREAKING).index("stale epoch")


@cache
def _codec() -> Codec:
    return Codec()


def _frame(epoch: bytes) -> bytes:
    sound = os.urandom(2 * SAMPLES)
    return _codec().encode(AudioFrame(epoch, 0, SAMPLES, OLD_MS * 1000, 16_000, 1, Encoding.PCM_S16LE, sound))


def _varint(value: int) -> bytes:
    """Return a number of 32 to 8191 as Avro writes a long: zigzag, seven bits a byte, low ones first."""
    return bytes([value * 2 & 0x7F | 0x80, value * 2 >> 7])
