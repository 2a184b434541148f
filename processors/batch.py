"""Windows -> batches: gathers windows of any sensors until a batch is full or its oldest has waited."""

from collections import deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

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
    """Windows waiting or being scored; past this, partitions are held and lag grows. With worker.overload =
    shed: past this, and past one for each sensor, the windows that have waited longest are shed."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Waiting(Generic[T]):
    """A window that waits, int16[length], since it was `ready_s`; `item` says whose it is."""

    item: T
    pcm: Pcm
    ready_s: float


class Queue(Protocol[T]):
    """Where windows wait: `InOrder`, or by `Turns` where those that are late are shed."""

    def __len__(self) -> int: ...
    @property
    def oldest(self) -> Waiting[T] | None: ...  # noqa: D102
    @property
    def share(self) -> float: ...  # noqa: D102
    def feed(self, waiting: Waiting[T]) -> None: ...  # noqa: D102
    def take(self, most: int) -> list[Waiting[T]]: ...  # noqa: D102
    def shed(self, before_ms: float, keep: int) -> list[T]: ...  # noqa: D102
    def reset(self) -> None: ...  # noqa: D102


class InOrder(Generic[T]):
    """Windows that wait until they are taken, in the order in which they came."""

    share = 1.0
    """All that leave are taken."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting[T]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def oldest(self) -> Waiting[T] | None:
        """The window that came first."""
        return self._waiting[0] if self._waiting else None

    def feed(self, waiting: Waiting[T]) -> None:
        """Add a window."""
        self._waiting.append(waiting)

    def take(self, most: int) -> list[Waiting[T]]:
        """Return the first windows."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def shed(self, before_ms: float, keep: int) -> list[T]:
        """Give nothing up."""
        return []

    def reset(self) -> None:
        """Forget what waits."""
        self._waiting.clear()


class Batcher(Generic[T]):
    """Gathers windows into batches, in the order that a queue gives them; by default in order of arrival."""

    def __init__(self, settings: BatchSettings, queue: Queue[T] | None = None) -> None:
        self._size, self._wait_s = settings.max_windows, settings.max_wait_ms / 1000
        self._queue: Queue[T] = InOrder() if queue is None else queue

    def __len__(self) -> int:
        return len(self._queue)

    def feed(self, item: T, pcm: Pcm, now_s: float) -> None:
        """Add a window, int16[length]."""
        self._queue.feed(Waiting(item, pcm, now_s))

    @property
    def oldest_s(self) -> float | None:
        """When the queue's oldest window was ready; None while nothing waits."""
        oldest = self._queue.oldest
        return None if oldest is None else oldest.ready_s

    @property
    def share(self) -> float:
        """The share of windows that were taken and not shed, of those that lately left."""
        return self._queue.share

    def due_s(self) -> float | None:
        """Return when the next batch is to be taken, or None while nothing waits."""
        oldest_s = self.oldest_s
        if oldest_s is None or len(self._queue) >= self._size:
            return oldest_s
        return oldest_s + self._wait_s

    def take(self, now_s: float) -> Batch[T] | None:
        """Return the next batch if one is due."""
        due_s = self.due_s()
        if due_s is None or now_s < due_s:
            return None
        taken = self._queue.take(self._size)
        pcm = np.stack([x.pcm for x in taken])
        return Batch([x.item for x in taken], pcm, min(x.ready_s for x in taken))

    def shed(self, before_ms: float, keep: int) -> list[T]:
        """Give up windows that were appended before a time, and the oldest until only `keep` wait."""
        return self._queue.shed(before_ms, keep)

    def reset(self) -> None:
        """Forget what waits."""
        self._queue.reset()
