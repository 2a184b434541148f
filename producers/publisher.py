"""Frames -> audio.frames: idempotent, in order, with every frame's fate counted.

    publish ──► buffered ──► acknowledged   the broker has it, on all replicas in sync
       │            └──────► failed         numbered but never delivered: a gap inside the epoch
       └─► BufferFullError   not taken: the caller's gap, or the caller waits (`publish_waiting`)

Delivery reports are served inside `publish`, `poll`, `flush` and `close`, on the thread that calls them.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message

from producers.client import PublisherSettings, open_client
from producers.errors import BufferFullError
from schemas.codec import Codec
from schemas.errors import ConfigurationError, DeliveryError, InvalidFrameError
from schemas.frame import MAX_SENSOR_BYTES, AudioFrame, sensor_of

_LOG = logging.getLogger(__name__)

ROOM_POLL_S = 0.05

OnDelivery = Callable[[str, AudioFrame, int | None, int | None], None]
"""Called with sensor, frame, offset and append time (ms since 1970); both None where delivery failed, the
time also where the topic does not stamp it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Frames by fate. `refused` were never taken, because the buffer was full."""

    acknowledged: int
    failed: int
    buffered: int
    refused: int


@dataclass(slots=True)
class _Sensor:
    name: str
    key: bytes
    acknowledged_samples: int = 0
    lost_frames: int = 0
    """Failed since the last frame that was delivered."""
    partition: int | None = None
    """Where the last one that was delivered is."""


class FramePublisher:
    """Publishes the frames of any number of sensors to one topic.

    Raises:
        ConfigurationError: an option of the client is unknown, wrong, or not the caller's to choose.

    """

    def __init__(
        self,
        client: Mapping[str, object],
        topic: str,
        codec: Codec,
        settings: PublisherSettings | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        self._topic, self._codec, self._on_delivery = topic, codec, on_delivery
        self._producer, self._errors = open_client(client, settings or PublisherSettings())
        self._sensors: dict[str, _Sensor] = {}
        self._taken, self._acknowledged, self._failed, self._refused = 0, 0, 0, 0
        # Reports are served on whichever thread publishes; `+=` is not one step.
        self._lock = Lock()
        self._full_said = False

    @property
    def topic(self) -> str:
        """The topic that frames go to."""
        return self._topic

    @property
    def counts(self) -> Counts:
        """Frames by fate, so far."""
        with self._lock:
            buffered = self._taken - self._acknowledged - self._failed
            return Counts(self._acknowledged, self._failed, buffered, self._refused)

    @property
    def samples_acknowledged(self) -> dict[str, int]:
        """Samples per channel that the broker has, by sensor: what coverage has to account for."""
        with self._lock:
            return {name: sensor.acknowledged_samples for name, sensor in self._sensors.items()}

    @property
    def partitions(self) -> set[int]:
        """Where frames of our sensors were acknowledged last."""
        with self._lock:
            return {s.partition for s in self._sensors.values() if s.partition is not None}

    def partition_of(self, sensor: str) -> int | None:
        """Return where a frame of a sensor was acknowledged last."""
        known = self._sensors.get(sensor)
        return None if known is None else known.partition

    def publish(self, sensor: str, frame: AudioFrame) -> None:
        """Hand a frame to the client and return at once.

        Raises:
            BufferFullError: it was not taken.
            ConfigurationError: the sensor's id cannot be a key, or the frame is too large for the client.
            DeliveryError: the client has failed for good.

        """
        try:
            self._hand_over(self._known(sensor), frame)
        except BufferError:
            raise self._full(sensor) from None
        finally:
            self._serve(0.0)

    def publish_waiting(self, sensor: str, frame: AudioFrame, stop: Event | None = None) -> None:
        """Hand a frame to the client as soon as there is room.

        There is room at the latest when the delivery timeout gives up the oldest frames.

        Raises:
            BufferFullError: `stop` was set while there was no room.
            ConfigurationError: as for `publish`.
            DeliveryError: as for `publish`.

        """
        known = self._known(sensor)
        while True:
            try:
                self._hand_over(known, frame)
            except BufferError:
                if stop is not None and stop.is_set():
                    raise self._full(sensor) from None
                self._serve(ROOM_POLL_S)
            else:
                self._serve(0.0)
                return

    def poll(self, timeout_s: float = 0.0) -> None:
        """Serve delivery reports, waiting up to `timeout_s` for the first."""
        self._serve(timeout_s)

    def partition_count(self, timeout_s: float = 1.0) -> int | None:
        """Ask the broker how many partitions the topic has; None if it does not say in time, or has no topic.

        The client itself takes notice of the answer: a keyed frame may go elsewhere from here on.
        """
        try:
            topic = self._producer.list_topics(self._topic, timeout_s).topics[self._topic]
        except KafkaException as exc:
            _LOG.warning("%s: no partition count: %s", self._topic, self._errors.redacted(_error(exc).str()))
            return None
        return len(topic.partitions) or None

    def flush(self, timeout_s: float) -> int:
        """Wait until nothing is buffered or the time is over; return how many frames still are."""
        deadline_s = time.monotonic() + timeout_s
        while (buffered := self.counts.buffered) and (left_s := deadline_s - time.monotonic()) > 0:
            self._producer.flush(left_s)
        return buffered

    def close(self, timeout_s: float) -> int:
        """Deliver what is buffered, give up the rest; return how many frames were taken and not delivered."""
        if left := self.flush(timeout_s):
            self._say_given_up(left, timeout_s)
            self._producer.purge()
            self._producer.flush(timeout_s)
        return self.counts.failed + self.counts.buffered

    def _serve(self, timeout_s: float) -> None:
        self._producer.poll(timeout_s)

    def _hand_over(self, sensor: _Sensor, frame: AudioFrame) -> None:
        delivered = partial(self._delivered, sensor, frame)
        try:
            self._producer.produce(self._topic, self._codec.encode(frame), sensor.key, on_delivery=delivered)
        except KafkaException as exc:
            raise self._refusal(_error(exc), frame) from exc
        with self._lock:
            self._taken += 1
            self._full_said = False

    def _full(self, sensor: str) -> BufferFullError:
        full = BufferFullError(self._topic, sensor, len(self._producer))
        with self._lock:
            self._refused += 1
            first, self._full_said = not self._full_said, True
        if first:  # one line until there is room again
            self._say_full(full)
        return full

    def _refusal(self, error: KafkaError, frame: AudioFrame) -> Exception:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            sound = f"a frame with {len(frame.data)} bytes of sound"
            return ConfigurationError("frame_ms", sound, "frames within the client's message.max.bytes")
        return DeliveryError(f"{self._topic}: {self._errors.reason(error)}")

    def _known(self, name: str) -> _Sensor:
        sensor = self._sensors.get(name)
        if sensor is None:
            sensor = self._sensors[name] = _Sensor(name, _key(name))
        return sensor

    def _delivered(
        self, sensor: _Sensor, frame: AudioFrame, error: KafkaError | None, record: Message
    ) -> None:
        if error is not None:
            self._lost(sensor, frame, error)
            return
        with self._lock:
            self._acknowledged += 1
            sensor.acknowledged_samples += frame.samples
            sensor.partition = record.partition()
        self._errors.clear()
        if sensor.lost_frames:
            self._recovered(sensor, frame)
        if self._on_delivery is not None:
            kind, at_ms = record.timestamp()
            append_ms = at_ms if kind == TIMESTAMP_LOG_APPEND_TIME else None
            self._on_delivery(sensor.name, frame, record.offset(), append_ms)

    def _lost(self, sensor: _Sensor, frame: AudioFrame, error: KafkaError) -> None:
        with self._lock:
            self._failed += 1
            sensor.lost_frames += 1
            first = sensor.lost_frames == 1
        if first:  # one line for each sensor and outage: a broker that is away fails 50 frames a second
            self._say_lost(sensor.name, frame, self._errors.reason(error))
        if self._on_delivery is not None:
            self._on_delivery(sensor.name, frame, None, None)

    def _recovered(self, sensor: _Sensor, frame: AudioFrame) -> None:
        with self._lock:
            lost, sensor.lost_frames = sensor.lost_frames, 0
        self._say_recovered(sensor.name, frame, lost)

    def _say_full(self, full: BufferFullError) -> None:
        _LOG.error("%s: sound is being lost", full)

    def _say_lost(self, sensor: str, frame: AudioFrame, reason: str) -> None:
        _LOG.error(
            "%s: a frame of %s was not delivered: %s; sound from sample %d on is missing",
            self._topic,
            sensor,
            reason,
            frame.first_sample,
        )

    def _say_recovered(self, sensor: str, frame: AudioFrame, lost: int) -> None:
        _LOG.warning(
            "%s: frames of %s are delivered again from sample %d on; %d were lost",
            self._topic,
            sensor,
            frame.first_sample,
            lost,
        )

    def _say_given_up(self, frames: int, timeout_s: float) -> None:
        _LOG.error("%s: giving up %d frames that were not delivered in %g s", self._topic, frames, timeout_s)


def _key(name: str) -> bytes:
    try:
        key = name.encode()
        sensor_of(key)
    except (UnicodeEncodeError, InvalidFrameError) as exc:
        accepted = f"1 to {MAX_SENSOR_BYTES} bytes of printable UTF-8"
        raise ConfigurationError("sensor", name, accepted) from exc
    return key


def _error(exc: KafkaException) -> KafkaError:
    error = exc.args[0]
    if not isinstance(error, KafkaError):
        raise exc
    return error
