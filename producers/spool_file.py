"""Frames -> one file that outlives the process, and back, in the order in which they were taken.

    write ──► frames, by number ──► after, find       one transaction each: all of it is there, or nothing
              positions                               where in the log those frames may stand at the earliest

The file is SQLite's, with a write-ahead log. What is committed outlives kill -9, since the system keeps it;
with `synchronous` full also a power cut, since each commit waits for the disk. A frame and the positions that
it depends on are written in one transaction. One process at a time has a directory: a lock that the system
takes back when the process ends, however it ends. Only its owner may read what people said. What the file
means is for `keeper` and `readback`.

Sound that cannot be sent is moved to a table of its own, `refused`, with why. A disk is never filled to its
end: without room for a transaction nothing could be removed either.
"""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from producers.errors import SpoolError
from producers.spool import BUSY_S, FILE, LOCK, FrameKey, Place, Spooled, SpoolSettings, translated
from schemas.errors import ConfigurationError, InvalidFrameError
from schemas.frame import AudioFrame, Encoding

_LOG = logging.getLogger(__name__)

GIVEN_UP_AT_ONCE = 64
LEFT_FREE_BYTES = 2 << 20
"""Of the disk, by what is added: room for the write-ahead log in which things are removed."""
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (
    cluster TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (cluster, topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frames (
    number INTEGER PRIMARY KEY, sensor TEXT NOT NULL, epoch BLOB NOT NULL, first_sample INTEGER NOT NULL,
    samples INTEGER NOT NULL, captured_at_us INTEGER NOT NULL, sample_rate_hz INTEGER NOT NULL,
    channels INTEGER NOT NULL, encoding TEXT NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS by_key ON frames (sensor, epoch, first_sample);
CREATE TABLE IF NOT EXISTS refused (
    number INTEGER PRIMARY KEY, sensor, epoch, first_sample, samples, captured_at_us, sample_rate_hz,
    channels, encoding, data, why TEXT NOT NULL);
"""
_FIELDS = "epoch, first_sample, samples, captured_at_us, sample_rate_hz, channels, encoding, data"


@dataclass(frozen=True, slots=True)
class Written:
    """What one commit changed: frames added, removed, and given up for want of room; and the size then."""

    added: int
    removed: int
    given_up: tuple[Spooled, ...]
    size_bytes: int


class SpoolLock:
    """Keeps a directory for one process."""

    def __init__(self, directory: Path) -> None:
        """Take the directory.

        Raises:
            ConfigurationError: another process has it, or it can be no directory of ours.
            SpoolError: the disk does not let itself be written, for now.

        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._held = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (PermissionError, FileExistsError, NotADirectoryError) as exc:
            accepted = f"a directory that this user may write: {exc.strerror}"
            raise ConfigurationError("spool.directory", str(directory), accepted) from exc
        except OSError as exc:
            raise SpoolError(f"{directory}: {exc.strerror}") from exc
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._held)
            accepted = "a directory of its own for each process: another one uses it now"
            raise ConfigurationError("spool.directory", str(directory), accepted) from None

    def release(self) -> None:
        """Let others have it."""
        os.close(self._held)


class SpoolFile:
    """The file of a directory that we have the lock of. Every method may be called from any thread.

    Raises:
        ConfigurationError: it holds the sound of another frames topic.
        SpoolBrokenError: it is no spool.
        SpoolError: it cannot be written.

    """

    def __init__(self, settings: SpoolSettings, frames_topic: str) -> None:
        if settings.directory is None:
            raise AssertionError("a spool without a directory")
        self.path, self._settings = settings.directory / FILE, settings
        self._lock = RLock()
        self.refused, self.moved = 0, 0
        with translated(self.path):
            _make_private(self.path)
            self._db = sqlite3.connect(
                self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            self._open(frames_topic)
        except BaseException:
            self._db.close()
            raise

    def _open(self, frames_topic: str) -> None:
        with self._lock, translated(self.path):
            self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            (mode,) = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
            self._db.execute("PRAGMA wal_autocheckpoint = 256")
            self._db.execute(f"PRAGMA synchronous = {self._settings.synchronous}")
            self._db.execute("PRAGMA journal_size_limit = 4194304")
            self._db.text_factory = _text
            self._db.executescript(_TABLES)
            self._db.execute("INSERT OR IGNORE INTO about VALUES ('topic', ?)", (frames_topic,))
            (topic,) = self._db.execute("SELECT value FROM about WHERE name = 'topic'").fetchone()
        if mode != "wal":
            _LOG.warning("%s: no write-ahead log here, but %r: each commit is slower", self.path, mode)
        if topic != frames_topic:
            accepted = f"a spool of {frames_topic}; this one holds sound of {topic}"
            raise ConfigurationError("spool.directory", str(self.path.parent), accepted)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def write(
        self, added: Sequence[Spooled], removed: Iterable[int], positions: dict[Place, int], kept: set[int]
    ) -> Written:
        """Commit frames, removals by number, and positions; past the limit give up the oldest but for `kept`.

        Raises:
            SpoolError: nothing of it was done.

        """
        if added:
            self._check_disk(sum(len(spooled.frame.data) for spooled in added))
        with self._transaction():
            gone = self._db.executemany("DELETE FROM frames WHERE number = ?", ((n,) for n in removed))
            removed_count = max(0, gone.rowcount)
            marks = ", ".join("?" * 10)
            rows = (_row(spooled) for spooled in added)
            new = self._db.executemany(f"INSERT OR IGNORE INTO frames VALUES ({marks})", rows)  # noqa: S608
            added_count = max(0, new.rowcount)
            places = [(*place, offset) for place, offset in positions.items()]
            self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", places)
            given_up = self._give_up(kept) if added else ()
            size_bytes = self.size_bytes()
        return Written(added_count, removed_count, given_up, size_bytes)

    def shrink(self) -> None:
        """Give some of what is free back to the disk."""
        with self._transaction():
            self._db.execute("PRAGMA incremental_vacuum(256)").fetchall()

    def refuse(self, spooled: Spooled, why: str) -> bool:
        """Set a frame aside that can never be sent; return whether it was among those that wait.

        Raises:
            SpoolError: nothing of it was done.

        """
        with self._transaction():
            moved = self._move_aside(spooled.number, why)
            if not moved:
                marks = ", ".join("?" * 11)
                sql = f"INSERT OR REPLACE INTO refused VALUES ({marks})"  # noqa: S608
                self._db.execute(sql, (*_row(spooled), why))
                self.refused += 1
        return moved

    def after(self, number: int, limit: int) -> list[Spooled]:
        """Return the frames that follow a number, in order."""
        return self._select("WHERE number > ? ORDER BY number LIMIT ?", (number, limit))

    def find(self, keys: Iterable[FrameKey]) -> list[int]:
        """Return the numbers of those frames that are here."""
        sql = "SELECT number FROM frames WHERE sensor = ? AND epoch = ? AND first_sample = ?"
        with self._lock, translated(self.path):
            rows = (self._db.execute(sql, key).fetchone() for key in keys)
            return [row[0] for row in rows if row is not None]

    def sensors(self) -> set[str]:
        """Return whose frames wait."""
        with self._lock, translated(self.path):
            return {sensor for (sensor,) in self._db.execute("SELECT DISTINCT sensor FROM frames")}

    def extent(self) -> tuple[int, int]:
        """Return how many frames wait, and the highest number."""
        with self._lock, translated(self.path):
            count, highest = self._db.execute("SELECT count(*), max(number) FROM frames").fetchone()
        return count, highest or 0

    def positions(self) -> dict[Place, int]:
        """Return where in the log the frames may stand at the earliest."""
        with self._lock, translated(self.path):
            return {(c, t, p): offset for c, t, p, offset in self._db.execute("SELECT * FROM positions")}

    def size_bytes(self) -> int:
        """Return how much of the file is in use."""
        with self._lock, translated(self.path):
            pages, free, size = (
                self._db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * size)

    def _give_up(self, kept: set[int]) -> tuple[Spooled, ...]:
        given_up: list[Spooled] = []
        while self.size_bytes() > self._settings.max_bytes:
            if self._forget_refused():
                continue
            oldest = self._select("ORDER BY number LIMIT ?", (GIVEN_UP_AT_ONCE + len(kept),))
            going = [spooled for spooled in oldest if spooled.number not in kept]
            if not going:
                break
            self._db.executemany("DELETE FROM frames WHERE number = ?", ((s.number,) for s in going))
            given_up += going
        return tuple(given_up)

    def _select(self, where: str, values: tuple[int, ...]) -> list[Spooled]:
        sql = f"SELECT number, sensor, {_FIELDS} FROM frames {where}"  # noqa: S608 - texts of ours
        with self._lock, translated(self.path):
            rows = self._db.execute(sql, values).fetchall()
        found, unreadable = [], {}
        for row in rows:
            try:
                found.append(_spooled(row))
            except (InvalidFrameError, ValueError, TypeError) as exc:
                unreadable[row[0]] = str(exc)
        if unreadable:
            self._set_aside(unreadable)
        return found

    def _set_aside(self, unreadable: dict[int, str]) -> None:
        with self._transaction():
            for number, why in unreadable.items():
                self._move_aside(number, why)
                _LOG.error("%s: frame %d cannot be read, and is set aside: %s", self.path, number, why)

    def _move_aside(self, number: int, why: str) -> bool:
        sql = "INSERT OR REPLACE INTO refused SELECT *, ? FROM frames WHERE number = ?"
        moved = self._db.execute(sql, (why, number)).rowcount > 0
        self._db.execute("DELETE FROM frames WHERE number = ?", (number,))
        self.refused, self.moved = self.refused + moved, self.moved + moved
        return moved

    def _forget_refused(self) -> bool:
        sql = "DELETE FROM refused WHERE number IN (SELECT number FROM refused ORDER BY number LIMIT ?)"
        return self._db.execute(sql, (GIVEN_UP_AT_ONCE,)).rowcount > 0

    def _check_disk(self, added_bytes: int) -> None:
        disk = os.statvfs(self.path.parent)
        free_bytes = disk.f_bavail * disk.f_frsize
        # Once in the write-ahead log, once in the file.
        if free_bytes < 2 * added_bytes + LEFT_FREE_BYTES:
            raise SpoolError(f"{self.path}: the disk is full: {free_bytes} bytes are left")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, translated(self.path):
            within = self._db.in_transaction  # frames are read, and set aside, inside another one
            if not within:
                self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                if not within:
                    self._db.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself where the disk is full.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _make_private(path: Path) -> None:
    """Make a file that is not there yet; SQLite gives what stands beside it the same rights."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as exc:
        raise SpoolError(f"{path}: {exc.strerror}") from exc


def _text(stored: bytes) -> str:
    return stored.decode(errors="surrogateescape")


def _row(spooled: Spooled) -> tuple[Any, ...]:
    frame = spooled.frame
    return (
        spooled.number,
        spooled.sensor,
        frame.epoch,
        frame.first_sample,
        frame.samples,
        frame.captured_at_us,
        frame.sample_rate_hz,
        frame.channels,
        frame.encoding.value,
        frame.data,
    )


def _spooled(row: tuple[Any, ...]) -> Spooled:
    number, sensor, epoch, first, samples, at_us, rate_hz, channels, encoding, data = row
    frame = AudioFrame(epoch, first, samples, at_us, rate_hz, channels, Encoding(encoding), data)
    return Spooled(number, sensor, frame)
