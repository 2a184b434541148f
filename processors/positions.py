"""Where a group stands in the log: committed offsets, where to begin, and where to look who is live.

Asked of the broker through a plain confluent-kafka consumer that never joins the group. Calls block: the
worker makes them outside its event loop.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from processors.decision import DecisionSettings
from processors.log import until_led
from processors.partition import Start
from processors.pipeline import PartitionKey
from schemas.errors import ConfigurationError

logger = logging.getLogger(__name__)

T = TypeVar("T")
_NEVER_JOINS = {"enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "earliest"}


class Positions:
    """Answers for one consumer group."""

    def __init__(self, client: Mapping[str, Any], group: str, timeout_s: float = 10.0) -> None:
        self._consumer = Consumer(
            {**client, "group.id": group, **_NEVER_JOINS}, logger=logging.getLogger("librdkafka")
        )
        self._group, self._timeout_s = group, timeout_s

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def begin(self, topics: Iterable[str], begin_at: str) -> list[PartitionKey]:
        """Commit where a new group starts, for the partitions for which it has committed nothing.

        `begin_at` is "latest", "earliest", or a time in ISO 8601. Returns those partitions. What another
        worker of the group has committed in the meantime stands.
        """
        unknown = [p for p in self._committed(self._partitions(topics)) if p.offset < 0]
        if not unknown:
            return []
        starts = self._offsets_at(unknown, begin_at)
        try:
            self._asked(lambda: self._consumer.commit(offsets=starts, asynchronous=False))
        except KafkaException as exc:
            if exc.args[0].code() not in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS):
                raise
            logger.info("group %s has members already: they have decided where it starts", self._group)
            return []
        return [(p.topic, p.partition) for p in unknown]

    def counts(self, topics: Iterable[str]) -> dict[str, int]:
        """Return how many partitions topics have."""
        return Counter(partition.topic for partition in self._partitions(topics))

    def starts(self, keys: Iterable[PartitionKey], rules: DecisionSettings) -> dict[PartitionKey, Start]:
        """Return where to take partitions over (the fourth rule)."""
        committed = self._committed([TopicPartition(topic, number) for topic, number in keys])
        limits = {(p.topic, p.partition): self._limits(p) for p in committed}
        last_ms = self._append_times([p for p in committed if p.offset > limits[p.topic, p.partition][0]])
        return {
            (p.topic, p.partition): self._start(p, limits[p.topic, p.partition], last_ms, rules)
            for p in committed
        }

    def _start(
        self,
        committed: TopicPartition,
        limits: tuple[int, int],
        last_ms: Mapping[PartitionKey, int],
        rules: DecisionSettings,
    ) -> Start:
        key, (low, high) = (committed.topic, committed.partition), limits
        if committed.offset < 0:
            return Start(low, low, cut=low > 0)
        if committed.offset > high:
            raise ConfigurationError(
                f"the offset committed for {key[0]}[{key[1]}] by group {self._group}",
                committed.offset,
                f"at most the log's end, {high}: was the topic made anew? Reset the group, or use another",
            )
        if committed.offset < low:
            return Start(low, low, cut=True, expired_from=committed.offset)
        if key not in last_ms:
            return Start(committed.offset, committed.offset, cut=low > 0)
        # One margin more than the rule: the record before the start may be that much younger than it.
        since_ms = last_ms[key] - round((rules.idle_s + 3 * rules.margin_s) * 1000)
        scan_from = max(low, min(self._offset_at_time(key, since_ms, low), committed.offset))
        return Start(committed.offset, scan_from, cut=0 < low == scan_from)

    def _partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        found = []
        for topic in topics:
            metadata = self._consumer.list_topics(topic, self._timeout_s).topics[topic]
            if metadata.error is not None:  # or a new group would quietly begin at the log's start
                raise KafkaException(metadata.error)
            found += [TopicPartition(topic, number) for number in sorted(metadata.partitions)]
        return found

    def _committed(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        found: list[TopicPartition] = self._asked(
            lambda: self._consumer.committed(partitions, self._timeout_s)
        )
        for partition in found:
            if partition.error is not None:
                raise KafkaException(partition.error)
        return found

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask, and ask again while nobody leads what is asked about."""
        return until_led(self._timeout_s)(ask)

    def _limits(self, partition: TopicPartition) -> tuple[int, int]:
        low, high = self._asked(lambda: self._consumer.get_watermark_offsets(partition, self._timeout_s))
        return low, high

    def _offsets_at(self, partitions: list[TopicPartition], begin_at: str) -> list[TopicPartition]:
        if begin_at in ("earliest", "latest"):
            which = ("earliest", "latest").index(begin_at)
            return [TopicPartition(p.topic, p.partition, self._limits(p)[which]) for p in partitions]
        at_ms = round(datetime.fromisoformat(begin_at).timestamp() * 1000)
        return [
            TopicPartition(
                p.topic, p.partition, self._offset_at_time((p.topic, p.partition), at_ms, self._limits(p)[1])
            )
            for p in partitions
        ]

    def _offset_at_time(self, key: PartitionKey, time_ms: int, otherwise: int) -> int:
        """Return the first offset appended at or after a time; `otherwise` where the broker cannot say."""
        try:
            (found,) = self._consumer.offsets_for_times([TopicPartition(*key, time_ms)], self._timeout_s)
        except KafkaException as exc:
            if exc.args[0].code() != KafkaError._UNSUPPORTED_FEATURE:  # noqa: SLF001 - its public name
                raise
            return otherwise
        return int(found.offset) if found.offset >= 0 else otherwise

    def _append_times(self, partitions: list[TopicPartition]) -> dict[PartitionKey, int]:
        """Return the append time of the record before each offset; nothing where there is none left."""
        wanted = {(p.topic, p.partition) for p in partitions}
        found: dict[PartitionKey, int] = {}
        self._consumer.assign([TopicPartition(p.topic, p.partition, p.offset - 1) for p in partitions])
        deadline = monotonic() + self._timeout_s
        while wanted and monotonic() < deadline:
            message = self._consumer.poll(deadline - monotonic())
            if message is None:
                continue
            key = str(message.topic()), int(message.partition() or 0)
            wanted.discard(key)
            if _is_record(message):
                found.setdefault(key, message.timestamp()[1])
        self._consumer.unassign()
        if wanted:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"reading {sorted(wanted)}"))  # noqa: SLF001
        return found


def _is_record(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
        return False
    raise KafkaException(error)
