"""Detections as they come: a table for people, JSON lines for programs."""

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.codec import Codec
from schemas.detection import Detection, DetectionState
from schemas.errors import DeadLetterError, SchemaUnresolvedError

logger = logging.getLogger("librdkafka")

POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Published:
    """A detection as it stands in the log."""

    detection: Detection
    appended_ms: int
    offset: int
    scorer: str | None
    latency: Mapping[str, int] | None

    @property
    def latency_ms(self) -> float | None:
        """Capture of the deciding window's last sample to append, for a detection that begins."""
        if self.detection.state is not DetectionState.ACTIVE:
            return None
        return self.appended_ms - self.detection.end_us / 1000

    def as_json(self) -> str:
        """Return everything on one line."""
        seen = {"appended_ms": self.appended_ms, "offset": self.offset, "scorer": self.scorer}
        return json.dumps(
            {**asdict(self.detection), **seen, "latency_ms": self.latency_ms, "stages": self.latency}
        )

    def as_line(self) -> str:
        """Return what a person wants to see."""
        found = self.detection
        start = datetime.fromtimestamp(found.start_us / 1e6, UTC).strftime("%H:%M:%S.%f")[:-3]
        length_s = (found.end_sample - found.start_sample) / found.sample_rate_hz
        score = "    -" if found.peak_score is None else f"{found.peak_score:5.2f}"
        tail = f"{length_s:5.1f} s" if self.latency_ms is None else f"latency {self.latency_ms:.0f} ms"
        again = " (goes on)" if found.continued else ""
        return f"{start}Z  {found.sensor:<16} {found.state:<6} {found.label:<16} {score}  {tail}{again}"


def detections(
    client: Mapping[str, Any], topic: str, codec: Codec, stop: threading.Event, *, earliest: bool = False
) -> Iterator[Published]:
    """Yield the detections of a topic, from now on or from its start, until `stop` is set.

    Raises:
        KafkaException: the topic cannot be read.

    """
    quiet = {
        "group.id": "earwitness-watch",
        "enable.auto.commit": False,
        "topic.metadata.refresh.interval.ms": 10_000,
    }
    consumer = Consumer({**client, **quiet}, logger=logger)
    try:
        consumer.assign(_everything(consumer, topic, earliest=earliest))
        while not stop.is_set():
            message = consumer.poll(POLL_S)
            if message is not None:
                yield from _read(message, codec)
    finally:
        consumer.close()


def _everything(consumer: Consumer, topic: str, *, earliest: bool) -> list[TopicPartition]:
    found = consumer.list_topics(topic, 10).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    partitions = [TopicPartition(topic, number) for number in found.partitions]
    for partition in partitions:
        low, high = consumer.get_watermark_offsets(partition, 10)
        partition.offset = low if earliest else high
    return partitions


def _read(message: Message, codec: Codec) -> Iterator[Published]:
    error = message.error()
    if error is not None:
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            raise KafkaException(error)
        return
    headers = dict(message.headers() or [])
    latency, scorer = headers.get("earwitness-latency"), headers.get("earwitness-scorer")
    try:
        detection = _decode(codec, message.value())
    except DeadLetterError as exc:  # somebody else's record must not blind whoever watches
        place = f"{message.topic()}[{message.partition()}]@{message.offset()}"
        logging.getLogger(__name__).warning("%s: not a detection: %s", place, exc)
        return
    yield Published(
        detection=detection,
        appended_ms=message.timestamp()[1],
        offset=message.offset() or 0,
        scorer=scorer.decode() if isinstance(scorer, bytes) else None,
        latency=json.loads(latency) if latency else None,
    )


def _decode(codec: Codec, value: bytes | None) -> Detection:
    try:
        return codec.decode(Detection, value)
    except SchemaUnresolvedError as exc:
        codec.resolve(exc.schema_id)
        return codec.decode(Detection, value)
