"""Raw PCM from a pipe -> arrivals: standard input, or a named pipe, in reads of any size.

    arecord -t raw -f S16_LE -r 16000 -c 1 | earwitness capture - --sensor hall

Whoever writes a recording into the pipe is slowed down to real time; see `producers.arrival`.
"""

import logging
import os
import select
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from producers.arrival import Piece, Timing, timed
from producers.clock import Clock, SystemClock
from producers.source import Arrivals, Block, Room, to_int16
from schemas.errors import CaptureError, ConfigurationError
from schemas.frame import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ

_LOG = logging.getLogger(__name__)

POLL_MS = 100
READ_S = 0.05
"""Sound in one read at most: what comes early is held back by no more than that."""
_HEADERS = {b"RIFF": "a WAV file", b"fLaC": "a FLAC file", b"OggS": "an Ogg file", b"ID3": "an MP3 file"}


class SampleFormat(StrEnum):
    """How a sample is written; the names are ffmpeg's."""

    S16LE = "s16le"
    F32LE = "f32le"


_DTYPES: dict[SampleFormat, np.dtype[Any]] = {
    SampleFormat.S16LE: np.dtype("<i2"),
    SampleFormat.F32LE: np.dtype("<f4"),
}


@dataclass(frozen=True, slots=True)
class RawFormat:
    """What nobody can tell from raw samples: rate, interleaved channels, and how each is written."""

    sample_rate_hz: int = 16_000
    channels: int = 1
    sample_format: SampleFormat = SampleFormat.S16LE

    def __post_init__(self) -> None:
        if not MIN_SAMPLE_RATE_HZ <= self.sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
            accepted = f"{MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ}"
            raise ConfigurationError("rate", self.sample_rate_hz, accepted)
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ConfigurationError("channels", self.channels, f"1 to {MAX_CHANNELS}")

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * _DTYPES[self.sample_format].itemsize

    @property
    def read_bytes(self) -> int:
        """Bytes of one read at most."""
        return max(1, round(READ_S * self.sample_rate_hz)) * self.sample_bytes

    def decode(self, data: bytes) -> Block:
        """Turn whole samples into `int16[n, channels]`; those of 16 bits are not copied."""
        values = np.frombuffer(data, _DTYPES[self.sample_format])
        pcm = values if self.sample_format is SampleFormat.S16LE else to_int16(values)
        return pcm.reshape(-1, self.channels)


class RawSource:
    """Samples from a named pipe, or from an open one: standard input. It ends when its writer closes it."""

    def __init__(
        self, form: RawFormat, path: Path | None = None, descriptor: int = 0, clock: Clock | None = None
    ) -> None:
        self._form, self._path, self._descriptor = form, path, descriptor
        self._clock = clock or SystemClock()

    @property
    def name(self) -> str:
        """The pipe's path, or what standard input is called."""
        return "standard input" if self._path is None else str(self._path)

    def arrivals(self, room: Room, stop: Event) -> Arrivals:
        """Give sound as it comes, until the writer closes the pipe or `stop` is set.

        Raises:
            CaptureError: there is no such pipe, it is closed, a terminal or a directory, breaks, or holds a
                file with a header.

        """
        descriptor = self._open()
        try:
            self._refuse_unreadable(descriptor)
            yield from timed(self._pieces(descriptor, stop), Timing(), self._clock, stop)
        finally:
            if self._path is not None:
                os.close(descriptor)

    def _open(self) -> int:
        if self._path is not None:
            try:
                # Without waiting for a writer: a signal must be able to end that wait.
                return os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as exc:
                raise CaptureError(self.name, str(exc.strerror)) from exc
        if self._descriptor == 0 and sys.stdin is None:
            # Its number may be that of another file by now: a log, or a connection to the broker.
            raise CaptureError(self.name, "it is closed; pipe raw samples into it")
        if os.isatty(self._descriptor):
            raise CaptureError(self.name, "it is a terminal; pipe raw samples into it")
        return self._descriptor

    def _refuse_unreadable(self, descriptor: int) -> None:
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError as exc:
            raise CaptureError(self.name, _reason(exc)) from exc
        if stat.S_ISDIR(mode):
            raise CaptureError(self.name, "it is a directory; pipe raw samples into it")

    def _pieces(self, descriptor: int, stop: Event) -> Iterator[Piece]:
        rate_hz, rest, opens = self._form.sample_rate_hz, b"", True
        nothing = self._form.decode(b"")
        for data in self._reads(descriptor, stop):
            if opens and data:
                self._refuse_header(data)
            # A read may end inside a sample: what is left of it waits for the next.
            data = rest + data if rest else data
            whole = len(data) - len(data) % self._form.sample_bytes
            rest = data[whole:]
            block = self._form.decode(data[:whole] if rest else data) if whole else nothing
            yield Piece(block, rate_hz, opens=opens)
            opens = opens and not len(block)
        if rest:
            _LOG.warning("%s: it ended inside a sample: %d bytes left out", self.name, len(rest))

    def _reads(self, descriptor: int, stop: Event) -> Iterator[bytes]:
        """Read what has come, a bounded piece at a time; now and then nothing, to show that time passes."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not stop.is_set():
            try:
                data = _read(descriptor, self._form.read_bytes) if poll.poll(POLL_MS) else None
            except OSError as exc:
                raise CaptureError(self.name, _reason(exc)) from exc
            if data == b"":
                return
            yield data or b""

    def _refuse_header(self, data: bytes) -> None:
        for magic, what in _HEADERS.items():
            if data.startswith(magic):
                why = f"this is {what}, not raw samples: arecord -t raw, sox -t raw, ffmpeg -f s16le"
                raise CaptureError(self.name, why)


def _read(descriptor: int, size: int) -> bytes | None:
    """Read what has come; return None where somebody else was quicker to read it."""
    try:
        return os.read(descriptor, size)
    except BlockingIOError:
        return None


def _reason(exc: OSError) -> str:
    return exc.strerror or type(exc).__name__


def is_pipe(path: Path) -> bool:
    """Return whether there is a named pipe at this path."""
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False
