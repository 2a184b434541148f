"""Records -> a batch as Kafka stores it, and into the log: for headers whose names no client would write."""

import time
from collections.abc import Sequence

from aiokafka import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition

Written = tuple[bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]
"""A key, a value, and headers with names of any bytes."""
_MAGIC, _GZIP, _MOST_BYTES = 2, 1, 1 << 20
_TIMEOUT_MS = 30_000


class _Name(str):
    """Text whose bytes are what we say."""

    __slots__ = ("raw",)
    raw: bytes

    def encode(self, *_: str, **__: str) -> bytes:
        return self.raw


def _name(raw: bytes) -> _Name:
    name = _Name("name")
    name.raw = raw
    return name


def batch_of(records: Sequence[Written], *, base_offset: int = 0, compressed: bool = False) -> bytearray:
    """Return one batch, of version 2, uncompressed or by gzip."""
    builder = _DefaultRecordBatchBuilderPy(_MAGIC, _GZIP if compressed else 0, 0, -1, -1, -1, _MOST_BYTES)
    for at, (key, value, headers) in enumerate(records):
        named = [(_name(name), text) for name, text in headers]
        assert builder.append(at, round(time.time() * 1000), key, value, named)
    batch: bytearray = builder.build()
    batch[:8] = base_offset.to_bytes(8)  # not covered by the checksum
    return batch


async def append(servers: str, topic: str, partition: int, records: Sequence[Written]) -> None:
    """Append records to a partition, as one batch."""
    client = AIOKafkaClient(bootstrap_servers=servers)
    await client.bootstrap()
    try:
        await client._wait_on_metadata(topic)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(None, -1, _TIMEOUT_MS, [(topic, [(partition, batch_of(records))])])
        answer = await client.send(leader, request)
    finally:
        await client.close()
    codes = [found[1] for _, partitions in answer.topics for found in partitions]
    assert codes == [0], codes
