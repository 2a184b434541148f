"""The callback's path, called as PortAudio calls it; and PortAudio itself, where it is on this machine."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from producers.ring import SampleRing
from producers.source import Arrival, Loss
from producers.sources.again import Again
from producers.sources.microphone import Microphone, MicrophoneSettings, RingReader, RingWriter
from schemas.errors import ConfigurationError
from tests.producers.conftest import ManualClock, counting
from tests.producers.test_copies import CallingDevice, Status, Time

RATE_HZ = 16_000
# PortAudio aborts where ALSA has no default device.
ALSA = """
pcm.nothing {{ type null }}
pcm.!default {{ type null }}
pcm.recorded {{
    type file
    slave.pcm nothing
    file /dev/null
    infile {file}
    format raw
    hint {{ show on description "A recording" }}
}}
"""
FOR_PORTAUDIO = "PortAudio is not on this machine: apt-get install libportaudio2, or `make environment`"


@dataclass
class Rig:
    """A ring with a callback at one end and a reader at the other."""

    clock: ManualClock
    capacity: int = RATE_HZ
    device: CallingDevice = field(default_factory=CallingDevice)

    def __post_init__(self) -> None:
        self.ring = SampleRing(self.capacity, 1, RATE_HZ)
        self.callback = RingWriter(self.ring, 1, RATE_HZ, self.clock)
        self.reader = RingReader(self.device, self.ring, RATE_HZ, self.clock)

    def call(self, samples: int, time: Time | None = None, overflow: bool = False) -> None:
        """Call back with a buffer, when its last sample has just been read."""
        self.clock.now_us += 1_000_000 * samples // RATE_HZ
        data = memoryview(counting(samples).tobytes())
        self.callback(data, samples, time or Time(), Status(overflow))

    def all(self) -> list[Arrival]:
        """End the device, and copy all that came."""
        self.device.active = False
        return [
            Arrival(a.block.copy(), a.sample_rate_hz, a.captured_at_us, a.lost)
            for a in self.reader.arrivals(lambda _: 320, Event())
        ]


def test_captured_is_when_the_converter_read_the_last_sample(clock: ManualClock) -> None:
    rig = Rig(clock)
    rig.call(320, Time(inputBufferAdcTime=5.0, currentTime=5.050))  # began 50 ms ago, lasted 20
    (arrival,) = rig.all()
    assert arrival.captured_at_us == pytest.approx(clock.wall_us() - 30_000, abs=1)


@pytest.mark.parametrize("time", [Time(0.0, 5.0), Time(5.0, 4.0), Time(5.0, 500.0), Time(5.0, 5.001)])
def test_a_device_whose_times_make_no_sense_is_dated_by_its_callback(clock: ManualClock, time: Time) -> None:
    rig = Rig(clock)
    rig.call(320, time)
    (arrival,) = rig.all()
    assert arrival.captured_at_us == clock.wall_us()


def test_an_overflow_of_the_device_is_a_loss_that_nobody_counted_except_at_its_start(
    clock: ManualClock,
) -> None:
    rig = Rig(clock)
    rig.call(320, overflow=True)
    rig.call(320, overflow=True)
    assert [arrival.lost for arrival in rig.all()] == [
        None,
        Loss(None, "the device's own buffer ran over"),
    ]


def test_a_full_ring_is_a_loss_with_its_size_where_it_was(clock: ManualClock) -> None:
    rig = Rig(clock, capacity=700)
    for _ in range(4):
        rig.call(320)
    arrivals = rig.all()
    assert [len(arrival.block) for arrival in arrivals] == [320, 320, 0]
    assert arrivals[-1].lost == Loss(640, "the ring was full: this program did not keep up with the device")


def test_a_device_that_is_stopped_gives_all_it_has_once(clock: ManualClock) -> None:
    rig, stop, heard = Rig(clock), Event(), []
    for _ in range(5):
        rig.call(300)
    for arrival in rig.reader.arrivals(lambda _: 320, stop):
        heard.append(arrival.block.copy())
        stop.set()
    assert sum(map(len, heard)) == 1500
    assert np.array_equal(np.concatenate(heard), np.concatenate([counting(300)] * 5))
    assert not rig.device.active


def test_a_device_that_is_open_and_gives_nothing_is_taken_for_gone(clock: ManualClock) -> None:
    class Impatient(ManualClock):
        """A second passes each time somebody looks."""

        def monotonic_us(self) -> int:
            self.now_us += 1_000_000
            return self.now_us

    rig = Rig(Impatient())
    assert list(rig.reader.arrivals(lambda _: 320, Event())) == []
    assert not rig.device.active


def test_callbacks_in_bursts_without_times_are_dated_evenly_and_never_backwards(clock: ManualClock) -> None:
    rig, heard = Rig(clock, capacity=10 * RATE_HZ), list[Arrival]()
    data = memoryview(counting(320).tobytes())
    for _ in range(8):
        clock.now_us += 800_000
        for _ in range(40):
            rig.callback(data, 320, Time(), Status())
        heard += rig.reader.ready(lambda _: 320, Event())
    times_us = [arrival.captured_at_us for arrival in heard]
    steps_us = np.diff(times_us)
    assert len(times_us) == 320
    assert steps_us.min() >= 0
    assert steps_us.max() <= 20_000
    assert times_us[-1] == clock.wall_us()


class PortAudioError(Exception):
    """What a device that is not there, or a sound server that went away, raises."""


@dataclass
class FakeStream:
    """A device that calls back once, as it starts, and has stopped when somebody looks."""

    callback: Callable[..., None]
    blocks: int
    breaks: bool

    @property
    def active(self) -> bool:
        if self.breaks:
            raise PortAudioError("the server went away")
        return False

    def start(self) -> None:
        for _ in range(self.blocks):
            self.callback(memoryview(counting(320).tobytes()), 320, Time(), Status())

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class FakePortAudio:
    """Offers what is used of sounddevice.

    `openings`: by number of the attempt, what happens then; it returns how many blocks the device gives, or
    None where it is not there. A device that came later is in no list before the next one is made.
    """

    openings: list[Callable[[], int | None]]
    breaks: bool = False
    refuses_lists: int = 0
    attempts: int = 0
    lists: int = 1
    running: bool = True
    PortAudioError: type[Exception] = PortAudioError

    def _terminate(self) -> None:
        if not self.running:
            raise PortAudioError("PortAudio not initialized")
        self.running = False

    def _initialize(self) -> None:
        if self.refuses_lists:
            self.refuses_lists -= 1
            raise PortAudioError("connection refused")
        self.running, self.lists = True, self.lists + 1

    def query_devices(self, *_: Any) -> Any:
        raise PortAudioError("no such device")

    def RawInputStream(self, *_: Any, callback: Callable[..., None], **__: Any) -> FakeStream:  # noqa: N802
        self.attempts += 1
        blocks = self.openings[min(self.attempts, len(self.openings)) - 1]()
        if blocks is None or not self.running:
            raise ValueError("No input device matching 'USB'")
        return FakeStream(callback, blocks, self.breaks)


def microphone(portaudio: FakePortAudio, clock: ManualClock) -> Microphone:
    again = Again(first_attempts=None, pause_s=0.001, longest_pause_s=0.002)
    return Microphone(MicrophoneSettings("USB", again=again), clock, portaudio)


def listen(portaudio: FakePortAudio, clock: ManualClock, stop: Event) -> list[Arrival]:
    return list(microphone(portaudio, clock).arrivals(lambda _: 320, stop))


def test_a_microphone_that_is_plugged_in_later_is_found_by_a_new_list(clock: ManualClock) -> None:
    stop = Event()

    def plugged_in() -> int | None:
        if portaudio.lists < 3:
            return None
        stop.set()
        return 1

    portaudio = FakePortAudio([plugged_in])
    assert [len(arrival.block) for arrival in listen(portaudio, clock, stop)] == [320]
    assert portaudio.attempts == 3


def test_a_sound_server_that_restarts_is_waited_for(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    stop = Event()

    def last() -> int:
        stop.set()
        return 1

    portaudio = FakePortAudio([lambda: 1, last], breaks=True, refuses_lists=3)
    assert [len(arrival.block) for arrival in listen(portaudio, clock, stop)] == [320, 320]
    assert "connection refused" in caplog.text
    assert "mic:USB: the server went away" in caplog.text


def test_an_outage_is_counted_whole_across_an_opening_that_gave_nothing(clock: ManualClock) -> None:
    stop = Event()

    def after_a_minute(blocks: int) -> int:
        clock.now_us += 60_000_000
        return blocks

    def last() -> int:
        stop.set()
        return after_a_minute(1)

    portaudio = FakePortAudio([lambda: 1, lambda: after_a_minute(0), last])
    lost = [arrival.lost for arrival in listen(portaudio, clock, stop)]
    assert lost == [None, Loss(120 * RATE_HZ, "mic:USB was gone for 120.0 s")]


@pytest.mark.parametrize("gone", [None, 0])
def test_a_stop_while_it_is_gone_says_what_is_missing(clock: ManualClock, gone: int | None) -> None:
    stop = Event()

    def stopped() -> int | None:
        clock.now_us += 60_000_000
        stop.set()
        return gone

    first, last = listen(FakePortAudio([lambda: 1, stopped]), clock, stop)
    assert (len(first.block), first.lost) == (320, None)
    assert (last.block.shape, last.lost) == ((0, 1), Loss(60 * RATE_HZ, "mic:USB was gone for 60.0 s"))


@pytest.mark.parametrize(("rate_hz", "channels"), [(10, 1), (16_000, 0), (16_000, 17)])
def test_a_microphone_of_no_sensible_format_is_refused(rate_hz: int, channels: int) -> None:
    with pytest.raises(ConfigurationError, match=r"rate|channels"):
        MicrophoneSettings(sample_rate_hz=rate_hz, channels=channels)


PROGRAM = """
import sys, threading
from producers.live import LiveCapture
from producers.sources.microphone import Microphone, MicrophoneSettings, devices

class Sink:
    frames, enough = [], threading.Event()
    def publish(self, sensor, frame):
        self.frames.append(frame)
        if len(self.frames) == 200:
            self.enough.set()
    def partition_count(self):
        return 1

assert any(name.startswith("recorded") for _, name, _, _ in devices()), devices()
done = LiveCapture("roof", Sink()).run(Microphone(MicrophoneSettings("recorded")), Sink.enough)
first = [frame for frame in Sink.frames if frame.epoch == Sink.frames[0].epoch]
sys.stdout.buffer.write(b"".join(frame.data for frame in first))
assert done.samples == sum(frame.samples for frame in Sink.frames), done
"""


def need_portaudio() -> None:
    """Skip where PortAudio cannot be loaded."""
    try:
        importlib.import_module("sounddevice")
    except (ImportError, OSError):
        pytest.skip(FOR_PORTAUDIO)


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, bytes]:
    """An ALSA configuration with one device, which plays a file as fast as it is read."""
    need_portaudio()
    sound = counting(60 * RATE_HZ).tobytes()
    file, config = tmp_path / "sound.raw", tmp_path / "asound.conf"
    file.write_bytes(sound)
    config.write_text(ALSA.format(file=file), "utf-8")
    return config, sound


def test_portaudio_itself_calls_back_and_every_sample_is_published(recorded: tuple[Path, bytes]) -> None:
    config, sound = recorded
    told = {**os.environ, "ALSA_CONFIG_PATH": str(config)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=told, capture_output=True, timeout=60)
    if b"AssertionError: []" in done.stderr:
        pytest.skip("this PortAudio was built without ALSA")
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout) >= 2 * 320
    assert done.stdout == sound[: len(done.stdout)]


def test_without_portaudio_it_says_what_to_install(tmp_path: Path) -> None:
    # A sounddevice that fails to load as it does where the library is missing.
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')", "utf-8")
    program = "from producers.sources.microphone import Microphone; Microphone()"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    told = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], env=told, capture_output=True, timeout=60)
    said = done.stderr.decode().splitlines()[-1]
    assert "PortAudio library not found" in said
    assert "apt-get install libportaudio2" in said
