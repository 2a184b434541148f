"""Whoever watches a capture sees how loud it is, what is stored and what is lost."""

import logging
import sys
from threading import Event
from typing import TextIO

import pytest

from earwitness.progress import Reading, level_bar, progress
from producers.meter import FLOOR_DBFS, Level
from producers.outlet import Played
from producers.publisher import Counts

GOOD = Reading(Level(320, -18.24, -3.14, 0), Played(9602, 3_072_640, epochs=1), Counts(9600, 0, 2, 0))
BAD = Reading(
    Level(320, -1.0, 0.0, 17),
    Played(10, 3200, refused=2, epochs=3, losses=2, lost_samples=640),
    Counts(5, 3, 0, 2),
)


def test_a_line_says_what_matters() -> None:
    assert GOOD.as_line("hall", 192.9) == (
        "hall  00:03:12  -18.2 dB  peak -3.1  9600 stored  2 waiting  1 epoch"
    )


def test_what_clips_and_what_is_lost_stands_out() -> None:
    line = BAD.as_line("hall", 3600.0)
    assert "01:00:00" in line
    assert "CLIPS 17x" in line
    assert "5 LOST" in line
    assert "640 samples LOST" in line
    assert "3 epochs" in line


def test_silence_is_told_from_no_sound_at_all() -> None:
    silence = Reading(Level(320, FLOOR_DBFS, FLOOR_DBFS, 0), Played(), Counts(0, 0, 0, 0))
    assert "digital silence" in silence.as_line("hall", 0.0)
    assert "no sound" in Reading(Level(), Played(), Counts(0, 0, 0, 0)).as_line("hall", 0.0)


@pytest.mark.parametrize(("dbfs", "filled"), [(0.0, 8), (-60.0, 0), (-96.0, 0), (-30.0, 4), (3.0, 8)])
def test_the_bar_is_as_long_as_the_sound_is_loud(dbfs: float, filled: int) -> None:
    bar = level_bar(dbfs, cells=8)
    assert len(bar) == 8
    assert bar.count("█") == filled


def test_on_a_terminal_the_line_is_alive_and_the_log_stands_above_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal:
        """Standard error, as a terminal."""

        def __init__(self, out: TextIO) -> None:
            self._out = out

        def isatty(self) -> bool:
            return True

        def __getattr__(self, name: str) -> object:
            return getattr(self._out, name)

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    logging.basicConfig(stream=sys.stderr, level="INFO", force=True)
    read = Event()

    def reading() -> Reading:
        if read.is_set():
            logging.getLogger("producers").warning("something happened")
            again.set()
        read.set()
        return GOOD

    again = Event()
    with progress("hall", reading, verbose=False):
        assert again.wait(10.0)
    shown = capsys.readouterr().err
    assert "9600 stored" in shown
    assert "▕" in shown
    assert "something happened" in shown


def test_without_a_terminal_nothing_is_shown_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    def never() -> Reading:
        raise AssertionError("nobody asked")

    with progress("hall", never, verbose=False):
        pass
    assert capsys.readouterr().err == ""
