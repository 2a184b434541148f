"""A bare aiokafka loop with fastavro over one frames topic: the same windows, and nothing else.

Run by `bench_decode_and_window`, in a process of its own. What one would write without Faust and without any
of our rules: no admission, no offsets, no gaps, no levels, no outputs. Prints one JSON object.
"""

import asyncio
import json
import sys
from io import BytesIO
from time import perf_counter
from typing import Any

import fastavro
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import released_schemas
from tests.integration.quick_model import HOP_SAMPLES, WINDOW_SAMPLES

HEADER_BYTES = 10
FETCH_MIN_BYTES, FETCH_MAX_WAIT_MS, MAX_RECORDS = 16_384, 10, 2000
BATCH_WINDOWS = 32


class Loop:
    """A buffer for every sensor; windows are cut as they fill, and gathered 32 at a time."""

    def __init__(self) -> None:
        self._schema = fastavro.parse_schema(released_schemas()["audio_frame"][-1])
        self._buffers: dict[bytes, np.ndarray[Any, np.dtype[np.int16]]] = {}
        self._filled: dict[bytes, int] = {}
        self._batch: list[np.ndarray[Any, np.dtype[np.int16]]] = []
        self.frames, self.windows, self.checksum = 0, 0, 0

    def feed(self, records: list[Any]) -> None:
        """Take the records of one fetch."""
        buffers, filled, schema, read = self._buffers, self._filled, self._schema, fastavro.schemaless_reader
        for record in records:
            body = BytesIO(record.value)
            body.seek(HEADER_BYTES)
            frame: Any = read(body, schema, None)
            pcm, key = np.frombuffer(frame["data"], "<i2"), record.key
            buffer = buffers.get(key)
            if buffer is None:
                buffer = buffers[key] = np.empty(2 * WINDOW_SAMPLES, np.int16)
                filled[key] = 0
            at = filled[key]
            buffer[at : at + len(pcm)] = pcm
            filled[key] = at = at + len(pcm)
            if at >= WINDOW_SAMPLES:
                self._window(key, buffer, at)
        self.frames += len(records)

    def _window(self, key: bytes, buffer: "np.ndarray[Any, np.dtype[np.int16]]", at: int) -> None:
        self._batch.append(buffer[:WINDOW_SAMPLES].copy())
        rest = at - HOP_SAMPLES
        buffer[:rest] = buffer[HOP_SAMPLES:at].copy()
        self._filled[key] = rest
        if len(self._batch) >= BATCH_WINDOWS:
            self.flush()

    def flush(self) -> None:
        """Take what was gathered as one batch, int16[B, 16000]."""
        if self._batch:
            pcm = np.stack(self._batch)
            self._batch.clear()
            self.windows += len(pcm)
            self.checksum += int(pcm.sum(dtype=np.int64))


async def _run(servers: str, topic: str, frames: int) -> dict[str, float]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_min_bytes=FETCH_MIN_BYTES,
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
        max_partition_fetch_bytes=1 << 20,
    )
    loop, first_s = Loop(), 0.0
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in await _numbers(consumer, topic)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while loop.frames < frames:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=MAX_RECORDS)
            first_s = first_s or perf_counter()
            for records in fetched.values():
                loop.feed(records)
        loop.flush()
        last_s = perf_counter()
    finally:
        await consumer.stop()
    found = {"frames": loop.frames, "windows": loop.windows, "checksum": loop.checksum}
    return {**found, "seconds": last_s - first_s}


async def _numbers(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()
    consumer._client.add_topic(topic)
    await consumer._client.force_metadata_update()
    numbers: set[int] = consumer.partitions_for_topic(topic) or set()
    return numbers


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
