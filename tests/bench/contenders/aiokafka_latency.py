"""A bare aiokafka `getmany` loop: how long after its append each frame is there.

With `--windows` it decodes what it got and cuts windows, as the throughput's bare loop does; else nothing.

    python -m tests.bench.contenders.aiokafka_latency [--windows] SERVERS TOPIC BEGIN FRAMES FILE
"""

import asyncio
import sys
from time import time

from aiokafka import TopicPartition

from tests.bench.contenders.arrivals import READY, Arrivals
from tests.bench.contenders.plain import MAX_RECORDS, PlainWindows
from tests.bench.through_loop import bare_consumer


async def _run(servers: str, topic: str, arrivals: Arrivals, work: bool) -> None:
    consumer, windows = bare_consumer(servers), PlainWindows()
    await consumer.start()
    try:
        begin = {TopicPartition(topic, number): offset for number, offset in arrivals.begin.items()}
        consumer.assign(list(begin))
        for partition, offset in begin.items():
            consumer.seek(partition, offset)
        print(READY, flush=True)
        while not arrivals.complete:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=MAX_RECORDS)
            now_s = time()
            for partition, records in fetched.items():
                frames = [record for record in records if record.key is not None]
                arrivals.add(
                    now_s, partition.partition, [(frame.offset, frame.timestamp) for frame in frames]
                )
                for frame in frames if work else ():
                    windows.add(frame.key, frame.value)
        arrivals.save()
    finally:
        await consumer.stop()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[-5], sys.argv[-4], Arrivals.from_arguments(), work="--windows" in sys.argv))
