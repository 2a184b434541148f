"""A directory -> the spool's file in it, as long as the disk lets itself be used; what is wrong is said once.

A disk that takes nothing is tried again every second. A file that is broken is set aside under another name,
never deleted: it may be all that is left of an hour, and a new one begins.
"""

import logging
import time
from pathlib import Path

from producers.errors import SpoolBrokenError, SpoolError
from producers.spool import FILE, SpoolSettings
from producers.spool_file import SpoolFile, SpoolLock

_LOG = logging.getLogger(__name__)

TRY_AGAIN_S = 1.0


class SpoolDisk:
    """Opens, sets aside and complains; for one thread at a time."""

    def __init__(self, settings: SpoolSettings, frames_topic: str) -> None:
        if settings.directory is None:
            raise AssertionError("a spool without a directory")
        self._directory, self._settings, self._topic = settings.directory, settings, frames_topic
        self._lock: SpoolLock | None = None
        self.file: SpoolFile | None = None
        self.trouble: str | None = None
        self.set_aside_files = 0
        self._next_s = 0.0

    @property
    def is_due(self) -> bool:
        """Whether a disk that took nothing may be tried again, or was never in trouble."""
        return time.monotonic() >= self._next_s

    def open(self) -> SpoolFile:
        """Take the directory, if it is not ours yet, and open the file; what is broken is set aside.

        Raises:
            ConfigurationError: the directory is another's, or cannot be one of ours.
            SpoolError: the disk takes nothing.

        """
        if self._lock is None:
            self._lock = SpoolLock(self._directory)
        try:
            file = SpoolFile(self._settings, self._topic)
        except SpoolBrokenError as exc:
            self.set_aside(exc)
            file = SpoolFile(self._settings, self._topic)
        self.file = file
        return file

    def set_aside(self, why: SpoolBrokenError) -> None:
        """Give a broken file another name.

        Raises:
            SpoolError: the disk does not let us.

        """
        if self.file is not None:
            self.file.close()
            self.file = None
        path = self._directory / FILE
        aside = path.with_name(f"{FILE}.broken-{time.time_ns() // 1_000_000}")
        try:
            for suffix in ("-wal", "-shm", ""):
                _rename(Path(f"{path}{suffix}"), Path(f"{aside}{suffix}"))
        except OSError as exc:
            raise SpoolError(f"{path} is broken and cannot be set aside: {exc.strerror}") from exc
        self.set_aside_files += 1
        _LOG.error("the spool is broken: %s; it is set aside as %s, and a new one begins", why, aside)

    def complain(self, why: Exception) -> None:
        """Note that the disk takes nothing now."""
        self._next_s = time.monotonic() + TRY_AGAIN_S
        first, self.trouble = self.trouble is None, str(why)
        if first:
            _LOG.error("the spool cannot be written: %s; live sound goes on without it", why)

    def works(self) -> None:
        """Note that the disk took what it was given."""
        before, self.trouble = self.trouble, None
        if before is not None:
            _LOG.warning("the spool is written again")

    def close(self) -> None:
        """Let go of the file and the directory."""
        if self.file is not None:
            self.file.close()
        if self._lock is not None:
            self._lock.release()


def _rename(path: Path, to: Path) -> None:
    if path.exists():
        path.rename(to)
