"""Topics -> records, read without joining a group: by offset or append time, to an end or for ever.

Whatever reads a log again (replay, export, watch, doctor) reads it through here. Nothing is ever committed.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from gc import get_referents
from operator import methodcaller
from time import monotonic
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from processors.reasons import NO_ANSWER, Reasons, first_answer
from schemas.codec import Codec, R
from schemas.deadletter import Header
from schemas.errors import ConfigurationError, DeadLetterError, SchemaUnresolvedError

logger = logging.getLogger(__name__)

POLL_S = 0.1
RETRY_S = 0.1
_PASSES = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError._DESTROY_BROKER,  # noqa: SLF001 - its public name
)
"""What a broker says while groups and partitions find a new leader, or their first; and what librdkafka says
of a broker that left the cluster in the midst of a question."""
MAX_PARTITION = (1 << 31) - 1
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
NO_NAME = "\ufffd"
_ASK_FOR_HEADERS = methodcaller("headers")
READ_RECORDS, READ_WAIT_S = 5000, 0.02
"""A read waits for so many records, or for so long: librdkafka does not return earlier with fewer."""
Stretches = Mapping[int, tuple[int, int]]
"""By partition: the first offset, and the one after the last."""
Only = Callable[[bytes | None, bytes | None], bool]
"""Says of a key and a value whether the record is wanted."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it stands in the log; `timestamp` is its append time in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    @property
    def place(self) -> str:
        """Where it stands: `topic[partition]@offset`."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


class LogReader:
    """Reads topics with a consumer of its own; one thread at a time.

    Raises:
        ConfigurationError: from its methods, where a topic does not exist or no broker answers.

    """

    def __init__(self, client: Mapping[str, Any], timeout_s: float = 10.0) -> None:
        self._servers, self._timeout_s = client["bootstrap.servers"], timeout_s
        self._reasons = Reasons(client)
        self._consumer = Consumer(
            {
                "fetch.wait.max.ms": 20,
                "topic.metadata.refresh.interval.ms": 10_000,
                **client,
                "group.id": "earwitness-reader",  # librdkafka wants a name; the group is never joined
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",  # where retention has overtaken us, what is left is read
                "error_cb": self._reasons.note,
            },
            logger=logging.getLogger("librdkafka"),
        )

    def __enter__(self) -> "LogReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def topics(self) -> dict[str, int]:
        """Return the partition counts of all topics that we may see."""
        found = self._ask(lambda: self._consumer.list_topics(timeout=self._timeout_s)).topics
        return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions."""
        listed = self._ask(
            lambda: first_answer(
                lambda timeout_s: self._consumer.list_topics(topic, timeout_s),
                self._reasons,
                self._consumer.poll,
                self._timeout_s,
            )
        )
        found = listed.topics[topic]
        if found.error is not None:
            raise ConfigurationError(
                f"topic {topic}", found.error.str(), "a topic that exists and may be read"
            )
        return sorted(found.partitions)

    def limits(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return, for each partition, its first offset that is still there and the one after its last."""
        return {number: self.limits_of(topic, number) for number in self.partitions(topic)}

    def limits_of(self, topic: str, number: int) -> tuple[int, int]:
        """Return a partition's first offset that is still there and the one after its last."""
        if not 0 <= number <= MAX_PARTITION or _TOPIC.fullmatch(topic) is None:  # no broker would answer
            raise _no_partition(topic, number)
        partition = TopicPartition(topic, number)
        try:
            return self._ask(lambda: self._consumer.get_watermark_offsets(partition, self._timeout_s))
        except KafkaException as exc:
            if exc.args[0].code() == KafkaError._UNKNOWN_PARTITION:  # noqa: SLF001 - its public name
                raise _no_partition(topic, number) from exc
            raise

    def offset_at(self, topic: str, number: int, time_ms: int) -> int:
        """Return a partition's first offset appended at or after a time; its end if none was."""
        wanted = [TopicPartition(topic, number, max(0, time_ms))]
        (found,) = self._ask(lambda: self._consumer.offsets_for_times(wanted, self._timeout_s))
        return found.offset if found.offset >= 0 else self.limits_of(topic, number)[1]

    def offsets_at(self, topic: str, time_ms: int) -> dict[int, int]:
        """Return, for each partition, the first offset appended at or after a time; its end if none was."""
        wanted = [TopicPartition(topic, number, max(0, time_ms)) for number in self.partitions(topic)]
        found = self._ask(lambda: self._consumer.offsets_for_times(wanted, self._timeout_s))
        return {
            p.partition: p.offset if p.offset >= 0 else self.limits_of(topic, p.partition)[1] for p in found
        }

    def read(
        self, topic: str, stretches: Stretches | None = None, only: Only | None = None
    ) -> Iterator[Record]:
        """Read stretches of partitions to their ends, or the whole topic as it is now.

        Records come in order within each partition. Offsets that retention has removed are passed over, and
        so is what `only` does not want: it is asked before a record is made, which is three times as quick.
        """
        wanted = dict(self.limits(topic) if stretches is None else stretches)
        for number, (first, end) in list(wanted.items()):
            low, high = self.limits_of(topic, number)
            wanted[number] = max(first, low), min(end, high)
        ends = {number: end for number, (first, end) in wanted.items() if first < end}
        self._consumer.assign([TopicPartition(topic, number, wanted[number][0]) for number in ends])
        try:
            yield from self._read_to(topic, ends, only)
        finally:
            self._consumer.unassign()

    def follow(
        self, topic: str, begin: Mapping[int, int], stopped: Callable[[], bool]
    ) -> Iterator[Record | None]:
        """Read from some offsets on until `stopped` says so; None comes whenever there is nothing new."""
        self._consumer.assign([TopicPartition(topic, number, offset) for number, offset in begin.items()])
        try:
            while not stopped():
                message = self._consumer.poll(POLL_S)
                if message is None:
                    yield None
                elif not _of_group(message) and not _ended(message):
                    yield _record(message)
        finally:
            self._consumer.unassign()

    def at(self, topic: str, partition: int, offset: int) -> Record | None:
        """Return one record, or None where there is none (any more)."""
        return next(self.read(topic, {partition: (offset, offset + 1)}), None)

    def _read_to(self, topic: str, ends: dict[int, int], only: Only | None) -> Iterator[Record]:
        silent_s = 0.0  # waited for, not passed: whoever reads may take long over a record
        while ends:
            since_s = monotonic()
            messages = self._consumer.consume(READ_RECORDS, READ_WAIT_S)
            silent_s = 0.0 if messages else silent_s + monotonic() - since_s
            if silent_s > self._timeout_s:
                raise ConfigurationError("kafka.bootstrap_servers", self._servers, self._answers())
            for message in messages:
                number, offset = message.partition() or 0, message.offset() or 0
                end = ends.get(number)
                if end is None or _of_group(message):
                    continue
                if _ended(message) or offset + 1 >= end:  # where the last records are gone, the end says so
                    del ends[number]
                    self._consumer.incremental_unassign([TopicPartition(topic, number)])
                wanted = message.error() is None and offset < end
                if wanted and (only is None or only(message.key(), message.value())):
                    yield _record(message)

    def _ask(self, ask: Callable[[], T]) -> T:
        try:
            return until_led(self._timeout_s)(ask)
        except KafkaException as exc:
            if exc.args[0].code() in NO_ANSWER:
                raise ConfigurationError("kafka.bootstrap_servers", self._servers, self._answers()) from exc
            raise

    def _answers(self) -> str:
        self._consumer.poll(0)
        return f"a broker that answers within {self._timeout_s:g} s{self._reasons.why()}"


def until_led(timeout_s: float) -> Retrying:
    """Return what asks a broker again while nobody leads what it is asked about, for a bounded time."""
    return Retrying(
        retry=retry_if_exception(_passes),
        wait=wait_fixed(RETRY_S),
        stop=stop_after_delay(timeout_s),
        reraise=True,
    )


def _passes(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _PASSES


def read_as(codec: Codec, kind: type[R], record: Record) -> R | None:
    """Read a record of one kind; somebody else's record is logged, and None."""
    try:
        return codec.decode_asking(kind, record.value)
    except (DeadLetterError, SchemaUnresolvedError) as exc:
        logger.warning("%s: not a %s: %s", record.place, kind.NAME, exc)
        return None


def _no_partition(topic: str, number: int) -> ConfigurationError:
    return ConfigurationError(
        "partition", f"{topic}[{number}]", "a partition of a topic that exists, on brokers that answer"
    )


def _of_group(message: Message) -> bool:
    """Say whether it is about the group: librdkafka looks for its coordinator although nobody joins it."""
    error = message.error()
    return error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def _ended(message: Message) -> bool:
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
        return True
    raise KafkaException(error)


def _record(message: Message) -> Record:
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=headers_of(message),
    )


def headers_of(message: Message) -> tuple[Header, ...]:
    """Return a message's headers; a name that is not UTF-8 is `NO_NAME`.

    confluent_kafka leaves a hole where such a name should be, and to touch it ends the process. It says so at
    the first call only, and not at all where Python has specialized the call, which it does not do in here.
    """
    try:
        return tuple(_ASK_FOR_HEADERS(message) or ())
    except SystemError:
        parts = [get_referents(header) for header in _ASK_FOR_HEADERS(message)]
        return tuple((part[1] if len(part) > 1 else NO_NAME, part[0]) for part in parts)
