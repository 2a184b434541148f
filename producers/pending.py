"""Frames that were just taken -> those that are due to be written: each has its own time."""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from producers.spool import FrameKey, Spooled

PENDING_BYTES = 4 << 20
"""Kept in memory while the disk takes nothing: two minutes at 16 kHz."""
PAGE_BYTES = 4096
"""What a frame takes in the file, besides its sound, at most."""


@dataclass(frozen=True, slots=True)
class _Taken:
    spooled: Spooled
    since_s: float


class Pending:
    """Frames in memory, in the order of their numbers; for one thread at a time."""

    def __init__(self, commit_ms: float) -> None:
        """Let each wait for so long before it is due."""
        self._commit_ms = commit_ms
        self._taken: dict[int, _Taken] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._taken)

    def __contains__(self, number: int) -> bool:
        return number in self._taken

    @property
    def is_full(self) -> bool:
        """Whether memory holds as much as it may."""
        return self._bytes >= PENDING_BYTES

    @property
    def in_file_bytes(self) -> int:
        """How much of the file it would take, at most."""
        return self._bytes + PAGE_BYTES * len(self._taken)

    @property
    def is_due(self) -> bool:
        """Whether the oldest has waited for long enough."""
        oldest = next(iter(self._taken.values()), None)
        return oldest is not None and self._is_old(oldest)

    def take(self, spooled: Spooled) -> None:
        """Keep a frame."""
        self._taken[spooled.number] = _Taken(spooled, time.monotonic())
        self._bytes += len(spooled.frame.data)

    def drop(self, numbers: Iterable[int]) -> None:
        """Let go of frames, if they are here."""
        for number in numbers:
            dropped = self._taken.pop(number, None)
            if dropped is not None:
                self._bytes -= len(dropped.spooled.frame.data)

    def due(self, flying: Collection[int]) -> list[Spooled]:
        """Return what to write; what flies may still be acknowledged in time, and need not be."""
        taken = self._taken.items()
        return [one.spooled for number, one in taken if number not in flying or self._is_old(one)]

    def after(self, number: int) -> list[Spooled]:
        """Return the frames that follow a number."""
        return [taken.spooled for n, taken in self._taken.items() if n > number]

    def find(self, keys: Collection[FrameKey]) -> set[int]:
        """Return the numbers of those frames that are here."""
        return {number for number, taken in self._taken.items() if taken.spooled.key in keys}

    def _is_old(self, taken: _Taken) -> bool:
        return 1000 * (time.monotonic() - taken.since_s) >= self._commit_ms
