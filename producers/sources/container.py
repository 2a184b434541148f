"""Containers and URLs, through FFmpeg's libraries (PyAV) -> blocks: MP4, MKV and all else that has an end.

What has no end is `producers.sources.stream`'s. The sound keeps its own rate and channels; only its numbers
become int16, by the one rule that holds everywhere.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from producers.source import Block, to_int16
from schemas.errors import CaptureError, ConfigurationError
from schemas.frame import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ

INSTALL = "PyAV, which reads containers and network streams: `uv sync --extra capture`"
SCHEMES = frozenset({"http", "https", "rtmp", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"})
CONTAINER_EXTENSIONS = frozenset(
    {"3gp", "aac", "ac3", "amr", "avi", "flv", "m4a", "m4b", "m4v", "mka", "mkv", "mov", "mp4", "mpg"}
    | {"mpeg", "mts", "ts", "webm", "wma", "wmv"}
)
OPEN_TIMEOUT_S, READ_TIMEOUT_S, HTTP_READ_TIMEOUT_S, PLAYLIST_READ_TIMEOUT_S = 10.0, 5.0, 8.0, 30.0
"""The next segment of a playlist comes when it is full."""
_PLAYLISTS = frozenset({"hls", "dash"})
"""FFmpeg's names of demuxers that read what others hold."""
_CUT_OFF_S = 0.25
"""A container's length and that of its sound differ by a few of the codec's frames."""


@dataclass(frozen=True, slots=True)
class Format:
    """What the sound in a container is; `samples` as far as it declares them, None where it does not."""

    sample_rate_hz: int
    channels: int
    samples: int | None
    ends: bool
    """Whether it is a recording: it declares its length or its size, and is no playlist that grows."""


def is_url(text: str) -> bool:
    """Return whether this is the address of a stream or a container that can be fetched."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


def without_secrets(location: str) -> str:
    """Return a location as logs may show it: no user, no password, nothing after the path.

    A password may hold what an address must not, such as `#`, `?` and `/`: all before the last `@` is hidden.
    """
    scheme, separator, rest = location.partition("://")
    if not separator:
        return location
    secret, at, shown = rest.rpartition("@")
    if "=" in secret.partition("?")[2]:
        # That may as well be a key behind the path, and what follows the `@` the rest of it.
        return f"{scheme}://***"
    path = re.sub(r"([?#&;]).*", r"\1***", shown, flags=re.DOTALL)
    return f"{scheme}://{'***@' if at else ''}{path}"


class Decoder:
    """The first sound of an opened container. Its errors name the container without secrets.

    Raises:
        CaptureError: it cannot be opened or read, holds no sound, or sound that no frame can carry.
        ConfigurationError: PyAV is missing.

    """

    def __init__(self, location: str, options: Mapping[str, str] | None = None) -> None:
        self._name, self._av = without_secrets(location), _av()
        self._bad_packets = 0
        with self._translated():
            self._container = self._av.open(
                location,
                options=_options(location, options or {}),
                timeout=(OPEN_TIMEOUT_S, _reads_s(location)),
            )
        try:
            self._sound = next(iter(self._container.streams.audio), None)
            self.format = self._read_format()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def frames(self, bad_packets: int = 0) -> Iterator[Any]:
        """Decode to the end; so many packets in a row may be broken, and are left out.

        Raises:
            CaptureError: it cannot be read on.

        """
        with self._translated():
            for packet in self._container.demux(self._sound):
                yield from self._decode(packet, bad_packets)

    def _decode(self, packet: Any, bad_packets: int) -> list[Any]:
        try:
            frames = packet.decode()
        except self._av.error.InvalidDataError:
            self._bad_packets += 1
            if self._bad_packets > bad_packets:
                raise
            return []
        self._bad_packets = 0
        return list(frames)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (self._av.FFmpegError, OSError, ValueError) as exc:
            raise CaptureError(self._name, self._reason(exc)) from None

    def _reason(self, exc: Exception) -> str:
        if isinstance(exc, self._av.error.ExitError):  # how PyAV ends a wait
            return "nothing came in time"
        # Not the exception's own text: that holds the whole address.
        return str(getattr(exc, "strerror", None) or type(exc).__name__)

    def _read_format(self) -> Format:
        if self._sound is None:
            raise CaptureError(self._name, "it holds no sound")
        if self._sound.codec_context is None:
            raise CaptureError(self._name, "FFmpeg cannot decode its sound")
        rate_hz, channels = int(self._sound.rate or 0), int(self._sound.channels or 0)
        if not MIN_SAMPLE_RATE_HZ <= rate_hz <= MAX_SAMPLE_RATE_HZ:
            accepted = f"{MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz"
            raise CaptureError(self._name, f"its rate is {rate_hz} Hz; accepted: {accepted}")
        if not 1 <= channels <= MAX_CHANNELS:
            raise CaptureError(self._name, f"it has {channels} channels; accepted: 1 to {MAX_CHANNELS}")
        seconds = _declared_s(self._container, self._sound)
        samples = None if seconds is None else round(seconds * rate_hz)
        return Format(rate_hz, channels, samples, samples is not None or _has_end(self._container))


def pcm(frame: Any) -> Block:
    """Turn a decoded frame into `int16[n, channels]`."""
    values = frame.to_ndarray()
    rows = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    return _INT16[rows.dtype.str[1:]](rows)


class ContainerSource:
    """The first sound of one container; every pass opens it anew.

    Raises:
        CaptureError: it cannot be opened, holds no sound, or sound that no frame can carry.
        ConfigurationError: PyAV is missing.

    """

    def __init__(self, location: str | Path) -> None:
        self._location = str(location)
        with Decoder(self._location) as decoder:
            self._format = decoder.format

    @property
    def name(self) -> str:
        """Where it is, without passwords."""
        return without_secrets(self._location)

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second and channel."""
        return self._format.sample_rate_hz

    @property
    def channels(self) -> int:
        """Channels of its sound."""
        return self._format.channels

    @property
    def samples(self) -> int | None:
        """Samples per channel that it declares, right to a few of its codec's frames, if it does."""
        return self._format.samples

    def blocks(self) -> Iterator[Block]:
        """Decode the sound once, a frame of its codec at a time.

        Raises:
            CaptureError: it cannot be read to the length that it declares, or changes its rate.

        """
        done = 0
        with Decoder(self._location) as decoder:
            for frame in decoder.frames():
                if frame.sample_rate != self.sample_rate_hz:
                    raise CaptureError(self.name, f"its rate changes after {done} samples")
                done += frame.samples
                yield pcm(frame)
        declared = self.samples or 0
        if done < declared - _CUT_OFF_S * self.sample_rate_hz:
            raise CaptureError(self.name, f"it ends after {done} of {declared} samples: was it cut off?")


def _declared_s(container: Any, sound: Any) -> float | None:
    if sound.duration is not None and sound.duration > 0:
        return float(sound.duration * sound.time_base)
    # The container's own length may be that of pictures: it says no more than that there is an end.
    alone = len(container.streams) == 1
    return container.duration / 1e6 if alone and container.duration and container.duration > 0 else None


def _has_end(container: Any) -> bool:
    if container.format.name.partition(",")[0] in _PLAYLISTS:
        # Its size is that of a list of names, which may grow; its length is known where the list is complete.
        return bool(container.duration and container.duration > 0)
    return bool(container.size > 0)


def _options(location: str, options: Mapping[str, str]) -> dict[str, str]:
    if not is_url(location):
        # A file that turns out to be a playlist must not make us fetch what it names.
        return {"protocol_whitelist": "file", **options}
    # No titles between the bytes of a web radio's sound.
    return {"icy": "0", **options} if _is_http(location) else dict(options)


def _reads_s(location: str) -> float:
    if not _is_http(location):
        return READ_TIMEOUT_S
    path = re.split(r"[?#]", location.lower(), maxsplit=1)[0]
    return PLAYLIST_READ_TIMEOUT_S if path.endswith((".m3u8", ".m3u", ".mpd")) else HTTP_READ_TIMEOUT_S


def _is_http(location: str) -> bool:
    return location.lower().startswith("http")


def _unsigned(values: NDArray[Any]) -> Block:
    return to_int16((values.astype(np.float64) - 128) / 128)


def _same(values: NDArray[Any]) -> Block:
    return values


def _long(values: NDArray[Any]) -> Block:
    return to_int16(values / 2.0**31)


_INT16: dict[str, Callable[[NDArray[Any]], Block]] = {
    "f4": to_int16,
    "f8": to_int16,
    "i2": _same,
    "i4": _long,
    "u1": _unsigned,
}
"""By numpy's name of what the codec gives."""


def _av() -> Any:
    try:
        import av
    except ImportError as exc:
        raise ConfigurationError("source", "a container or a stream", INSTALL) from exc
    return av
