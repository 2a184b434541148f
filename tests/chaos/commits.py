"""A group -> what it has committed, asked again and again from a thread of its own."""

import time
from threading import Event, Thread

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.local.kafka import QUIET_CLIENT
from tests.chaos.evidence import Commit

EVERY_S, ANSWER_S = 0.3, 2.0


class Commits:
    """Asks from `__enter__` to `__exit__`; a group that does not answer is asked again."""

    def __init__(self, servers: str, group: str, topic: str, partitions: int) -> None:
        self.found: list[Commit] = []
        self._asked = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": group, **QUIET_CLIENT})
        self._stop = Event()
        self._thread = Thread(target=self._ask_on, name="commits", daemon=True)

    def __enter__(self) -> "Commits":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _ask_on(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._ask()
        self._ask()

    def _ask(self) -> None:
        try:
            answers = self._consumer.committed(self._asked, ANSWER_S)
        except KafkaException:
            return
        at_ms = time.time_ns() // 1_000_000
        for answer in answers:
            if answer.error is None and answer.offset >= 0:
                self.found.append(Commit(at_ms, answer.partition, answer.offset))
