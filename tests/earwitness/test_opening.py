"""What a user names is opened as what it is; options that mean nothing to it are refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import soundfile

from earwitness.opening import Sound, SoundOptions, open_sound
from producers.sources.container import ContainerSource
from producers.sources.files import FileSource
from producers.sources.folder import WatchedFolder
from producers.sources.raw import RawSource
from producers.sources.stream import StreamSource
from schemas.errors import CaptureError, ConfigurationError
from tests.producers.conftest import counting
from tests.producers.media import tone, web, write_container


def opened(named: object, **options: Any) -> Sound:
    return open_sound(str(named), SoundOptions(**options), Event())


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    file = tmp_path / "a.wav"
    soundfile.write(file, counting(1000), 16_000)
    return file


def test_files_and_folders_are_recordings(wav: Path, tmp_path: Path) -> None:
    write_container(tmp_path / "b.mp4", tone(0.5), "aac")
    one, both = opened(wav), opened(tmp_path, fast=True, repeat=False)
    assert isinstance(one, list)
    assert isinstance(both, list)
    assert [type(source) for source in one] == [FileSource]
    assert [type(source) for source in both] == [FileSource, ContainerSource]


def test_a_dash_and_a_named_pipe_are_raw_samples(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(opened("-", rate=8000, channels=2, sample_format="f32le"), RawSource)
    assert isinstance(opened(tmp_path / "pipe"), RawSource)


def test_a_folder_that_is_watched(tmp_path: Path) -> None:
    assert isinstance(opened(tmp_path, watch=True, new_only=True), WatchedFolder)


def test_addresses_are_streams_unless_what_is_there_has_an_end(tmp_path: Path) -> None:
    assert isinstance(opened("rtsp://127.0.0.1:9/a", transport="udp", keep_trying=True), StreamSource)
    with web() as site:
        file = write_container(tmp_path / "a.mp3", tone(5.0), "libmp3lame")
        site.files["a.mp3"] = site.radio = file.read_bytes()
        recording, stream = opened(f"{site.url}/a.mp3"), opened(f"{site.url}/radio")
        assert isinstance(recording, list)
        assert isinstance(recording[0], ContainerSource)
        assert isinstance(stream, StreamSource)
        assert stream._first is not None
        stream._first.close()


@pytest.mark.parametrize(
    ("named", "options", "message"),
    [
        ("a.wav", {"rate": 8000}, "--rate is 8000; accepted: nothing: it means nothing to a file"),
        ("a.wav", {"sample_format": "s16le"}, "--sample-format is 's16le'"),
        ("a.wav", {"keep_trying": True}, "--keep-trying is True"),
        ("a.wav", {"watch": True}, "--watch is 'a.wav'; accepted: a folder that exists"),
        ("a.wav", {"new_only": True}, "--new-only is True; accepted: with --watch only"),
        (".", {"watch": True, "repeat": True}, "--repeat is True"),
        ("-", {"fast": True}, "--fast is True; accepted: nothing: it means nothing to raw samples"),
        ("-", {"repeat": True}, "--repeat is True"),
        ("-", {"transport": "tcp"}, "--transport is 'tcp'"),
        ("-", {"sample_format": "u8"}, "--sample-format is 'u8'; accepted: s16le, f32le"),
        ("-", {"rate": 0}, "rate is 0; accepted: 1000 to 384000"),
        ("-", {"channels": 17}, "channels is 17; accepted: 1 to 16"),
        ("mic", {"fast": True}, "--fast is True; accepted: nothing: it means nothing to a microphone"),
        ("mic:USB", {"transport": "tcp"}, "--transport is 'tcp'"),
        ("rtsp://h/a", {"rate": 1}, "--rate is 1; accepted: nothing: it means nothing to a stream"),
        ("rtsp://h/a", {"fast": True}, "--fast is True"),
        ("rtsp://h/a", {"transport": "http"}, "--transport is 'http'; accepted: tcp, udp"),
        ("http://h/a", {"transport": "tcp"}, "--transport is 'tcp'"),
    ],
)
def test_options_that_mean_nothing_are_refused(named: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        opened(named, **options)
    assert str(error.value).startswith(message)


def test_what_is_not_there_is_an_error() -> None:
    with pytest.raises(CaptureError, match="there is no such file or folder"):
        opened("none.wav")


@pytest.mark.parametrize("options", [{}, {"watch": True}])
def test_an_address_of_an_unknown_kind_is_refused_without_its_secrets(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as error:
        opened("rtmps://kate:secret@host/a", **options)
    assert "secret" not in str(error.value)
    assert "rtmps://***@host/a" in str(error.value)
    assert options or "rtsp://, " in str(error.value)


def test_the_second_signal_ends_a_program_that_does_not_stop() -> None:
    program = """
from earwitness.cli.base import stop_on_signals
stop = stop_on_signals()
print("ready", flush=True)
stop.wait()
print("told", flush=True)
while True:
    stop.clear()
    stop.wait()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        assert running.stdout.readline() == "told\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(30.0) == -signal.SIGTERM
