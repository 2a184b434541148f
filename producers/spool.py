"""What waits in a spool: frames of sensors, numbered as they were taken; how it is set, and who may look on.

`spool_file` keeps them in a file, `keeper` knows in whose hands each of them is, `drain` sends them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from producers.errors import SpoolBrokenError, SpoolError
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame

FILE, LOCK = "spool.db", "lock"
BUSY_S = 5.0
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

FrameKey = tuple[str, bytes, int]
"""Sensor, epoch, first sample: what no two frames share."""
Place = tuple[str, str, int]
"""Cluster, topic, partition."""


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Where frames wait while the broker takes none, and how they follow.

    `directory`: no spool without one. `max_bytes`: past it the oldest sound is given up. `after_s`: a broker
    that has acknowledged nothing for so long takes nothing. `drain_rate`: how fast the past follows, in
    multiples of real time. `commit_ms`: kill -9 loses as much of what the broker does not have yet.
    `synchronous`: full also outlives a power cut, normal waits for no disk.
    """

    directory: Path | None = None
    max_bytes: int = 2 << 30
    after_s: float = 2.0
    drain_rate: float = 4.0
    commit_ms: float = 100.0
    synchronous: Literal["full", "normal"] = "full"

    def __post_init__(self) -> None:
        for key, least, why in (
            ("max_bytes", 1 << 20, "less would hold next to nothing"),
            ("after_s", 0.5, "with less, a broker that is busy for a moment ends epochs"),
            ("drain_rate", 1.0, "slower than it is captured, the past would never be told"),
            ("commit_ms", 1.0, "a commit takes time"),
        ):
            if not getattr(self, key) >= least:
                raise ConfigurationError(f"spool.{key}", getattr(self, key), f"{least:g} or more: {why}")
        if self.commit_ms > 1000.0:
            accepted = "up to 1000: kill -9 loses as much sound"
            raise ConfigurationError("spool.commit_ms", self.commit_ms, accepted)


@dataclass(frozen=True, slots=True)
class Spooled:
    """A frame of a sensor, with its number in the spool."""

    number: int
    sensor: str
    frame: AudioFrame

    @property
    def key(self) -> FrameKey:
        """What tells it from all other frames."""
        return self.sensor, self.frame.epoch, self.frame.first_sample


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits of one epoch; seconds are of sound, times when the first and the last of it was captured."""

    sensor: str
    epoch: bytes
    frames: int
    sound_s: float
    first_us: int
    last_us: int


def what_waits(directory: Path) -> list[Waiting]:
    """Read what waits in a spool, oldest first, beside the process that may be using it.

    Raises:
        ConfigurationError: there is no spool.
        SpoolError: it cannot be read.

    """
    path = directory / FILE
    if not path.is_file():
        raise ConfigurationError("DIRECTORY", str(directory), f"a directory with a {FILE}")
    sql = (
        "SELECT sensor, epoch, count(*), sum(1.0 * samples / sample_rate_hz), min(captured_at_us),"
        " max(captured_at_us) FROM frames GROUP BY sensor, epoch ORDER BY min(number)"
    )
    with translated(path):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        try:
            return [Waiting(*row) for row in db.execute(sql)]
        finally:
            db.close()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", None)
        kind = SpoolBrokenError if code is not None and code & 0xFF in _BROKEN else SpoolError
        raise kind(f"{path}: {exc}") from exc
