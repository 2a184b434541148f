"""Each recording of a watched folder is given once, when it is complete, in the order of arrival."""

import os
import shutil
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest
import soundfile

from producers.sources.container import ContainerSource
from producers.sources.files import FileSource
from producers.sources.folder import WatchedFolder, WatchSettings, open_file, recordings_in
from schemas.errors import CaptureError, ConfigurationError
from tests.producers.conftest import DEADLINE_S, counting
from tests.producers.media import tone, write_container

SETTLE_S = 0.5


class Watching:
    """A folder that is watched in a thread of its own."""

    def __init__(self, folder: Path, new_only: bool = False, settle_s: float = SETTLE_S) -> None:
        self._watched = WatchedFolder(folder, WatchSettings(settle_s, new_only))
        self._stop, self._found = Event(), Queue[Path]()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def next(self) -> str:
        """Return the name of the next recording."""
        return self._found.get(timeout=DEADLINE_S).name

    @property
    def again(self) -> int:
        return self._watched.again

    def rest(self) -> list[str]:
        """Stop, and return what was given since."""
        self._stop.set()
        self._thread.join(DEADLINE_S)
        return [self._found.get().name for _ in range(self._found.qsize())]

    def _run(self) -> None:
        for file in self._watched.files(self._stop):
            self._found.put(file)


def wav(file: Path, samples: int = 1000) -> Path:
    soundfile.write(file, counting(samples), 16_000)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    watched = tmp_path / "watched"
    watched.mkdir()
    return watched


def test_what_is_there_comes_first_and_what_arrives_follows_once_each(folder: Path) -> None:
    wav(folder / "b.wav")
    watching = Watching(folder)
    assert watching.next() == "b.wav"
    wav(folder / "a.wav")
    assert watching.next() == "a.wav"
    (folder / "deeper").mkdir()
    wav(folder / "deeper" / "c.wav")
    assert watching.next() == "c.wav"
    assert watching.rest() == []


def test_with_new_only_what_is_there_is_left(folder: Path) -> None:
    wav(folder / "old.wav")
    watching = Watching(folder, new_only=True)
    wav(folder / "first.wav")
    assert watching.next() == "first.wav"
    assert watching.rest() == []


def test_a_file_that_grows_is_given_when_it_is_complete(folder: Path, tmp_path: Path) -> None:
    whole = wav(tmp_path / "whole.wav", 50_000).read_bytes()
    watching = Watching(folder)
    with (folder / "a.wav").open("wb", buffering=0) as out:
        for start in range(0, len(whole), 10_000):
            out.write(whole[start : start + 10_000])
            Event().wait(SETTLE_S / 3)  # a writer that is slower than the watch
    assert watching.next() == "a.wav"
    assert (folder / "a.wav").stat().st_size == len(whole)
    assert watching.rest() == []


def test_partial_hidden_and_other_files_are_left_until_they_are_renamed(folder: Path, tmp_path: Path) -> None:
    watching = Watching(folder)
    sound = wav(tmp_path / "x.wav")
    for name in (".hidden.wav", "a.wav.part", "b.wav.tmp", "notes.txt", "empty.wav"):
        shutil.copy(sound, folder / name)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "a.wav.part").rename(folder / "a.wav")
    assert watching.next() == "a.wav"
    assert watching.rest() == []


def test_a_recording_that_is_written_anew_is_given_again_said_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wav(folder / "a.wav")
    watching = Watching(folder)
    assert watching.next() == "a.wav"
    assert watching.again == 0
    wav(folder / "a.wav", 2000)
    assert watching.next() == "a.wav"
    assert watching.rest() == []
    assert watching.again == 1
    assert "a.wav: it was written to after it was captured: all its sound is captured again" in caplog.text


@pytest.mark.parametrize("declared", [0, 0xFFFF_FFFF, 2_000_000])
def test_a_wav_whose_header_is_not_that_of_a_whole_file_waits_until_it_is(
    folder: Path, tmp_path: Path, declared: int
) -> None:
    whole = wav(tmp_path / "whole.wav").read_bytes()
    unfinished = folder / "a.wav"
    unfinished.write_bytes(whole[:4] + declared.to_bytes(4, "little") + whole[8:])
    watching = Watching(folder)
    wav(folder / "b.wav")  # it came later, and is complete before
    assert watching.next() == "b.wav"
    unfinished.write_bytes(whole)
    assert watching.next() == "a.wav"
    assert watching.rest() == []
    assert watching.again == 0


def test_a_wav_that_stays_unfinished_is_given_in_the_end_and_its_wait_is_said(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a.wav").write_bytes(wav(tmp_path / "whole.wav").read_bytes()[:1000])
    watching = Watching(folder, settle_s=0.1)
    assert watching.next() == "a.wav"
    assert watching.rest() == []
    assert "a.wav: its header is not that of a whole file" in caplog.text


def test_a_name_that_is_not_utf_8_ends_no_watch(folder: Path, tmp_path: Path) -> None:
    whole = wav(tmp_path / "whole.wav").read_bytes()
    watching = Watching(folder)
    (folder / os.fsdecode(b"\xff.wav")).write_bytes(whole)
    assert watching.next() == os.fsdecode(b"\xff.wav")
    wav(folder / "b.wav")
    assert watching.next() == "b.wav"
    assert watching.rest() == []


def test_a_recording_whose_name_is_not_utf_8_is_played_or_refused_by_that_name(folder: Path) -> None:
    file = folder / os.fsdecode(b"\xff.wav")
    file.write_bytes(wav(folder / "a.wav").read_bytes())
    with pytest.raises(CaptureError, match="its name is not UTF-8"):
        open_file(file)


@pytest.mark.parametrize("settle_s", [0.0, -1.0, 3601.0, float("nan")])
def test_a_settle_time_of_no_sense_is_refused(settle_s: float) -> None:
    with pytest.raises(ConfigurationError, match=r"--settle is .*; accepted: 0.1 to 3600 seconds"):
        WatchSettings(settle_s)


def test_a_recorder_that_flushes_every_two_seconds_is_waited_for_without_being_told() -> None:
    assert WatchSettings().settle_s > 2.0


def test_several_come_in_the_order_in_which_they_were_written(folder: Path) -> None:
    for name in ("z.wav", "m.wav", "a.wav"):
        wav(folder / name)
    watching = Watching(folder)
    assert [watching.next() for _ in range(3)] == ["z.wav", "m.wav", "a.wav"]
    watching.rest()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no such folder"):
        WatchedFolder(tmp_path / "none")


def test_each_file_is_opened_by_the_library_that_reads_it(folder: Path) -> None:
    assert isinstance(open_file(wav(folder / "a.wav")), FileSource)
    assert isinstance(open_file(write_container(folder / "a.mp4", tone(0.5), "aac")), ContainerSource)
    assert [file.name for file in recordings_in(folder)] == ["a.mp4", "a.wav"]
    with pytest.raises(CaptureError, match="there is no such file"):
        open_file(folder / "none.mp4")
