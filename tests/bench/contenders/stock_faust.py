"""A stock Faust agent over one frames topic: its own transport, one event a message, the same windows.

python -m tests.bench.contenders.stock_faust SERVERS TOPIC FRAMES
"""

import asyncio
import sys
from typing import Any
from uuid import uuid4

import faust

from tests.bench.contenders.plain import PlainWindows


async def _run(servers: str, topic: str, frames: int) -> None:
    app = faust.App(
        f"stock-faust-{uuid4().hex}",
        broker=f"kafka://{servers}",
        store="memory://",
        consumer_auto_offset_reset="earliest",
        key_serializer="raw",
        value_serializer="raw",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        autodiscover=False,
    )
    windows, done = PlainWindows(), asyncio.Event()

    @app.agent(app.topic(topic, key_type=bytes, value_type=bytes))
    async def cut(stream: Any) -> None:
        async for key, value in stream.items():
            windows.add(key, value)
            if windows.frames == frames:
                windows.flush()
                done.set()

    await app.start()
    await done.wait()
    windows.print()
    await app.stop()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
