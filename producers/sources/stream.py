"""Network streams, through FFmpeg's libraries (PyAV) -> arrivals, for ever: RTSP, web radio, RTP, SRT.

    connect ─► sound … sound ─► error, silence or end ─► connect again, with growing pauses ─► a new epoch

Packets that were lost leave a jump in the stream's own time stamps: another epoch, and a count of what is
missing. While the connection is away, what is missing is counted by the clock.
"""

import errno
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import Any

from producers.arrival import Piece, Timing, TimingSettings, timed
from producers.clock import Clock, SystemClock
from producers.source import Arrival, Arrivals, Loss, Room
from producers.sources.again import Again, keep_trying
from producers.sources.container import Decoder, pcm, without_secrets
from schemas.errors import CaptureError

_LOG = logging.getLogger(__name__)

NETWORK = TimingSettings(max_late_s=30.0)
"""The segments of a playlist come late by their own length, again and again."""
JUMP_OF_FRAME, JUMP_S = 0.75, 0.015
"""Time stamps jump where they differ from the number of samples by so much of a frame, and by so long."""
BAD_PACKETS = 50
"""So many in a row are left out, and missed by their time stamps, before the connection is made again."""
ENDED = "the stream ended"
_ENDS = (ENDED, os.strerror(errno.EIO))
"""FFmpeg calls it an error where a server hangs up that never said it would, nor how much there is."""
POURED, POURED_S = 0.9, 1.0
"""Sound was poured in that came in less than so much of its own time, by so long."""


class Transport(StrEnum):
    """What RTSP carries the sound in: TCP goes through firewalls and loses nothing on the way."""

    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """`again`: how a connection is tried."""

    transport: Transport = Transport.TCP
    again: Again = field(default_factory=Again)


class Connection:
    """One connection, from its first sound to its end.

    Raises:
        CaptureError: it cannot be made, or gives no sound.
        ConfigurationError: PyAV is missing.

    """

    def __init__(self, location: str, transport: Transport = Transport.TCP) -> None:
        self._since_s, self._sound_s = time.monotonic(), 0.0
        self._name = without_secrets(location)
        self._decoder = Decoder(location, _options(location, transport))
        self._frames = self._decoder.frames(BAD_PACKETS)
        self._next_s: float | None = None
        self.ended = ENDED
        try:
            # Only sound proves that it works: a server may let us in and have nothing to say.
            self._frame = next(self._frames, None)
            if self._frame is None:
                raise CaptureError(self._name, "it ended before any sound came")
        except BaseException:
            self.close()
            raise

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second and channel."""
        return self._decoder.format.sample_rate_hz

    @property
    def is_recording(self) -> bool:
        """Whether the sound has an end: what is there is a file."""
        return self._decoder.format.ends

    @property
    def was_poured_in(self) -> bool:
        """Whether it came to its end faster than time passes, as no live sound does."""
        took_s = time.monotonic() - self._since_s
        fast = took_s < min(POURED * self._sound_s, self._sound_s - POURED_S)
        return fast and self.ended in _ENDS

    def pieces(self, lost: Loss | None, stop: Event) -> Iterator[Piece]:
        """Give what comes until the connection ends, for a reason that `ended` then tells."""
        opens, lost_at_first = True, lost
        try:
            while self._frame is not None and not stop.is_set():
                lost = lost_at_first if opens else self._jump(self._frame)
                self._count(self._frame)
                yield Piece(pcm(self._frame), self._frame.sample_rate, lost, opens)
                opens, self._frame = False, next(self._frames, None)
        except CaptureError as exc:
            self.ended = str(exc).removeprefix(f"cannot capture from {self._name}: ")

    def close(self) -> None:
        """Hang up."""
        self._decoder.close()

    def _jump(self, frame: Any) -> Loss | None:
        """Return what is missing before a frame by the stream's own time stamps."""
        if self._next_s is None or frame.pts is None:
            return None
        jump_s = float(frame.pts * frame.time_base) - self._next_s
        if abs(jump_s) < max(JUMP_S, JUMP_OF_FRAME * frame.samples / frame.sample_rate):
            return None
        if jump_s < 0:
            return Loss(0, f"the stream's time stamps went back by {-jump_s:.3f} s")
        return Loss(round(jump_s * frame.sample_rate), f"{jump_s:.3f} s of the stream never came")

    def _count(self, frame: Any) -> None:
        self._sound_s += frame.samples / frame.sample_rate
        known = frame.pts is not None
        self._next_s = (
            float(frame.pts * frame.time_base) + frame.samples / frame.sample_rate if known else None
        )


class StreamSource:
    """A stream at an address, for as long as it is wanted."""

    def __init__(
        self,
        location: str,
        settings: StreamSettings | None = None,
        first: Connection | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._location, self._settings, self._first = location, settings or StreamSettings(), first
        self._clock = clock or SystemClock()
        self._gone: Arrival | None = None

    @property
    def name(self) -> str:
        """Its address, without user, password and what follows the path."""
        return without_secrets(self._location)

    def arrivals(self, room: Room, stop: Event) -> Arrivals:
        """Give sound as it comes, until `stop` is set; a connection that is lost is made again.

        A stop while it is away gives one last arrival without sound, which says what is missing.

        Raises:
            CaptureError: it could not be made at all.

        """
        yield from timed(self._pieces(stop), Timing(NETWORK), self._clock, stop)
        if self._gone is not None:
            yield self._gone

    def _pieces(self, stop: Event) -> Iterator[Piece]:
        heard_us, why, last = 0, "", None
        for connection in keep_trying(self._connect, self._settings.again, stop):
            lost = self._missing(connection.sample_rate_hz, heard_us, why) if why else None
            told = lost is None
            try:
                for piece in connection.pieces(lost, stop):
                    heard_us, last, told = self._clock.monotonic_us(), piece, True
                    yield piece
            finally:
                connection.close()
            why = connection.ended if told else why
            if stop.is_set() and told:
                return
            if not stop.is_set():
                self._say(connection)
        if last is not None:
            lost = self._missing(last.sample_rate_hz, heard_us, why)
            self._gone = Arrival(last.block[:0], last.sample_rate_hz, self._clock.wall_us(), lost)

    def _say(self, connection: Connection) -> None:
        if connection.was_poured_in:
            _LOG.warning("%s: it ended: a recording without a length? capturing it again", self.name)
        else:
            _LOG.error("%s: %s: connecting again", self.name, connection.ended)

    def _connect(self) -> Connection:
        first, self._first = self._first, None
        return first or Connection(self._location, self._settings.transport)

    def _missing(self, sample_rate_hz: int, since_us: int, why: str) -> Loss:
        away_us = self._clock.monotonic_us() - since_us
        samples = away_us * sample_rate_hz // 1_000_000
        return Loss(samples, f"{self.name} was away for {away_us / 1e6:.1f} s ({why})")


def _options(location: str, transport: Transport) -> dict[str, str]:
    if not location.lower().startswith("rtsp"):
        return {}
    return {"rtsp_transport": transport.value, "allowed_media_types": "audio"}
