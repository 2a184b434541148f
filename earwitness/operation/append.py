"""Records -> topics, each acknowledged: for commands that write a few, byte for byte."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message, Producer

from producers.client import PublisherSettings, open_client
from schemas.deadletter import Header
from schemas.errors import DeliveryError

MAX_MESSAGE_BYTES, FLUSH_S, ROOM_POLL_S = 8 << 20, 120.0, 0.1
"""The topics' limits on size decide, not the client's."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to append; to the partition that its key has for every Kafka client, unless one is named."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    partition: int = -1


def append(client: Mapping[str, object], settings: PublisherSettings, records: Iterable[NewRecord]) -> int:
    """Append records in order; return how many.

    Raises:
        DeliveryError: not all of them were taken.

    """
    producer, errors = open_client({"message.max.bytes": MAX_MESSAGE_BYTES, **client}, settings)
    failed: list[KafkaError] = []

    def report(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    count = 0
    for record in records:
        if failed:
            break
        while not _handed_over(producer, record, report):
            producer.poll(ROOM_POLL_S)
        count += 1
    left = producer.flush(FLUSH_S)
    if failed or left:
        why = errors.reason(failed[0]) if failed else f"{left} not acknowledged within {FLUSH_S:g} s"
        raise DeliveryError(f"not everything was appended: {why}; do it again")
    return count


def _handed_over(
    producer: Producer, record: NewRecord, report: Callable[[KafkaError | None, Message], None]
) -> bool:
    """Hand a record to the client; return whether there was room for it."""
    headers: list[tuple[str, str | bytes | None]] = [*record.headers]
    try:
        producer.produce(
            record.topic,
            record.value,
            record.key,
            partition=record.partition,
            headers=headers,
            on_delivery=report,
        )
    except BufferError:
        return False
    return True
