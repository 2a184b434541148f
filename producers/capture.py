"""Sources -> frames of one sensor, each published when its last sample is due.

    source ──blocks──► pieces that end where frames end ──when due──► Framer ──► FrameSink

A sample is due at `start + samples / rate`: the waits are computed from that and never added up, so nothing
drifts. A piece enters the framer when its last sample is due, as if a microphone had just read it; a stop or
a pause therefore loses nothing and invents nothing.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import Protocol

from producers.clock import Clock, SystemClock
from producers.errors import BufferFullError
from producers.framer import Framer, FramerSettings, NewEpoch, duration_us
from producers.source import Block, Source
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame
from schemas.identity import new_epoch

_LOG = logging.getLogger(__name__)

PAUSE_POLL_S = 0.05


class FrameSink(Protocol):
    """Where frames go; `FramePublisher` is one."""

    def publish(self, sensor: str, frame: AudioFrame) -> None:
        """Take a frame at once or raise BufferFullError."""
        ...

    def publish_waiting(self, sensor: str, frame: AudioFrame, stop: Event | None = None) -> None:
        """Take a frame when there is room; raise BufferFullError if `stop` is set before."""
        ...

    def partition_count(self) -> int | None:
        """Return how many partitions the topic has, or None where nobody says."""
        ...


class Pace(StrEnum):
    """How fast sources are played."""

    REAL_TIME = "real-time"
    FAST = "fast"
    """As fast as frames are taken, as if the sound had just ended."""


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """How sources are played.

    `gapless`: sources follow one another in one epoch, where otherwise each opens its own. `repeat`: they are
    played again and again. `partition_check_s`: how often the topic's partitions are counted.
    """

    pace: Pace = Pace.REAL_TIME
    gapless: bool = False
    repeat: bool = False
    partition_check_s: float = 60.0
    framer: FramerSettings = field(default_factory=FramerSettings)

    def __post_init__(self) -> None:
        if self.repeat and self.pace is Pace.FAST:
            raise ConfigurationError(
                "repeat", True, "false with pace fast: endless sound cannot just have ended"
            )


@dataclass(slots=True)
class Played:
    """What was captured so far. `refused`: frames that found the buffer full, gaps inside their epoch."""

    frames: int = 0
    samples: int = 0
    refused: int = 0


class Schedule:
    """When the sound played so far ends, in microseconds from `start_us` on, over any rates."""

    def __init__(self, start_us: int) -> None:
        self._start_us, self._rate_hz, self._samples = start_us, 1, 0

    def advance(self, samples: int, sample_rate_hz: int) -> int:
        """Play samples; return when the last of them is through."""
        if sample_rate_hz != self._rate_hz:
            self._start_us, self._rate_hz, self._samples = self._end_us(), sample_rate_hz, 0
        self._samples += samples
        return self._end_us()

    def delay(self, by_us: int) -> None:
        """Play everything that follows later."""
        self._start_us += by_us

    def not_before(self, now_us: int) -> None:
        """Play everything that follows from now on, if it was due earlier."""
        self.delay(max(0, now_us - self._end_us()))

    def _end_us(self) -> int:
        return self._start_us + duration_us(self._samples, self._rate_hz)


class Capture:
    """Plays sources as one sensor. `pause` and `resume` may be called from other threads."""

    def __init__(
        self,
        sensor: str,
        sink: FrameSink,
        settings: CaptureSettings | None = None,
        clock: Clock | None = None,
        new_epoch: NewEpoch = new_epoch,
    ) -> None:
        self._sensor, self._sink, self._clock = sensor, sink, clock or SystemClock()
        self._settings = settings or CaptureSettings()
        self._framer = Framer(self._settings.framer, new_epoch)
        self._real_time = self._settings.pace is Pace.REAL_TIME
        self._paused, self._stop = Event(), Event()
        self._played = Played()
        self._schedule, self._wall_offset_us = Schedule(0), 0
        self._partitions: int | None = None
        self._next_check_us = 0

    def pause(self) -> None:
        """Stop capturing; the sound goes on where it was left, in a new epoch."""
        self._paused.set()

    def resume(self) -> None:
        """Go on after a pause."""
        self._paused.clear()

    def play(self, sources: Sequence[Source], stop: Event) -> Played:
        """Play the sources one after another, until they end or `stop` is set.

        Raises:
            CaptureError: a source cannot be read to its end; what was read of it is published.
            ConfigurationError: a sensor, frame or pace that cannot work.
            DeliveryError: the publisher has failed for good.

        """
        self._stop = stop
        self._start(sources)
        try:
            self._play_all(sources)
        finally:
            self._send(self._framer.restart())
        return self._played

    def _start(self, sources: Sequence[Source]) -> None:
        self._count_partitions()
        now_us = self._clock.monotonic_us()
        self._schedule, self._wall_offset_us = Schedule(now_us), self._clock.wall_us() - now_us
        if not self._real_time:
            self._wall_offset_us -= sum(_length_us(source) for source in sources)

    def _play_all(self, sources: Sequence[Source]) -> None:
        for source in _playlist(sources, self._settings.repeat):
            if not self._settings.gapless:
                self._send(self._framer.restart())
            for block in source.blocks():
                if self._real_time and self._framer.next_sample == 0:
                    # An epoch begins when its sound is there, however long the source took to open.
                    self._schedule.not_before(self._clock.monotonic_us())
                if not self._play(block, source.sample_rate_hz):
                    return

    def _play(self, block: Block, sample_rate_hz: int) -> bool:
        start = 0
        while start < len(block):
            if not self._may_go_on():
                return False
            piece = block[start : start + self._framer.room(sample_rate_hz)]
            due_us = self._schedule.advance(len(piece), sample_rate_hz)
            if self._real_time and self._stopped_before(due_us):
                return False
            self._capture(piece, sample_rate_hz, due_us)
            start += len(piece)
        return True

    def _capture(self, piece: Block, sample_rate_hz: int, due_us: int) -> None:
        if self._clock.monotonic_us() >= self._next_check_us:
            self._check_partitions()
        if self._real_time:
            self._follow_wall_clock()
        self._send(self._framer.feed(piece, sample_rate_hz, due_us + self._wall_offset_us))

    def _may_go_on(self) -> bool:
        if self._paused.is_set():
            self._send(self._framer.restart())
            since_us = self._clock.monotonic_us()
            while self._paused.is_set() and not self._clock.wait(self._stop, PAUSE_POLL_S):
                pass
            self._schedule.delay(self._clock.monotonic_us() - since_us)
        return not self._stop.is_set()

    def _stopped_before(self, due_us: int) -> bool:
        while (early_us := due_us - self._clock.monotonic_us()) > 0:
            if self._clock.wait(self._stop, early_us / 1e6):
                return True
        return self._stop.is_set()

    def _follow_wall_clock(self) -> None:
        # Small differences are left alone, or every frame would carry the jitter of reading two clocks.
        # A step is followed, and the framer, which sees it in `captured_at_us`, opens a new epoch.
        offset_us = self._clock.wall_us() - self._clock.monotonic_us()
        if abs(offset_us - self._wall_offset_us) > 1000 * self._settings.framer.clock_tolerance_ms:
            self._wall_offset_us = offset_us

    def _check_partitions(self) -> None:
        before = self._partitions
        self._count_partitions()
        if before is not None and self._partitions != before:
            _LOG.warning(
                "%s: partitions went from %s to %s: a new epoch", self._sensor, before, self._partitions
            )
            self._send(self._framer.restart())

    def _count_partitions(self) -> None:
        self._partitions = self._sink.partition_count() or self._partitions
        self._next_check_us = self._clock.monotonic_us() + round(1e6 * self._settings.partition_check_s)

    def _send(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            try:
                self._hand_over(frame)
            except BufferFullError:  # the sink has said so
                self._played.refused += 1
            else:
                self._played.frames += 1
                self._played.samples += frame.samples

    def _hand_over(self, frame: AudioFrame) -> None:
        if self._real_time:
            self._sink.publish(self._sensor, frame)
        else:
            self._sink.publish_waiting(self._sensor, frame, self._stop)


def _playlist(sources: Sequence[Source], repeat: bool) -> Iterator[Source]:
    yield from sources
    while repeat and sources:
        yield from sources


def _length_us(source: Source) -> int:
    if source.samples is None:
        raise ConfigurationError(
            "pace", Pace.FAST, f"{Pace.REAL_TIME} for {source.name}: its length is unknown"
        )
    return duration_us(source.samples, source.sample_rate_hz) + 1
