"""Outputs -> topics: one idempotent producer, to the frame's own partition number, acknowledged in the log.

    Publisher.send ──► librdkafka ──► broker ──► (poll thread) ──► acknowledged, on the event loop

A time-out is never taken for an acknowledgement: any failed delivery stops the worker, and whoever takes its
partitions over says it again. A full queue does not block: outputs wait here, and partitions are held.
"""

import asyncio
import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processors.partition import TICK_HEADER, Output
from schemas.codec import Codec
from schemas.coverage import Coverage
from schemas.deadletter import DeadLetter, Header
from schemas.detection import Detection
from schemas.errors import DeliveryError
from schemas.frame import MAX_SENSOR_BYTES
from schemas.sensor import SensorState
from schemas.topics import Topics

logger = logging.getLogger(__name__)

POLL_S = 0.1
DELIVERY_TIMEOUT_MS = 120_000
MAX_MESSAGE_BYTES = 8 << 20
"""A dead letter is longer than the record that it holds: the topics' limits decide, not the client's."""
_SMALL_BYTES = 4096
"""Of a record's own in a dead letter: so much every topic takes."""


def topic_of(output: Output, *, shadow: bool = False) -> str | None:
    """Return the topic that an output goes to: one of those beside its frames topic; None for none.

    Of the past and of a shadow's sensors nothing is said: it must not replace the states that are known now.
    What a shadow cannot read the worker beside it cannot read either.
    """
    topics, record = Topics.beside(output.topic), output.record
    if shadow:
        of_shadow: dict[type, str] = dict(zip((Detection, Coverage), topics.shadows, strict=True))
        return of_shadow.get(type(record))
    if isinstance(record, SensorState) and output.topic == topics.backfill:
        return None
    return topics.of(record)


class Publisher:
    """Publishes outputs and acknowledges them on the event loop that made it.

    `on_failure` is called, on the loop, with the first error that cannot be retried.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        codec: Codec,
        headers: Callable[[Output], list[Header]],
        on_published: Callable[[Output, int], None],
        on_failure: Callable[[Exception], None],
        *,
        shadow: bool = False,
    ) -> None:
        self._shadow = shadow
        self._codec, self._headers = codec, headers
        self._on_published, self._on_failure = on_published, on_failure
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Output] = deque()
        self._reports: deque[tuple[Output, KafkaError | None, int]] = deque()
        self._reports_due = False
        self._in_flight = 0
        self._moved = asyncio.Event()
        self._reason = ""
        self._producer = Producer(
            {
                "linger.ms": 1,
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                **client,
                "enable.idempotence": True,
                "acks": "all",
                "error_cb": self._note_error,
            },
            logger=logging.getLogger("librdkafka"),
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="publish", daemon=True)
        self._thread.start()

    @property
    def unacknowledged(self) -> int:
        """Outputs that are not in the log yet."""
        return self._in_flight + len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether outputs wait for room in the producer's queue."""
        return bool(self._waiting)

    def send(self, outputs: list[Output]) -> None:
        """Publish outputs in order; those for which there is no room wait."""
        for output in outputs:
            if topic_of(output, shadow=self._shadow) is None:
                output.acknowledged()
            else:
                self._waiting.append(output)
        while self._waiting and self._produce(self._waiting[0]):
            self._waiting.popleft()

    def forget_waiting(self) -> None:
        """Drop what has not been sent yet: whoever takes over says it again.

        Else it might be appended long after what they say of the same sensor by then. What is in flight may
        be in the log already, and is waited for.
        """
        self._waiting.clear()
        self._producer.purge(in_queue=True, in_flight=False, blocking=False)

    def tick(self, topic: str, partition: int) -> None:
        """Append a record that brings the broker's clock into a quiet partition of the frames topic."""
        headers: list[tuple[str, str | bytes | None]] = [(TICK_HEADER, b"1")]
        try:
            self._producer.produce(topic, partition=partition, headers=headers, on_delivery=self._report_tick)
        except BufferError:
            logger.debug("no room for a tick to %s[%d]: the next one will do", topic, partition)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everything is acknowledged; return whether it was in time."""
        deadline = monotonic() + timeout_s
        while self.unacknowledged and monotonic() < deadline:
            self._moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), max(0.0, deadline - monotonic()))
        return not self.unacknowledged

    async def close(self, timeout_s: float) -> None:
        """Publish what waits, for a bounded time, and stop."""
        await self.drain(timeout_s)
        self._stopped.set()
        await asyncio.to_thread(self._thread.join)

    def _produce(self, output: Output) -> bool:
        record, topic = output.record, self._topic_of(output)
        if isinstance(record, DeadLetter):
            value, headers = record.value, record.wire_headers()
        else:
            value, headers = self._codec.encode(record), self._headers(output)
        try:
            self._producer.produce(
                topic,
                key=output.key,
                value=value,
                partition=output.partition,
                headers=list(headers),
                on_delivery=lambda error, message: self._report(output, error, message),
            )
        except BufferError:
            return False
        except KafkaException as exc:
            if _too_large(exc.args[0]) and _shorten(output):
                return self._produce(output)
            self._on_failure(
                DeliveryError(f"cannot publish to {topic}[{output.partition}]: {exc.args[0].str()}")
            )
            return False
        self._in_flight += 1
        return True

    def _topic_of(self, output: Output) -> str:
        return topic_of(output, shadow=self._shadow) or ""

    # -- on the poll thread -----------------------------------------------------------------------------

    def _poll(self) -> None:
        while not self._stopped.is_set():
            self._producer.poll(POLL_S)

    def _note_error(self, error: KafkaError) -> None:
        # The delivery report of a wrong password says no more than "timed out": the reason is only here.
        if error.str() != self._reason:
            self._reason = error.str()
            logger.warning("publisher: %s", self._reason)

    def _report_tick(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and not _dropped(error):
            place = f"{message.topic()}[{message.partition()}]"
            failure = DeliveryError(f"cannot append a tick to {place}: {error.str()}")
            self._loop.call_soon_threadsafe(self._on_failure, failure)

    def _report(self, output: Output, error: KafkaError | None, message: Message) -> None:
        self._reports.append((output, error, message.timestamp()[1] if error is None else 0))
        if not self._reports_due:
            self._reports_due = True
            self._loop.call_soon_threadsafe(self._take_reports)

    # -- on the event loop ------------------------------------------------------------------------------

    def _take_reports(self) -> None:
        self._reports_due = False  # before looking: a report that comes in between calls us again
        try:
            while self._reports:
                self._take_report(*self._reports.popleft())
            self._moved.set()
            self.send([])
        except Exception as exc:  # noqa: BLE001 - the event loop would log it and go on
            self._on_failure(exc)

    def _take_report(self, output: Output, error: KafkaError | None, appended_ms: int) -> None:
        self._in_flight -= 1
        if error is None:
            output.acknowledged()
            self._on_published(output, appended_ms)
        elif _too_large(error) and _shorten(output):
            self.send([output])
        elif not _dropped(error):
            place = f"{self._topic_of(output)}[{output.partition}]"
            reason = f" ({self._reason})" if self._reason else ""
            self._on_failure(DeliveryError(f"cannot publish to {place}: {error.str()}{reason}"))


def _too_large(error: KafkaError) -> bool:
    return error.code() == KafkaError.MSG_SIZE_TOO_LARGE


def _dropped(error: KafkaError) -> bool:
    """Return whether it was we who dropped it; that it was not sent, nobody knows, and nobody needs to."""
    return error.code() == KafkaError._PURGE_QUEUE  # noqa: SLF001 - the name of the constant


def _shorten(output: Output) -> bool:
    """Leave out of a dead letter what no topic takes: it stays where the headers say.

    A record that came compressed may be larger than anything that may be written again, in its value, its
    headers or its key. Value and headers are left out, and a key that is long. Returns whether there was
    something to leave out.
    """
    letter = output.record
    if not isinstance(letter, DeadLetter) or _size(letter) <= _SMALL_BYTES:
        return False
    headers: list[Header] = []
    key = letter.key
    if letter.value is not None:
        headers += _instead_of("value", letter.value)
    if key is not None and len(key) > MAX_SENSOR_BYTES:
        headers += _instead_of("key", key)
        key = None
    output.key, output.record = key, replace(letter, key=key, value=None, headers=tuple(headers))
    return True


def _size(letter: DeadLetter) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in letter.headers)
    return len(letter.key or b"") + len(letter.value or b"") + headers


def _instead_of(part: str, content: bytes) -> list[Header]:
    size, digest = str(len(content)).encode(), hashlib.sha256(content).hexdigest().encode()
    return [(f"earwitness-{part}-bytes", size), (f"earwitness-{part}-sha256", digest)]
