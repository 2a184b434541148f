"""Quix Streams over one frames topic: `StreamingDataFrame.update` with buffers of our own, the same windows.

Kinder to it than its own state store, which is RocksDB with a change log: nothing is written here.

    uv run --script --frozen quix_streams.py SERVERS TOPIC FRAMES     (without arguments: import all, and end)
"""

# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["fastavro", "numpy", "quixstreams==3.28.1"]
# ///

import sys
from typing import Any
from uuid import uuid4

from quixstreams import Application  # type: ignore[import-not-found]

from tests.bench.contenders.plain import FETCH_MAX_WAIT_MS, FETCH_MIN_BYTES, PlainWindows


def _run(servers: str, name: str, frames: int) -> None:
    app = Application(
        broker_address=servers,
        consumer_group=f"quix-{uuid4().hex}",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        consumer_extra_config={"fetch.min.bytes": FETCH_MIN_BYTES, "fetch.wait.max.ms": FETCH_MAX_WAIT_MS},
        loglevel="WARNING",
    )
    topic = app.topic(name, key_deserializer="bytes", value_deserializer="bytes")
    windows = PlainWindows()

    def cut(value: bytes, key: bytes, timestamp: int, headers: Any) -> None:
        windows.add(key, value)
        if windows.frames == frames:
            windows.flush()
            app.stop()

    app.dataframe(topic).update(cut, metadata=True)
    app.run()
    windows.print()


if __name__ == "__main__" and len(sys.argv) > 1:
    _run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
