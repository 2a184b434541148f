"""A bare aiokafka loop with fastavro over one frames topic: the same windows, and nothing else.

Run by `bench_throughput`, in a process of its own. With `--no-work` it does nothing with what it fetches,
which tells what fetching alone takes. Prints one JSON object.

    python -m tests.bench.through_loop SERVERS TOPIC FRAMES [--no-work]
"""

import asyncio
import json
import sys
from time import perf_counter

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.bench.contenders.plain import (
    FETCH_MAX_WAIT_MS,
    FETCH_MIN_BYTES,
    MAX_PARTITION_FETCH_BYTES,
    MAX_RECORDS,
    PlainWindows,
)


def bare_consumer(servers: str) -> AIOKafkaConsumer:
    """Return a consumer that fetches as a worker does."""
    return AIOKafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_min_bytes=FETCH_MIN_BYTES,
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        max_partition_fetch_bytes=MAX_PARTITION_FETCH_BYTES,
    )


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic that the consumer has not heard of yet."""
    await consumer._client.force_metadata_update()
    consumer._client.add_topic(topic)
    await consumer._client.force_metadata_update()
    return [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]


async def _run(servers: str, topic: str, frames: int, work: bool) -> None:
    consumer = bare_consumer(servers)
    await consumer.start()
    try:
        partitions = await partitions_of(consumer, topic)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        await (_windows if work else _nothing)(consumer, frames)
    finally:
        await consumer.stop()


async def _windows(consumer: AIOKafkaConsumer, frames: int) -> None:
    windows = PlainWindows()
    add = windows.add
    while windows.frames < frames:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=MAX_RECORDS)
        for records in fetched.values():
            for record in records:
                add(record.key, record.value)
    windows.flush()
    windows.print()


async def _nothing(consumer: AIOKafkaConsumer, frames: int) -> None:
    found, first_s = 0, 0.0
    while found < frames:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=MAX_RECORDS)
        first_s = first_s or perf_counter()
        found += sum(map(len, fetched.values()))
    print(json.dumps({"frames": found, "seconds": perf_counter() - first_s}))


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], sys.argv[2], int(sys.argv[3]), work="--no-work" not in sys.argv))
