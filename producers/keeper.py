"""Frames that were captured -> each kept until the broker has it: in memory for a moment, then in the spool.

    take ──► pending ──after commit_ms──► the file ──settle──► removed
                └──────settle──────► gone, and never written

A frame that is acknowledged before its commit is due is never written: while the broker answers in time, the
disk has nothing to do. Frames that are `flying`, or `sent` out of the spool, are held by some client: their
fate is open, and nobody else may send them. `doubts` say that the log has to be read before anything is sent
again: at a start with something in the file, and after a delivery that failed, which the broker may have
carried out all the same.

While the disk takes nothing frames wait in memory, as far as the bound goes; past it, what is new is refused.
What is to be removed is written all the same, as far as the disk lets us: else nothing would be drained.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from producers.disk import SpoolDisk
from producers.errors import SpoolBrokenError, SpoolError, SpoolFullError
from producers.pending import Pending
from producers.positions import Positions
from producers.spool import FrameKey, Place, Spooled, SpoolSettings
from producers.spool_file import SpoolFile
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame

_LOG = logging.getLogger(__name__)

REMOVE_EVERY_S = 1.0
CROWDED = 0.9
"""Of `max_bytes`: whoever can wait, waits, rather than have the oldest given up."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Frames in the keeper's hands.

    `waiting`: not acknowledged, and not on their way as live sound. `given_up`: the oldest, past the limit.
    `refused`: set aside in the file, since they can never be sent. `set_aside`: files that were broken, with
    all that waited in them. `writable`: the disk takes frames.
    """

    waiting: int
    given_up: int
    refused: int
    set_aside: int
    writable: bool

    @property
    def whole(self) -> bool:
        """Whether nothing was lost."""
        return not (self.given_up or self.refused or self.set_aside)


class Keeper:
    """Keeps the frames of one directory. `commit` is for one thread, all else for any."""

    def __init__(self, settings: SpoolSettings, frames_topic: str) -> None:
        """Open the spool, with all that waits in it.

        Raises:
            ConfigurationError: the directory is another's, or cannot be one of ours.

        """
        self._settings = settings
        self._lock, self._committing = Lock(), Lock()
        self._pending, self._file_bytes = Pending(settings.commit_ms), 0
        self._gone: set[int] = set()
        self._writing: set[int] = set()
        self._flying: set[int] = set()
        self._sent: set[int] = set()
        self._positions = Positions()
        self._in_file, self._last, self._given_up = 0, 0, 0
        self._back_to: int | None = None
        self._removed_s = 0.0
        self._disk = SpoolDisk(settings, frames_topic)
        try:
            self._open()
        except SpoolError as exc:
            self._disk.complain(exc)
            # Above all numbers that the file may hold, once it can be opened.
            self._last = time.time_ns()

    # -- what any thread may ask -----------------------------------------------------------------------------

    @property
    def kept(self) -> Kept:
        """How many frames are in whose hands."""
        with self._lock:
            file, disk = self._disk.file, self._disk
            refused, moved = (file.refused, file.moved) if file is not None else (0, 0)
            waiting = self._in_file + len(self._pending) - len(self._gone) - len(self._flying) - moved
            return Kept(max(0, waiting), self._given_up, refused, disk.set_aside_files, disk.trouble is None)

    @property
    def crowded(self) -> bool:
        """Whether memory or the file hold so much that whoever can wait had better wait."""
        with self._lock:
            coming_bytes = self._file_bytes + self._pending.in_file_bytes
            return self._pending.is_full or coming_bytes >= CROWDED * self._settings.max_bytes

    def take(self, sensor: str, frame: AudioFrame, flying: bool) -> int:
        """Keep a frame, which a client is about to hold if `flying`; return its number.

        Raises:
            SpoolFullError: the disk takes nothing, and memory holds as much as it may.

        """
        with self._lock:
            if not flying and self._pending.is_full:
                trouble = self._disk.trouble or "the disk is too slow"
                why = f"the broker takes nothing, and the spool cannot be written: {trouble}"
                raise SpoolFullError(sensor, why)
            self._last += 1
            self._pending.take(Spooled(self._last, sensor, frame))
            if flying:
                self._flying.add(self._last)
            return self._last

    def fly(self, number: int) -> None:
        """Note that a client holds a frame that waited."""
        with self._lock:
            self._sent.add(number)

    def release(self, number: int, doubt: bool = True) -> None:
        """Note that no client holds a frame any more; in doubt, the broker may have it or not."""
        with self._lock:
            self._land(number)
            self._positions.doubts += doubt
            self._back_to = number if self._back_to is None else min(number, self._back_to)

    def go_back(self, cursor: int) -> int:
        """Return up to which number nothing waits, for who has come to `cursor`."""
        with self._lock:
            back_to, self._back_to = self._back_to, None
            return cursor if back_to is None else min(cursor, back_to - 1)

    def refuse(self, spooled: Spooled, why: str) -> None:
        """Set a frame aside that can never be sent.

        Raises:
            SpoolError: the disk does not let us.

        """
        with self._committing:
            (self._disk.file or self._open()).refuse(spooled, why)
            with self._lock:
                self._land(spooled.number)
                self._pending.drop([spooled.number])

    @property
    def doubts(self) -> int:
        """How often it became uncertain whether the log has some of what waits; 0 while it is certain."""
        with self._lock:
            return self._positions.doubts

    def dispel(self, doubts: int) -> None:
        """Note that the log was read since there were so many, and what was found in it is let go of."""
        with self._lock:
            self._positions.dispel(doubts)

    def settle(self, number: int, place: Place | None = None, offset: int = 0) -> None:
        """Let go of a frame that the broker has; what else is to be found in the log begins at `offset`."""
        with self._lock:
            self._land(number)
            written = number not in self._pending
            self._pending.drop([number])
            if written or number in self._writing:
                self._gone.add(number)
            if place is not None:
                self._positions.move_up(place, offset)

    def forget(self, keys: Iterable[FrameKey]) -> int:
        """Let go of frames that were found in the log and that no client holds; return how many.

        Raises:
            SpoolError: the file cannot be read.

        """
        sought = set(keys)
        with self._lock:
            file = self._disk.file
            found = self._pending.find(sought)
        found |= set(file.find(sought)) if file is not None else set()
        with self._lock:
            found -= self._flying | self._sent | self._gone
        for number in found:
            self.settle(number)
        return len(found)

    def backlog(self, after: int, limit: int) -> list[Spooled]:
        """Return frames that no client holds, in order: of the file, then of memory.

        Raises:
            SpoolError: the file cannot be read.

        """
        with self._lock:
            last, held, file = self._last, self._flying | self._sent | self._gone, self._disk.file
            found = {spooled.number: spooled for spooled in self._pending.after(after)}
        # A frame that came later than `last` may be in a client's hands without being in `held`.
        rows = file.after(after, limit + len(held)) if file is not None else []
        found |= {row.number: row for row in rows}
        with self._lock:
            held |= self._flying | self._sent | self._gone
        free = sorted(number for number in found if number <= last and number not in held)
        return [found[number] for number in free[:limit]]

    def sensors(self) -> set[str]:
        """Return whose frames wait.

        Raises:
            SpoolError: the file cannot be read.

        """
        with self._lock:
            pending, file = {spooled.sensor for spooled in self._pending.after(0)}, self._disk.file
        return pending | (file.sensors() if file is not None else set())

    def positions(self, cluster: str, topic: str) -> dict[int, int]:
        """Return where in a topic, by partition, frames of this spool may stand at the earliest."""
        with self._lock:
            return self._positions.of(cluster, topic)

    def begin_at(self, cluster: str, topic: str, offsets: dict[int, int]) -> None:
        """Note the ends of a topic's partitions, before anything of this spool is sent there."""
        with self._lock:
            self._positions.begin_at(cluster, topic, offsets)

    # -- what one thread does --------------------------------------------------------------------------------

    def commit(self, now: bool = False) -> bool:
        """Write what is due, or everything; return whether nothing that is due is unwritten."""
        with self._committing:
            if not now and not self._is_due():
                return self._disk.trouble is None
            try:
                self._write(self._disk.file or self._open(), now)
            except SpoolBrokenError as exc:
                self._begin_anew(exc)
                return False
            except (SpoolError, ConfigurationError) as exc:
                self._disk.complain(exc)
                return False
            self._disk.works()
            return True

    def note_down(self) -> bool:
        """Write removals and positions, and no frames; return whether the file, if there is one, has them."""
        with self._committing:
            try:
                if self._disk.file is not None:
                    self._write_some(self._disk.file, [])
            except SpoolBrokenError as exc:
                self._begin_anew(exc)
                return False
            except SpoolError as exc:
                self._disk.complain(exc)
                return False
            return True

    def set_aside(self, why: SpoolBrokenError) -> None:
        """Begin a new file in the place of one that is broken."""
        with self._committing:
            if self._disk.file is not None:
                self._begin_anew(why)

    def close(self) -> int:
        """Write everything, and let go of the directory; return how many frames could not be written.

        No client may hold a frame any more, whatever it has reported.
        """
        with self._lock:
            self._flying.clear()
            self._sent.clear()
        self.commit(now=True)
        self._disk.close()
        with self._lock:
            return len(self._pending)

    def _is_due(self) -> bool:
        if not self._disk.is_due:
            return False
        with self._lock:
            waits_long = self._pending.is_due
            removes = bool(self._gone) and time.monotonic() - self._removed_s >= REMOVE_EVERY_S
        return self._disk.file is None or waits_long or removes

    def _write(self, file: SpoolFile, now: bool) -> None:
        with self._lock:
            added = self._pending.after(0) if now else self._pending.due(self._flying)
        try:
            self._write_some(file, added)
            if not added:
                self._shrink(file)
        except SpoolBrokenError:
            raise
        except SpoolError:
            self._write_some(file, [])
            raise

    def _shrink(self, file: SpoolFile) -> None:
        try:
            file.shrink()
        except SpoolBrokenError:
            raise
        except SpoolError as exc:
            _LOG.debug("the spool keeps its size for now: %s", exc)

    def _write_some(self, file: SpoolFile, added: list[Spooled]) -> None:
        with self._lock:
            added = [spooled for spooled in added if spooled.number in self._pending]
            removed, positions = list(self._gone), self._positions.unwritten()
            kept = self._flying | self._sent
            self._writing = {spooled.number for spooled in added}
            self._removed_s = time.monotonic()
        try:
            written = file.write(added, removed, positions, kept)
        except SpoolError:
            with self._lock:
                self._gone -= self._writing
                self._writing = set()
            raise
        with self._lock:
            self._pending.drop(self._writing)
            self._gone.difference_update(removed)
            self._writing = set()
            self._positions.wrote(positions)
            self._in_file += written.added - written.removed - len(written.given_up)
            self._given_up += len(written.given_up)
            self._file_bytes = written.size_bytes
        if written.given_up:
            self._say_given_up(written.given_up)

    def _land(self, number: int) -> None:
        self._flying.discard(number)
        self._sent.discard(number)

    def _open(self) -> SpoolFile:
        file = self._disk.open()
        (in_file, highest), places, size_bytes = file.extent(), file.positions(), file.size_bytes()
        with self._lock:
            self._in_file, self._last, self._file_bytes = in_file, max(self._last, highest), size_bytes
            self._positions.join(places)
            self._positions.doubts += 1 if in_file else 0
        return file

    def _begin_anew(self, why: SpoolBrokenError) -> None:
        try:
            self._disk.set_aside(why)
            with self._lock:
                self._in_file = 0
                self._gone.clear()
            self._open()
        except (SpoolError, ConfigurationError) as exc:
            self._disk.complain(exc)

    def _say_given_up(self, given_up: tuple[Spooled, ...]) -> None:
        sound_s = sum(spooled.frame.samples / spooled.frame.sample_rate_hz for spooled in given_up)
        _LOG.error(
            "the spool holds %d bytes, as many as it may: its oldest %.2f s of sound are given up; LOST",
            self._settings.max_bytes,
            sound_s,
        )
