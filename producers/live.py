"""A live source -> frames of one sensor, as its sound comes: nothing here waits for a time.

    microphone, pipe, stream ──arrivals──► pieces that end where frames end ──► Outlet: Framer ──► FrameSink

The source says when its sound was captured and where it broke off; each break ends the epoch. A full buffer
is never waited for: the sound would only be lost earlier, where nobody counts it.
"""

from contextlib import closing
from dataclasses import dataclass, field
from threading import Event

from producers.clock import Clock, SystemClock
from producers.encode import encode_samples
from producers.framer import Encode, Framer, FramerSettings, NewEpoch, duration_us
from producers.meter import Meter
from producers.outlet import FrameSink, Outlet, Played, Way
from producers.source import Arrival, LiveSource
from schemas.identity import new_epoch


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How live sound is captured. `partition_check_s`: how often the topic's partitions are counted."""

    partition_check_s: float = 60.0
    framer: FramerSettings = field(default_factory=FramerSettings)


class LiveCapture:
    """Captures a live source as one sensor."""

    def __init__(
        self,
        sensor: str,
        sink: FrameSink,
        settings: LiveSettings | None = None,
        clock: Clock | None = None,
        new_epoch: NewEpoch = new_epoch,
        encode: Encode = encode_samples,
        meter: Meter | None = None,
    ) -> None:
        self._settings = settings or LiveSettings()
        framer = Framer(self._settings.framer, new_epoch, encode)
        self._outlet = Outlet(sensor, sink, framer, clock or SystemClock(), meter)

    @property
    def played(self) -> Played:
        """What was captured so far; may be read from other threads."""
        return self._outlet.played

    def run(self, source: LiveSource, stop: Event) -> Played:
        """Capture until the source ends or `stop` is set.

        Raises:
            CaptureError: the source never worked, or is gone for good; what came of it is published.
            ConfigurationError: a sensor, a frame or the source's settings cannot work.
            DeliveryError: the publisher has failed for good.

        """
        self._outlet.open(Way(self._settings.partition_check_s))
        try:
            with closing(source.arrivals(self._outlet.room, stop)) as arrivals:
                for arrival in arrivals:
                    self._take(arrival)
        finally:
            self._outlet.close()
        return self._outlet.played

    def _take(self, arrival: Arrival) -> None:
        rate_hz, block = arrival.sample_rate_hz, arrival.block
        if arrival.lost is not None:
            self._outlet.lose(arrival.lost, rate_hz)
        while len(block):
            room = self._outlet.room(rate_hz)
            piece, block = block[:room], block[room:]
            self._outlet.feed(piece, rate_hz, arrival.captured_at_us - duration_us(len(block), rate_hz))
