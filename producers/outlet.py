"""Sound of one sensor -> frames in a sink; what is lost on the way is said aloud and ends the epoch.

    capture, live ──pieces──► Framer ──► FrameSink
                       │                    └─ no room: the frame was never published, so what follows is new
                       └─ partitions counted now and then: other partitions, another epoch

An epoch is one unbroken run of samples. A frame that the sink refused is missing before anything of it was
published, as if the microphone had lost it: the next one opens an epoch. (A frame that was taken and could
not be delivered is a gap inside its epoch: later frames of it may already be on their way.) A sink may end an
epoch, too: what follows goes another way.
"""

import logging
from dataclasses import dataclass, fields
from threading import Event
from typing import Protocol

from producers.clock import Clock
from producers.errors import BufferFullError
from producers.framer import Framer
from producers.meter import Meter
from producers.source import Block, Loss
from schemas.frame import AudioFrame

_LOG = logging.getLogger(__name__)

SAY_AGAIN_S = 10.0
"""While sound goes on being lost, one line in so many seconds."""


class FrameSink(Protocol):
    """Where frames go; `FramePublisher` is one."""

    def publish(self, sensor: str, frame: AudioFrame) -> bool | None:
        """Take a frame at once or raise BufferFullError; False: it was the last of its epoch."""
        ...

    def publish_waiting(self, sensor: str, frame: AudioFrame, stop: Event | None = None) -> bool | None:
        """Take a frame when there is room, as `publish`; raise BufferFullError if `stop` is set before."""
        ...

    def partition_count(self) -> int | None:
        """Return how many partitions the topic has, or None where nobody says."""
        ...


@dataclass(slots=True)
class Played:
    """What was captured so far.

    `refused`: frames that found the buffer full. `epochs`: those that frames were published of. `losses`: how
    often sound was lost before it was published. `lost_samples`: how much, as far as anybody knows.
    """

    frames: int = 0
    samples: int = 0
    refused: int = 0
    epochs: int = 0
    losses: int = 0
    lost_samples: int = 0

    def __add__(self, other: "Played") -> "Played":
        return Played(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Way:
    """How frames are handed over. `waits_until`: wait for room until this is set; None: never wait."""

    partition_check_s: float = 60.0
    waits_until: Event | None = None


class LossLog:
    """Says what was lost: the first loss at once, those that follow closely every few seconds, with a sum."""

    def __init__(self, sensor: str, clock: Clock) -> None:
        self._sensor, self._clock = sensor, clock
        self._times, self._samples, self._reason, self._uncounted = 0, 0, "", False
        self._said_us: int | None = None

    def add(self, loss: Loss, sample_rate_hz: int) -> None:
        """Note a loss; say so unless something was said a moment ago."""
        self._times += 1
        self._samples += loss.samples or 0
        self._uncounted |= loss.samples is None
        self._reason = loss.reason
        self.say(sample_rate_hz)

    def say(self, sample_rate_hz: int, last: bool = False) -> None:
        """Say what is unsaid, if it is time to, or the last time."""
        if not self._times:
            return
        now_us = self._clock.monotonic_us()
        if last or self._said_us is None or now_us - self._said_us >= 1e6 * SAY_AGAIN_S:
            self._said_us = now_us
            _LOG.error("%s: sound was lost: %s; %s", self._sensor, self._reason, self._sum(sample_rate_hz))
            self._times, self._samples, self._uncounted = 0, 0, False

    def _sum(self, sample_rate_hz: int) -> str:
        size = f"{self._samples} samples ({self._samples / max(sample_rate_hz, 1):.2f} s)"
        if self._uncounted:
            size = f"{size} and more that nobody counted" if self._samples else "nobody knows how much"
        times = f"{self._times} times, " if self._times > 1 else ""
        return f"{times}{size}; what follows is a new epoch"


class Outlet:
    """Cuts, numbers and publishes the sound of one sensor, from one thread."""

    def __init__(
        self, sensor: str, sink: FrameSink, framer: Framer, clock: Clock, meter: Meter | None = None
    ) -> None:
        self._sensor, self._sink, self._framer, self._clock = sensor, sink, framer, clock
        self._meter, self._way = meter, Way()
        self.played = Played()
        self._losses = LossLog(sensor, clock)
        self._epoch: bytes | None = None
        self._rate_hz = 0
        self._partitions: int | None = None
        self._next_check_us = 0

    @property
    def begun(self) -> bool:
        """Whether the next sample goes on in an epoch."""
        return self._framer.next_sample > 0

    def open(self, way: Way) -> None:
        """Begin to take sound."""
        self._way = way
        self._count_partitions()

    def room(self, sample_rate_hz: int) -> int:
        """Return how many samples of this rate end the frame that the next sample falls into."""
        return self._framer.room(sample_rate_hz)

    def feed(self, piece: Block, sample_rate_hz: int, captured_at_us: int) -> None:
        """Take `int16[n, channels]`, best up to the end of a frame; its last sample was read at this time.

        Raises:
            ConfigurationError: a sensor or a frame that cannot work.
            DeliveryError: the sink has failed for good.

        """
        if self._clock.monotonic_us() >= self._next_check_us:
            self._check_partitions()
        if self._meter is not None:
            self._meter.feed(piece)
        self._rate_hz = sample_rate_hz
        self._losses.say(sample_rate_hz)
        before = self._framer.epoch if self.begun else None
        frames = self._framer.feed(piece, sample_rate_hz, captured_at_us)
        if before is not None and self._framer.epoch != before:
            _LOG.warning("%s: the clock stepped, or the format changed: a new epoch", self._sensor)
        self._send(frames)

    def lose(self, loss: Loss, sample_rate_hz: int) -> None:
        """End the epoch because of a break in the sound, and say what is missing."""
        self.restart()
        self._rate_hz = sample_rate_hz
        if loss.samples == 0:
            _LOG.warning("%s: %s: a new epoch", self._sensor, loss.reason)
        else:
            self._count(loss)

    def restart(self) -> None:
        """End the epoch; the next sample opens a new one."""
        self._send(self._framer.restart())

    def close(self) -> None:
        """Publish what waits for the rest of its frame, and say what was lost."""
        self.restart()
        self._losses.say(self._rate_hz, last=True)

    def _check_partitions(self) -> None:
        before = self._partitions
        self._count_partitions()
        if before is not None and self._partitions != before:
            _LOG.warning(
                "%s: partitions went from %s to %s: a new epoch", self._sensor, before, self._partitions
            )
            self.restart()

    def _count_partitions(self) -> None:
        self._partitions = self._sink.partition_count() or self._partitions
        self._next_check_us = self._clock.monotonic_us() + round(1e6 * self._way.partition_check_s)

    def _send(self, frames: list[AudioFrame]) -> None:
        goes_on = [self._goes_on_after(frame) for frame in frames]
        if not all(goes_on):
            self.restart()

    def _goes_on_after(self, frame: AudioFrame) -> bool:
        try:
            goes_on = self._hand_over(frame)
        except BufferFullError as exc:
            self.played.refused += 1
            self._count(Loss(frame.samples, exc.why))
            return False
        self.played.frames += 1
        self.played.samples += frame.samples
        self.played.epochs += frame.epoch != self._epoch
        self._epoch = frame.epoch
        return goes_on is not False

    def _count(self, loss: Loss) -> None:
        self.played.losses += 1
        self.played.lost_samples += loss.samples or 0
        self._losses.add(loss, self._rate_hz)

    def _hand_over(self, frame: AudioFrame) -> bool | None:
        if self._way.waits_until is None:
            return self._sink.publish(self._sensor, frame)
        return self._sink.publish_waiting(self._sensor, frame, self._way.waits_until)
