"""Windows -> batches: gathers windows of any sensors until a batch is full or its oldest has waited."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from processors.pcm import Pcm
from schemas.errors import ConfigurationError

T = TypeVar("T")
MAX_BATCH_WINDOWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How windows are gathered: latency against cost.

    Raises:
        ConfigurationError: a value that cannot work.

    """

    max_windows: int = 32
    max_wait_ms: float = 5.0
    """How long a window may wait for company."""
    max_backlog_windows: int = 512
    """Windows waiting or being scored; past this, partitions are held and lag grows."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_windows <= MAX_BATCH_WINDOWS:
            raise ConfigurationError("batch.max_windows", self.max_windows, f"1 to {MAX_BATCH_WINDOWS}")
        if not 0 <= self.max_wait_ms <= 1000:
            raise ConfigurationError("batch.max_wait_ms", self.max_wait_ms, "0 to 1000")
        if self.max_backlog_windows < self.max_windows:
            raise ConfigurationError(
                "batch.max_backlog_windows", self.max_backlog_windows, "at least batch.max_windows"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Generic[T]):
    """Windows that are scored together: `pcm` is int16[B, length], `items` whose they are, in order."""

    items: list[T]
    pcm: NDArray[np.int16]
    oldest_s: float
    """When the first of them was ready, on the caller's monotonic clock."""


class Batcher(Generic[T]):
    """Gathers windows into batches, in order."""

    def __init__(self, settings: BatchSettings) -> None:
        self._size, self._wait_s = settings.max_windows, settings.max_wait_ms / 1000
        self._waiting: list[tuple[T, Pcm, float]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def feed(self, item: T, pcm: Pcm, now_s: float) -> None:
        """Add a window, int16[length]."""
        self._waiting.append((item, pcm, now_s))

    @property
    def oldest_s(self) -> float | None:
        """When the first window that waits was ready; None while nothing waits."""
        return self._waiting[0][2] if self._waiting else None

    def due_s(self) -> float | None:
        """Return when the next batch is to be taken, or None while nothing waits."""
        if not self._waiting:
            return None
        oldest_s = self._waiting[0][2]
        return oldest_s if len(self._waiting) >= self._size else oldest_s + self._wait_s

    def take(self, now_s: float) -> Batch[T] | None:
        """Return the next batch if one is due."""
        due_s = self.due_s()
        if due_s is None or now_s < due_s:
            return None
        taken, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        pcm = np.stack([pcm for _, pcm, _ in taken])
        return Batch([item for item, _, _ in taken], pcm, taken[0][2])

    def reset(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
