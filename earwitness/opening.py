"""What a user names -> what can be captured: recordings, a live source, or a folder that is watched.

kitchen.wav, recordings/      recordings, one after another     mic, mic:USB   a microphone
recordings/ with --watch      each as it arrives                -, a pipe      raw samples
https://host/talk.mp4         a recording, from its beginning   rtsp://, …     a stream, for ever
"""

import re
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeVar

from producers.source import LiveSource, Source
from producers.sources.again import Again, keep_trying
from producers.sources.container import SCHEMES, ContainerSource, is_url, without_secrets
from producers.sources.folder import WatchedFolder, WatchSettings, open_file, recordings_in
from producers.sources.microphone import Microphone, MicrophoneSettings
from producers.sources.raw import RawFormat, RawSource, SampleFormat, is_pipe
from producers.sources.stream import Connection, StreamSettings, StreamSource, Transport
from schemas.errors import ConfigurationError

Sound = list[Source] | LiveSource | WatchedFolder

T = TypeVar("T", SampleFormat, Transport)
_LIVE_ONLY = ("rate", "channels", "sample_format", "transport", "keep_trying")
_NEVER_ENDS = ("rtsp://", "rtsps://", "rtp://", "udp://", "srt://", "tcp://", "rtmp://")


@dataclass(frozen=True, slots=True)
class SoundOptions:
    """What a user says about a sound; None and False where nothing was said."""

    rate: int | None = None
    channels: int | None = None
    sample_format: str | None = None
    transport: str | None = None
    keep_trying: bool = False
    watch: bool = False
    new_only: bool = False
    fast: bool = False
    repeat: bool = False
    settle: float | None = None


def open_sound(named: str, options: SoundOptions, stop: Event) -> Sound:
    """Open what a user names.

    Raises:
        CaptureError: it is not there, or no sound.
        ConfigurationError: an option makes no sense with it, or a library that it needs is missing.

    """
    if options.watch or options.new_only or options.settle is not None:
        return _watched(named, options)
    if named == "mic" or named.startswith("mic:"):
        return _microphone(named, options)
    if named == "-" or is_pipe(Path(named)):
        return _raw(named, options)
    if is_url(named):
        return _url(named, options, stop)
    if re.match(r"[a-z][a-z0-9+.-]*://", named, re.IGNORECASE):
        accepted = ", ".join(f"{scheme}://" for scheme in sorted(SCHEMES))
        raise ConfigurationError("source", without_secrets(named), f"a path, mic, -, or {accepted}")
    _refuse(options, "a file or a folder", *_LIVE_ONLY)
    return [open_file(file) for file in recordings_in(Path(named))]


def _watched(named: str, options: SoundOptions) -> WatchedFolder:
    if not options.watch:
        key, value = ("--new-only", True) if options.new_only else ("--settle", options.settle)
        raise ConfigurationError(key, value, "with --watch only")
    if not Path(named).is_dir():
        raise ConfigurationError("--watch", without_secrets(named), "a folder that exists")
    _refuse(
        options, "a watched folder", "rate", "channels", "sample_format", "transport", "keep_trying", "repeat"
    )
    settle_s = WatchSettings().settle_s if options.settle is None else options.settle
    return WatchedFolder(Path(named), WatchSettings(settle_s, options.new_only))


def _microphone(named: str, options: SoundOptions) -> Microphone:
    _refuse(options, "a microphone", "sample_format", "transport", "fast", "repeat")
    device = named.partition(":")[2] or None
    rate_hz, channels = _rate_and_channels(options)
    return Microphone(MicrophoneSettings(device, rate_hz, channels, again=_again(options)))


def _raw(named: str, options: SoundOptions) -> RawSource:
    _refuse(options, "raw samples", "transport", "keep_trying", "fast", "repeat")
    form = _one_of(SampleFormat, "--sample-format", options.sample_format) or SampleFormat.S16LE
    rate_hz, channels = _rate_and_channels(options)
    return RawSource(RawFormat(rate_hz, channels, form), None if named == "-" else Path(named))


def _rate_and_channels(options: SoundOptions) -> tuple[int, int]:
    return (
        16_000 if options.rate is None else options.rate,
        1 if options.channels is None else options.channels,
    )


def _url(named: str, options: SoundOptions, stop: Event) -> Sound:
    _refuse(options, "a stream", "rate", "channels", "sample_format")
    if not named.lower().startswith("rtsp"):
        _refuse(options, "this stream", "transport")
    transport = _one_of(Transport, "--transport", options.transport) or Transport.TCP
    settings = StreamSettings(transport, _again(options))
    if named.lower().startswith(_NEVER_ENDS):
        return _stream(named, settings, options, None)
    first = next(keep_trying(lambda: Connection(named, transport), settings.again, stop), None)
    if first is not None and first.is_recording:
        first.close()
        return [ContainerSource(named)]
    return _stream(named, settings, options, first)


def _stream(
    named: str, settings: StreamSettings, options: SoundOptions, first: Connection | None
) -> StreamSource:
    _refuse(options, "a stream that does not end", "fast", "repeat")
    return StreamSource(named, settings, first)


def _again(options: SoundOptions) -> Again:
    return Again(first_attempts=None) if options.keep_trying else Again()


def _one_of(kind: type[T], key: str, value: str | None) -> T | None:
    if value is None:
        return None
    if value not in set(kind):
        raise ConfigurationError(key, value, ", ".join(kind))
    return kind(value)


def _refuse(options: SoundOptions, what: str, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value is not False:
            raise ConfigurationError(
                f"--{name.replace('_', '-')}", value, f"nothing: it means nothing to {what}"
            )
