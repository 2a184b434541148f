"""A bare confluent-kafka loop: how long after its append each frame is there.

`poll` waits for one message, and `consume` takes at once what has come with it: `consume` alone waits until
it has as many as it was asked for, or until its time is over.

    python -m tests.bench.contenders.confluent_latency SERVERS TOPIC BEGIN FRAMES FILE
"""

import sys
from time import time
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from tests.bench.contenders.arrivals import READY, Arrivals
from tests.bench.contenders.plain import (
    FETCH_MAX_WAIT_MS,
    FETCH_MIN_BYTES,
    MAX_PARTITION_FETCH_BYTES,
    MAX_RECORDS,
)


def _run(servers: str, topic: str, arrivals: Arrivals) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "never-joined",
            "enable.auto.commit": False,
            "fetch.min.bytes": FETCH_MIN_BYTES,
            "fetch.wait.max.ms": FETCH_MAX_WAIT_MS,
            "max.partition.fetch.bytes": MAX_PARTITION_FETCH_BYTES,
        }
    )
    consumer.assign([TopicPartition(topic, number, offset) for number, offset in arrivals.begin.items()])
    print(READY, flush=True)
    while not arrivals.complete:
        first = consumer.poll(1.0)
        if first is not None:
            messages = [first, *consumer.consume(MAX_RECORDS, 0)]
            _note(arrivals, time(), messages)
    arrivals.save()
    consumer.close()


def _note(arrivals: Arrivals, now_s: float, messages: list[Any]) -> None:
    found: dict[int, list[tuple[int, int]]] = {}
    for message in messages:
        assert message.error() is None, message.error()
        if message.key() is not None:
            found.setdefault(message.partition(), []).append((message.offset(), message.timestamp()[1]))
    for partition, records in found.items():
        arrivals.add(now_s, partition, records)


if __name__ == "__main__":
    _run(sys.argv[-5], sys.argv[-4], Arrivals.from_arguments())
