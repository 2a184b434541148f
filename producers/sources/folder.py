"""A folder -> its recordings, those that are there and those that arrive, each once and when it is complete.

A file is complete when nothing was written to it for a while: nobody can tell from outside whether its
writer has closed it. A WAV file whose header does not tell its length, or a longer one than it has, is most
likely still being written, and waits longer. One that was renamed into the folder waits just as long as any.
A file that is written to after it was given is given again, whole, and that is said. Hidden files, and those
whose extension is not one of sound (`.part`, `.tmp`), are left alone: a slow writer does best to rename when
it is done. What was played is remembered as long as the program runs.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import isdir, isfile  # pathlib's raise where a name is too long
from pathlib import Path
from threading import Event
from typing import Any

from producers.clock import Clock, SystemClock
from producers.source import Source
from producers.sources.container import CONTAINER_EXTENSIONS, ContainerSource
from producers.sources.files import FileSource, audio_extensions
from schemas.errors import CaptureError, ConfigurationError

_LOG = logging.getLogger(__name__)

INSTALL = "watchfiles: `uv sync --extra capture`"
LOOK_MS, LOOK_EVERYWHERE_S = 250, 10.0
MIN_SETTLE_S, MAX_SETTLE_S = 0.1, 3600.0
UNFINISHED_WAITS = 12
"""A WAV file whose header is not that of a whole one waits so many times as long as any other: programs that
write to a pipe never mend the header, and one that was cut off has to be said some time."""
_HEADER_BYTES, _UNKNOWN_LENGTHS = 8, (0, 0xFFFF_FFFF)


def open_file(path: Path) -> Source:
    """Open a recording with the library that reads it best.

    Raises:
        CaptureError: it is missing or no sound, or its name is not text.
        ConfigurationError: it is a container, and PyAV is missing.

    """
    known = _extension(path) in audio_extensions()
    try:
        return FileSource(path) if known or not isfile(path) else ContainerSource(path)
    except UnicodeEncodeError as exc:
        raise CaptureError(ascii(str(path)), "its name is not UTF-8: rename it") from exc


def recordings_in(path: Path) -> list[Path]:
    """List a file, or the recordings in a folder and its sub-folders, in the order of their paths.

    Raises:
        CaptureError: there is nothing at this path, or no sound in this folder.

    """
    if isfile(path):
        return [path]
    if not isdir(path):
        raise CaptureError(str(path), "there is no such file or folder")
    found = sorted(file for file in path.rglob("*") if is_recording(file))
    if not found:
        raise CaptureError(
            str(path), f"no sound in this folder; looked for {', '.join(sorted(_extensions()))}"
        )
    return found


def is_recording(file: Path) -> bool:
    """Return whether a file's name promises sound and not a part of it."""
    hidden = file.name.startswith(".")
    return not hidden and _extension(file) in _extensions() and file.is_file()


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """`settle_s`: a file is complete when it did not change for so long. `new_only`: leave what is there."""

    settle_s: float = 5.0
    new_only: bool = False

    def __post_init__(self) -> None:
        if not MIN_SETTLE_S <= self.settle_s <= MAX_SETTLE_S:
            accepted = f"{MIN_SETTLE_S:g} to {MAX_SETTLE_S:g} seconds"
            raise ConfigurationError("--settle", self.settle_s, accepted)


@dataclass(slots=True)
class _Candidate:
    seen: tuple[int, int]
    since_us: int
    said: bool = False


class WatchedFolder:
    """The recordings of one folder and its sub-folders, in the order in which they were completed.

    Raises:
        CaptureError: there is no such folder.
        ConfigurationError: watchfiles is missing.

    """

    def __init__(self, path: Path, settings: WatchSettings | None = None, clock: Clock | None = None) -> None:
        if not path.is_dir():
            raise CaptureError(str(path), "there is no such folder")
        self._path, self._settings = path.resolve(), settings or WatchSettings()
        self._clock, self._watch = clock or SystemClock(), _watchfiles()
        self._candidates: dict[Path, _Candidate] = {}
        self._done: dict[Path, tuple[int, int]] = {}
        self._given: set[Path] = set()
        self.again = 0
        """How many recordings were given that had been given before."""
        self._look_at(self._path.rglob("*"), done=self._settings.new_only)
        self._next_look_us = 0

    def files(self, stop: Event) -> Iterator[Path]:
        """Give each recording once, until `stop` is set; one that is written anew is given again."""
        for changes in self._changes(stop):
            self._look_at((Path(name) for _, name in changes), done=False)
            folders = any(Path(name).is_dir() for change, name in changes if change.name == "added")
            self._look_everywhere(at_once=folders)
            yield from self._complete(stop)

    def _changes(self, stop: Event) -> Iterator[Any]:
        """Give what changed, and nothing now and then, until `stop` is set.

        Raises:
            CaptureError: the system does not let us watch the folder.

        """
        while not stop.is_set():
            try:
                yield from self._watch(
                    self._path,
                    watch_filter=None,
                    stop_event=stop,
                    rust_timeout=LOOK_MS,
                    step=LOOK_MS,
                    debounce=LOOK_MS,
                    yield_on_timeout=True,
                    raise_interrupt=False,
                )
            except OSError as exc:
                raise CaptureError(str(self._path), f"it cannot be watched: {exc}") from exc
            except RuntimeError as exc:
                # A name that is not UTF-8 ends a watch: begin another, and look at what it did not tell.
                _LOG.warning("%s: %s; watching again", self._path, exc)
                self._next_look_us = 0
                stop.wait(LOOK_MS / 1000)

    def _look_everywhere(self, at_once: bool) -> None:
        """Look for what no change was reported of: network drives, or files that came with their folder."""
        now_us = self._clock.monotonic_us()
        if at_once or now_us >= self._next_look_us:
            self._look_at(self._path.rglob("*"), done=False)
            self._next_look_us = now_us + round(1e6 * LOOK_EVERYWHERE_S)

    def _look_at(self, files: Any, done: bool) -> None:
        for file in files:
            if not is_recording(file) or (seen := _state(file)) is None:
                self._done.pop(file, None)
                self._given.discard(file)
                continue
            if done:
                self._done[file] = seen
            elif self._done.get(file) != seen:
                self._candidates.setdefault(file, _Candidate(seen, self._clock.monotonic_us()))

    def _complete(self, stop: Event) -> Iterator[Path]:
        for file in sorted(self._candidates, key=_changed_ns):
            if stop.is_set():
                return
            if self._is_complete(file):
                self._count(file)
                yield file

    def _is_complete(self, file: Path) -> bool:
        candidate, now_us = self._candidates[file], self._clock.monotonic_us()
        seen = _state(file)
        if seen is None:
            del self._candidates[file]
        elif seen != candidate.seen or not seen[0]:
            self._candidates[file] = _Candidate(seen, now_us)
        elif now_us - candidate.since_us >= 1e6 * self._settings.settle_s:
            return self._settled(file, candidate, now_us)
        return False

    def _settled(self, file: Path, candidate: _Candidate, now_us: int) -> bool:
        patience_s = UNFINISHED_WAITS * self._settings.settle_s
        if now_us - candidate.since_us < 1e6 * patience_s and _is_unfinished(file, candidate.seen[0]):
            if not candidate.said:
                why = "its header is not that of a whole file: it waits until it changes, or for"
                _LOG.warning("%s: %s %g s", _printable(file), why, patience_s)
            candidate.said = True
            return False
        self._done[file] = self._candidates.pop(file).seen
        return True

    def _count(self, file: Path) -> None:
        if file in self._given:
            self.again += 1
            why = "it was written to after it was captured: all its sound is captured again"
            _LOG.warning("%s: %s (--settle %g)", _printable(file), why, self._settings.settle_s)
        self._given.add(file)


def _state(file: Path) -> tuple[int, int] | None:
    """Return a file's size and the time of its last change, or None where it is gone."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _is_unfinished(file: Path, size: int) -> bool:
    """Return whether a WAV file declares no length, or more than it has."""
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER_BYTES)
    except OSError:
        return False  # whoever opens it to play it says why it cannot be read
    declared = int.from_bytes(header[4:], "little")
    return header.startswith(b"RIFF") and (declared in _UNKNOWN_LENGTHS or declared + _HEADER_BYTES > size)


def _printable(file: Path) -> str:
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def _changed_ns(file: Path) -> tuple[int, Path]:
    # The inode's own time: a file that is moved here keeps the time at which it was written.
    try:
        return os.stat(file).st_ctime_ns, file
    except OSError:
        return 0, file


def _extension(file: Path) -> str:
    return file.suffix.lower().removeprefix(".")


def _extensions() -> frozenset[str]:
    return audio_extensions() | CONTAINER_EXTENSIONS


def _watchfiles() -> Any:
    try:
        from watchfiles import watch
    except ImportError as exc:
        raise ConfigurationError("--watch", True, INSTALL) from exc
    return watch
