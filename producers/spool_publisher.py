"""Frames that a spool keeps -> a topic: one that is not delivered is not lost, and nobody says it is.

Reports are served by one thread at a time, in the order of the log: the spool learns from each where what is
still open begins.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from threading import Lock
from typing import Any

from confluent_kafka import KafkaError

from producers.client import PublisherSettings
from producers.errors import BufferFullError
from producers.publisher import FramePublisher, OnDelivery
from schemas.codec import Codec
from schemas.frame import AudioFrame

_LOG = logging.getLogger(__name__)

OnFailure = Callable[[str, AudioFrame, KafkaError], None]
"""Called with sensor, frame, and what the broker said."""


class SpooledPublisher(FramePublisher):
    """Publishes frames that stay in a spool until they are acknowledged: one that fails is not lost.

    Reports are served by one thread at a time, in the order of the log.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._serving = Lock()

    def _serve(self, timeout_s: float) -> None:
        if self._serving.acquire(blocking=False):
            try:
                super()._serve(timeout_s)
            finally:
                self._serving.release()

    def _say_full(self, full: BufferFullError) -> None:
        _LOG.warning("%s; the spool has it", full)

    def _say_lost(self, sensor: str, frame: AudioFrame, reason: str) -> None:
        _LOG.warning("%s: a frame of %s was not delivered: %s; the spool has it", self._topic, sensor, reason)

    def _say_recovered(self, sensor: str, frame: AudioFrame, lost: int) -> None:
        _LOG.warning("%s: frames of %s are delivered again", self._topic, sensor)

    def _say_given_up(self, frames: int, timeout_s: float) -> None:
        _LOG.warning("%s: %d frames are not delivered yet; the spool has them", self._topic, frames)


@dataclass(frozen=True, slots=True)
class PatientSettings(PublisherSettings):
    """With these no frame is given up: sent again, it would follow those that were sent after it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "delivery_timeout_ms", 0)

    @classmethod
    def of(cls, settings: PublisherSettings) -> "PatientSettings":
        """Return the same but for that."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(settings)})


@dataclass(frozen=True, slots=True)
class Fates:
    """Who is told of a frame: that it was delivered, or that it was not, and why."""

    on_delivery: OnDelivery
    on_failure: OnFailure


class BackfillPublisher(SpooledPublisher):
    """Publishes the past: waits for the broker as long as it takes, and tells why a frame was refused."""

    def __init__(
        self,
        client: Mapping[str, object],
        topic: str,
        codec: Codec,
        settings: PublisherSettings,
        fates: Fates,
    ) -> None:
        super().__init__(client, topic, codec, PatientSettings.of(settings), fates.on_delivery)
        self._on_failure = fates.on_failure

    def _lost(self, sensor: Any, frame: AudioFrame, error: KafkaError) -> None:
        self._on_failure(sensor.name, frame, error)
        super()._lost(sensor, frame, error)
