"""Sources -> frames of one sensor, each published when its last sample is due.

    source ──blocks──► pieces that end where frames end ──when due──► Outlet: Framer ──► FrameSink

A sample is due at `start + samples / rate`: the waits are computed from that and never added up, so nothing
drifts. A piece enters the framer when its last sample is due, as if a microphone had just read it; a stop or
a pause therefore loses nothing and invents nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event

from producers.clock import Clock, SystemClock
from producers.framer import Framer, FramerSettings, NewEpoch, duration_us
from producers.meter import Meter
from producers.outlet import FrameSink, Outlet, Played, Way
from producers.source import Block, Source
from schemas.errors import ConfigurationError
from schemas.identity import new_epoch

PAUSE_POLL_S = 0.05


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
        meter: Meter | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._settings = settings or CaptureSettings()
        self._outlet = Outlet(sensor, sink, Framer(self._settings.framer, new_epoch), self._clock, meter)
        self._real_time = self._settings.pace is Pace.REAL_TIME
        self._paused, self._stop = Event(), Event()
        self._schedule, self._wall_offset_us = Schedule(0), 0

    @property
    def played(self) -> Played:
        """What was captured so far; may be read from other threads."""
        return self._outlet.played

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
            self._outlet.close()
        return self._outlet.played

    def _start(self, sources: Sequence[Source]) -> None:
        self._outlet.open(Way(self._settings.partition_check_s, None if self._real_time else self._stop))
        now_us = self._clock.monotonic_us()
        self._schedule, self._wall_offset_us = Schedule(now_us), self._clock.wall_us() - now_us
        if not self._real_time:
            self._wall_offset_us -= sum(_length_us(source) for source in sources)

    def _play_all(self, sources: Sequence[Source]) -> None:
        for source in _playlist(sources, self._settings.repeat):
            if not self._settings.gapless:
                self._outlet.restart()
            for block in source.blocks():
                if self._real_time and not self._outlet.begun:
                    # An epoch begins when its sound is there, however long the source took to open.
                    self._schedule.not_before(self._clock.monotonic_us())
                if not self._play(block, source.sample_rate_hz):
                    return

    def _play(self, block: Block, sample_rate_hz: int) -> bool:
        start = 0
        while start < len(block):
            if not self._may_go_on():
                return False
            piece = block[start : start + self._outlet.room(sample_rate_hz)]
            due_us = self._schedule.advance(len(piece), sample_rate_hz)
            if self._real_time and self._stopped_before(due_us):
                return False
            self._capture(piece, sample_rate_hz, due_us)
            start += len(piece)
        return True

    def _capture(self, piece: Block, sample_rate_hz: int, due_us: int) -> None:
        if self._real_time:
            self._follow_wall_clock()
        captured_at_us = due_us + self._wall_offset_us
        if not self._real_time:
            # A source may be longer than it declares; no sound lies in the future.
            captured_at_us = min(captured_at_us, self._clock.wall_us())
        self._outlet.feed(piece, sample_rate_hz, captured_at_us)

    def _may_go_on(self) -> bool:
        if self._paused.is_set():
            self._outlet.restart()
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
