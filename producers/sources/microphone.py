"""A microphone, through PortAudio -> arrivals, each sample copied once on its way from callback to encoder.

    PortAudio's thread ──callback──► SampleRing ──views──► LiveCapture

The callback does nothing but copy and note the time. A device that stops, or is unplugged, is opened again
until it is back; what was lost meanwhile is said, and a new epoch begins.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any, Protocol

import numpy as np

from producers.arrival import ArrivalClock, TimingSettings, WallTime
from producers.clock import Clock, SystemClock
from producers.framer import duration_us
from producers.ring import SampleRing
from producers.source import Arrival, Arrivals, Loss, Room
from producers.sources.again import Again, keep_trying
from schemas.errors import CaptureError, ConfigurationError
from schemas.frame import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ

_LOG = logging.getLogger(__name__)

INSTALL = (
    "PortAudio and sounddevice: `uv sync --extra capture`, and on Debian or Ubuntu "
    "`apt-get install libportaudio2`"
)
POLL_S, QUIET_S = 0.1, 5.0
"""A device that is open and gives nothing for so long is taken for gone."""
MAX_LATENCY_S = 5.0
"""Where a device claims that sound is older than this, its clock is not believed."""
_TIMING = TimingSettings(early_ms=1000 * MAX_LATENCY_S, max_step_ms=1000 * MAX_LATENCY_S)
"""A device may call back seldom, with much at once: that is never a recording that runs ahead of time."""


@dataclass(frozen=True, slots=True)
class MicrophoneSettings:
    """`device`: a part of its name, or its number; None for the system's default. `buffer_s`: the ring's."""

    device: str | None = None
    sample_rate_hz: int = 16_000
    channels: int = 1
    buffer_s: float = 10.0
    again: Again = field(default_factory=Again)

    def __post_init__(self) -> None:
        if not MIN_SAMPLE_RATE_HZ <= self.sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
            accepted = f"{MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ}"
            raise ConfigurationError("rate", self.sample_rate_hz, accepted)
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ConfigurationError("channels", self.channels, f"1 to {MAX_CHANNELS}")


class RingWriter:
    """The callback that PortAudio calls: copies a block into the ring, with the time of its last sample."""

    def __init__(self, ring: SampleRing, channels: int, sample_rate_hz: int, clock: Clock) -> None:
        self._ring, self._clock, self._channels = ring, clock, channels
        self._rate_hz, self._first = sample_rate_hz, True
        self._counted, self._counting = ArrivalClock(_TIMING), False

    def __call__(self, data: Any, frames: int, time: Any, status: Any) -> None:
        """Take a buffer of `frames` times `channels` int16."""
        now_us = self._clock.monotonic_us()
        if status.input_overflow and not self._first:
            self._ring.lose()
            self._counting = False
        self._first = False
        block = np.frombuffer(data, np.int16).reshape(frames, self._channels)
        self._ring.write(block, self._captured_us(time, frames, now_us))

    def _captured_us(self, time: Any, frames: int, now_us: int) -> int:
        age_us = self._age_us(time, frames)
        if age_us is None:
            return self._by_counting(frames, now_us)
        self._counting = False
        return now_us - age_us

    def _by_counting(self, frames: int, now_us: int) -> int:
        """Return when the last sample was read by counting: callbacks may come in bursts, sound does not."""
        late = self._counting and self._counted.late_us(frames, now_us) > 1e6 * _TIMING.max_late_s
        if late or not self._counting:
            self._counted.start(now_us - duration_us(frames, self._rate_hz), self._rate_hz)
            self._counting = True
        return min(now_us, self._counted.advance(frames, now_us))

    def _age_us(self, time: Any, frames: int) -> int | None:
        """Return how long ago the block's last sample was read; None where the device does not say."""
        began_s, now_s = time.inputBufferAdcTime, time.currentTime
        if not began_s or not 0.0 <= now_s - began_s <= MAX_LATENCY_S:
            return None
        age_us = int(1e6 * (now_s - began_s)) - duration_us(frames, self._rate_hz)
        return max(0, age_us)


class Microphone:
    """A device that PortAudio knows. `portaudio`: the module `sounddevice`, or what offers the same.

    Raises:
        ConfigurationError: PortAudio or sounddevice is missing.

    """

    def __init__(
        self, settings: MicrophoneSettings | None = None, clock: Clock | None = None, portaudio: Any = None
    ) -> None:
        self._settings, self._clock = settings or MicrophoneSettings(), clock or SystemClock()
        self._portaudio = portaudio or _portaudio()
        self._tried = False

    @property
    def name(self) -> str:
        """The device, as the user named it."""
        return "mic" if self._settings.device is None else f"mic:{self._settings.device}"

    def arrivals(self, room: Room, stop: Event) -> Arrivals:
        """Give sound as it comes, until `stop` is set; a device that stopped is opened again.

        A stop while it is gone gives one last arrival without sound, which says what is missing.

        Raises:
            CaptureError: the device cannot be opened at all.

        """
        last_us: int | None = None
        for reader in keep_trying(self._open, self._settings.again, stop):
            try:
                yield from reader.arrivals(room, stop, self._missing(last_us))
            finally:
                reader.device.close()
            gave = reader.gave_us is not None
            last_us = reader.gave_us if gave else last_us
            if not stop.is_set():
                _LOG.error("%s: the device stopped: opening it again", self.name)
            elif gave:
                return
        if last_us is not None:
            yield self._nothing(last_us)

    def _nothing(self, last_us: int) -> Arrival:
        """Return an arrival without sound: a device that was gone until the end."""
        block = np.empty((0, self._settings.channels), np.int16)
        return Arrival(block, self._settings.sample_rate_hz, self._clock.wall_us(), self._missing(last_us))

    def _missing(self, since_us: int | None) -> Loss | None:
        if since_us is None:
            return None
        gone_us = self._clock.monotonic_us() - since_us
        samples = gone_us * self._settings.sample_rate_hz // 1_000_000
        return Loss(samples, f"{self.name} was gone for {gone_us / 1e6:.1f} s")

    def _open(self) -> "RingReader":
        settings, portaudio = self._settings, self._portaudio
        rate_hz, channels = settings.sample_rate_hz, settings.channels
        ring = SampleRing(round(settings.buffer_s * rate_hz), channels, rate_hz)
        writer = RingWriter(ring, channels, rate_hz, self._clock)
        try:
            self._list_anew()
            stream = portaudio.RawInputStream(
                rate_hz, device=_device(settings.device), channels=channels, dtype="int16", callback=writer
            )
            with ExitStack() as undo:
                undo.callback(stream.close)
                stream.start()
                undo.pop_all()
        except (portaudio.PortAudioError, ValueError) as exc:
            raise CaptureError(self.name, f"{_reason(exc)}{self._usual_rate()}") from exc
        _LOG.info("%s: %s Hz, %s channels", self.name, rate_hz, channels)
        return RingReader(_Open(stream, portaudio.PortAudioError, self.name), ring, rate_hz, self._clock)

    def _list_anew(self) -> None:
        """Have PortAudio look for devices, as it did when it was loaded: it finds none that came later."""
        if not self._tried:
            self._tried = True
            return
        try:
            self._portaudio._terminate()  # noqa: SLF001
        except self._portaudio.PortAudioError as exc:
            # So it is where it was ended before and could not begin again.
            _LOG.debug("%s: %s", self.name, _reason(exc))
        self._portaudio._initialize()  # noqa: SLF001

    def _usual_rate(self) -> str:
        try:
            found = self._portaudio.query_devices(_device(self._settings.device), "input")
        except (self._portaudio.PortAudioError, ValueError):
            return ""
        return f"; its usual rate is {found['default_samplerate']:.0f} Hz (--rate)"


class Device(Protocol):
    """What is needed of PortAudio's stream."""

    @property
    def active(self) -> bool:
        """Whether its callback is being called."""
        ...

    def abort(self) -> None:
        """Stop calling it."""
        ...

    def close(self) -> None:
        """Give the device back."""
        ...


class _Open:
    """A stream of PortAudio's; one whose sound server went away has stopped, and is no error."""

    def __init__(self, stream: Any, error: type[Exception], name: str) -> None:
        self._stream, self._error, self._name = stream, error, name

    @property
    def active(self) -> bool:
        try:
            return bool(self._stream.active)
        except self._error as exc:
            return self._say(exc)

    def abort(self) -> None:
        try:
            self._stream.abort()
        except self._error as exc:
            self._say(exc)

    def close(self) -> None:
        try:
            self._stream.close()
        except self._error as exc:
            self._say(exc)

    def _say(self, exc: Exception) -> bool:
        _LOG.warning("%s: %s", self._name, _reason(exc))
        return False


class RingReader:
    """Gives what a device's callback writes into a ring, in whole frames where it can be."""

    def __init__(self, device: Device, ring: SampleRing, sample_rate_hz: int, clock: Clock) -> None:
        self.device = device
        self._ring, self._rate_hz, self._clock = ring, sample_rate_hz, clock
        self._wall = WallTime(clock)
        self.heard_us = clock.monotonic_us()
        """When something came last, or it was opened."""
        self.gave_us: int | None = None
        """When sound was given last; None before any."""
        self._captured_us: int | None = None

    def arrivals(self, room: Room, stop: Event, lost: Loss | None = None) -> Arrivals:
        """Give sound until `stop` is set or the device gives no more; `lost` was so before the first."""
        while not stop.is_set() and self._runs():
            for arrival in self.ready(room, stop):
                yield replace(arrival, lost=arrival.lost or lost)
                lost = None
            self._wait()
        self.device.abort()
        for arrival in self.ready(room, Event(), rest=True):
            yield replace(arrival, lost=arrival.lost or lost)
            lost = None
        unsaid = _loss(*self._ring.unsaid())
        if unsaid is not None:
            nothing, now_us = self._ring.buffer[:0], self._clock.monotonic_us()
            yield Arrival(nothing, self._rate_hz, self._wall.at(now_us), unsaid)

    def ready(self, room: Room, stop: Event, rest: bool = False) -> Arrivals:
        """Give the whole frames that are there; with `rest`, also what is less than one."""
        while not stop.is_set() and (stretch := self._ring.read(room(self._rate_hz), rest)) is not None:
            self.heard_us = self.gave_us = self._clock.monotonic_us()
            lost = _loss(stretch.lost, stretch.uncounted)
            # What a burst begins with is dated back from its end, which may lie before the last of another.
            captured_us = max(stretch.captured_us, self._captured_us or stretch.captured_us)
            self._captured_us = captured_us
            yield Arrival(stretch.block, self._rate_hz, self._wall.at(captured_us), lost)
            self._ring.release(len(stretch.block))

    def _runs(self) -> bool:
        quiet_us = self._clock.monotonic_us() - self.heard_us
        return self.device.active and quiet_us <= 1e6 * QUIET_S

    def _wait(self) -> None:
        if self._ring.wait(POLL_S):
            self.heard_us = self._clock.monotonic_us()


def _loss(samples: int, uncounted: bool) -> Loss | None:
    if samples:
        return Loss(samples, "the ring was full: this program did not keep up with the device")
    return Loss(None, "the device's own buffer ran over") if uncounted else None


def devices() -> list[tuple[int, str, int, int]]:
    """List what can be captured: number, name with its system, channels, usual rate in Hz.

    Raises:
        ConfigurationError: PortAudio or sounddevice is missing.

    """
    portaudio = _portaudio()
    systems = [system["name"] for system in portaudio.query_hostapis()]
    return [
        (number, f"{found['name']} ({systems[found['hostapi']]})", found["max_input_channels"], rate)
        for number, found in enumerate(portaudio.query_devices())
        if found["max_input_channels"] and (rate := round(found["default_samplerate"]))
    ]


def _portaudio() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as exc:
        raise ConfigurationError("microphone", str(exc), INSTALL) from exc
    return sounddevice


def _device(named: str | None) -> int | str | None:
    return int(named) if named is not None and named.isdecimal() else named


def _reason(exc: Exception) -> str:
    return str(exc).strip() or type(exc).__name__
