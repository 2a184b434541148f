"""A capture that runs -> what whoever watches it sees: one live line on a terminal, else a line now and then.

hall  00:03:12  ▕███████▊  ▏ -18.2 dB  peak -3.1  9600 stored  2 waiting  1 epoch
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic

from producers.meter import FLOOR_DBFS, Level
from producers.outlet import Played
from producers.publisher import Counts
from producers.spooling import SpoolState

_LOG = logging.getLogger(__name__)

LINE_EVERY_S, DRAW_EVERY_S = 10.0, 0.2
BAR_CELLS, BAR_FLOOR_DBFS = 10, -60.0
_PARTS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Reading:
    """How a capture is doing; `level` is of the sound since the last reading."""

    level: Level
    played: Played
    counts: Counts
    spool: SpoolState | None = None

    def as_line(self, sensor: str, elapsed_s: float) -> str:
        """Return it as one line."""
        return "  ".join((sensor, _clock(elapsed_s), *self._of_level(), *self._of_frames()))

    def as_bar(self, sensor: str, elapsed_s: float) -> str:
        """Return it as one line with a bar of the level."""
        bar = f"▕{level_bar(self.level.rms_dbfs)}▏"
        return "  ".join((sensor, _clock(elapsed_s), bar, *self._of_level(), *self._of_frames()))

    def _of_level(self) -> list[str]:
        if not self.level.values:
            return ["no sound"]
        clipped = [f"CLIPS {self.level.clipped}x"] if self.level.clipped else []
        silent = ["digital silence"] if self.level.peak_dbfs <= FLOOR_DBFS else []
        return [f"{self.level.rms_dbfs:.1f} dB", f"peak {self.level.peak_dbfs:.1f}", *clipped, *silent]

    def _of_frames(self) -> list[str]:
        # What is lost comes first: a narrow terminal cuts off the end.
        said = []
        if lost := self.counts.failed + self.played.refused:
            said.append(f"{lost} LOST")
        if self.played.losses:
            said.append(f"{self.played.lost_samples} samples LOST")
        stored, waiting = self.counts.acknowledged, self.counts.buffered
        epochs = f"{self.played.epochs} {'epoch' if self.played.epochs == 1 else 'epochs'}"
        of_spool = self.spool.as_words() if self.spool is not None else []
        return [*said, *of_spool, f"{stored} stored", f"{waiting} waiting", epochs]


def level_bar(dbfs: float, cells: int = BAR_CELLS) -> str:
    """Draw a level between the bar's floor and full scale, to an eighth of a cell."""
    filled = min(1.0, max(0.0, 1.0 - dbfs / BAR_FLOOR_DBFS))
    eighths = round(filled * cells * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (_PARTS[part] if part else "")).ljust(cells)


@contextmanager
def progress(sensor: str, read: Callable[[], Reading], verbose: bool) -> Iterator[None]:
    """Show readings while the body runs, from a thread of its own."""
    over = Event()
    if sys.stderr.isatty():
        show = _draw
    elif verbose:
        show = _log_lines
    else:
        yield
        return
    thread = Thread(target=show, args=(sensor, read, over), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _log_lines(sensor: str, read: Callable[[], Reading], over: Event) -> None:
    since_s = monotonic()
    while not over.wait(LINE_EVERY_S):
        _LOG.info(read().as_line(sensor, monotonic() - since_s))


def _draw(sensor: str, read: Callable[[], Reading], over: Event) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    since_s = monotonic()
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live, _log_above():
        while not over.wait(DRAW_EVERY_S):
            reading = read()
            style = "bold red" if reading.level.clipped or reading.played.losses else ""
            text = Text(
                reading.as_bar(sensor, monotonic() - since_s), style, no_wrap=True, overflow="ellipsis"
            )
            live.update(text, refresh=True)


@contextmanager
def _log_above() -> Iterator[None]:
    """Let the log write through what Live has put in the place of standard error, above its line."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)


def _clock(seconds: float) -> str:
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}"
