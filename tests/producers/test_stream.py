"""A stream goes on after whatever happens to it, in a new epoch, and what is missing is counted."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import pytest

from producers.live import LiveCapture
from producers.outlet import Played
from producers.source import Loss
from producers.sources.again import Again, keep_trying
from producers.sources.stream import Connection, StreamSettings, StreamSource
from schemas.errors import CaptureError
from schemas.frame import AudioFrame
from tests.producers.conftest import DEADLINE_S
from tests.producers.media import RATE_HZ, Web, tone, web, write_container

QUICKLY = StreamSettings(again=Again(first_attempts=3, pause_s=0.05, longest_pause_s=0.2))


@dataclass
class Sink:
    """Keeps what is published, and says when there is enough of it."""

    frames: list[AudioFrame] = field(default_factory=list)
    epochs: list[bytes] = field(default_factory=list)
    came: Event = field(default_factory=Event)

    def publish(self, sensor: str, frame: AudioFrame) -> None:
        self.frames.append(frame)
        if frame.epoch not in self.epochs:
            self.epochs.append(frame.epoch)
        self.came.set()

    def publish_waiting(self, sensor: str, frame: AudioFrame, stop: Event | None = None) -> None:
        self.publish(sensor, frame)

    def partition_count(self) -> int | None:
        return 1

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until what is published is so."""
        while not condition():
            self.came.clear()
            assert condition() or self.came.wait(DEADLINE_S), "nothing came"


@dataclass
class Running:
    """A stream that is captured in a thread of its own."""

    url: str
    settings: StreamSettings = QUICKLY
    sink: Sink = field(default_factory=Sink)
    stop: Event = field(default_factory=Event)
    played: Played | None = None

    def __post_init__(self) -> None:
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> Played:
        self.stop.set()
        self._thread.join(DEADLINE_S)
        assert self.played is not None
        return self.played

    def _run(self) -> None:
        self.played = LiveCapture("radio", self.sink).run(StreamSource(self.url, self.settings), self.stop)


def radio(tmp_path: Path, site: Web) -> str:
    """Put an endless stream on the air."""
    # The encoder makes 64 kbit/s of this rate: the site sends as much as real time takes.
    file = write_container(tmp_path / "a.mp3", tone(10.0, 48_000), "libmp3lame", 48_000)
    site.radio = file.read_bytes()
    return f"{site.url}/radio"


def test_a_web_radio_that_hangs_up_goes_on_in_a_new_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The site sends a quarter of a second ahead: away for less than that, nothing is missing. It is away for
    # two pauses at least.
    away_for_longer = StreamSettings(again=Again(pause_s=0.5))
    with web() as site:
        running = Running(radio(tmp_path, site), away_for_longer)
        running.sink.wait_for(lambda: len(running.sink.frames) > 20)
        site.cut.set()
        first = running.sink.epochs[0]
        assert site.refused.wait(DEADLINE_S), "nobody tried again"
        site.cut.clear()
        running.sink.wait_for(lambda: len(running.sink.epochs) > 1)
        played = running.finish()
    assert (played.epochs, played.losses) == (2, 1)
    assert running.sink.epochs[1] > first
    assert played.lost_samples > 0
    assert "connecting again" in caplog.text
    assert "was away for" in caplog.text


def test_a_stop_while_it_is_away_says_what_is_missing(tmp_path: Path) -> None:
    with web() as site:
        running = Running(radio(tmp_path, site))
        running.sink.wait_for(lambda: len(running.sink.frames) > 20)
        site.cut.set()
        assert site.refused.wait(DEADLINE_S), "nobody tried again"
        played = running.finish()
    assert played.losses == 1
    assert played.lost_samples > 0


def test_an_address_that_never_worked_is_an_error_after_a_few_attempts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://kate:secret@127.0.0.1:{server.getsockname()[1]}/a"
    with pytest.raises(CaptureError, match=r"rtsp://\*\*\*@127.*refused") as error:
        list(StreamSource(url, QUICKLY).arrivals(lambda _: 320, Event()))
    assert "secret" not in str(error.value)


def test_a_stop_ends_the_attempts_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/a"
    stop = Event()
    for_ever = StreamSettings(again=Again(first_attempts=None, pause_s=60.0))
    result: list[list[object]] = []
    source = StreamSource(url, for_ever)
    thread = Thread(target=lambda: result.append(list(source.arrivals(lambda _: 320, stop))), daemon=True)
    thread.start()
    stop.set()
    thread.join(DEADLINE_S)
    assert result == [[]]


def test_a_server_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    with web() as site:
        site.files["nothing"] = b""
        with pytest.raises(CaptureError):
            Connection(f"{site.url}/nothing")


def test_a_recording_is_told_from_a_stream(tmp_path: Path) -> None:
    with web() as site:
        url = radio(tmp_path, site)
        site.files["talk.mp3"] = site.radio
        stream, recording = Connection(url), Connection(f"{site.url}/talk.mp3")
        assert (stream.is_recording, recording.is_recording) == (False, True)
        stream.close()
        recording.close()


@dataclass
class Stamped:
    """A decoded frame's time stamp and length."""

    pts: int | None
    samples: int = 320
    sample_rate: int = RATE_HZ
    time_base: Fraction = Fraction(1, RATE_HZ)


@pytest.mark.parametrize(
    ("stamps", "lost"),
    [
        ([0, 320, 640], [None, None, None]),
        ([0, 320 + 100, 640], [None, None, None]),  # jitter of the sender's clock
        ([0, 640], [None, Loss(320, "0.020 s of the stream never came")]),
        ([0, 16_320], [None, Loss(16_000, "1.000 s of the stream never came")]),
        ([16_000, 0], [None, Loss(0, "the stream's time stamps went back by 1.020 s")]),
        ([0, None, 5000], [None, None, None]),
    ],
)
def test_packets_that_never_came_are_seen_in_the_time_stamps(
    tmp_path: Path, stamps: list[int | None], lost: list[Loss | None]
) -> None:
    connection = Connection(str(write_container(tmp_path / "a.mkv", tone(0.1), "flac")))
    connection.close()
    found = []
    for pts in stamps:
        frame = Stamped(pts)
        found.append(connection._jump(frame))
        connection._count(frame)
    assert found == lost


def test_what_ends_at_once_is_opened_again_after_growing_pauses() -> None:
    stop, opened_s = Event(), []
    again = Again(pause_s=0.05, longest_pause_s=0.2)
    for _ in keep_trying(lambda: opened_s.append(time.monotonic()), again, stop):
        if len(opened_s) == 5:
            stop.set()
    pauses = [later - one for one, later in pairwise(opened_s)]
    assert all(pause >= least for pause, least in zip(pauses, [0.05, 0.1, 0.2, 0.2], strict=True))


def test_what_lasted_is_opened_again_after_a_short_pause() -> None:
    stop, opened_s = Event(), []
    again = Again(pause_s=0.05, longest_pause_s=60.0, settled_s=0.0)
    for _ in keep_trying(lambda: opened_s.append(time.monotonic()), again, stop):
        if len(opened_s) == 10:
            stop.set()
    assert opened_s[-1] - opened_s[0] < 9 * 0.1 + 5.0


@contextmanager
def without_length(content: bytes) -> Iterator[str]:
    """Serve a recording whose end is that of the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, suppress(OSError):
                        client.recv(65_536)
                        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: audio/aac\r\n\r\n" + content)

        Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.aac"
        server.shutdown(socket.SHUT_RDWR)


def test_a_recording_without_a_length_is_captured_again_without_haste(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_container(tmp_path / "a.aac", tone(3.0), "aac")
    with without_length(file.read_bytes()) as url:
        running = Running(url)
        running.sink.wait_for(lambda: len(running.sink.epochs) > 2)
        running.finish()
    times = [frame.captured_at_us for frame in running.sink.frames]
    assert all(one <= later for one, later in pairwise(times))
    assert times[-1] - times[0] > 5_000_000, "in real time"
    assert "a recording without a length? capturing it again" in caplog.text
