"""Windows that wait -> those that are scored, those that are shed: sensors are heard by turns.

    twice too many, n = 3          time ───►
    sensor a    # # # . . . # # # . . . # # #        # scored, . SHED
    sensor b    . . . # # # . . . # # # . . .

A turn is n windows, one after another. Were every sensor thinned out evenly, a label that must reach its
threshold in m of n windows might never do so; in a turn it can, so what lasts is heard on every sensor. Next
is the turn of the sensor whose last one ended first. Nothing predicts what can be scored: a window waits for
the turn of its sensor until it is too old, so nothing is shed while all can be scored in time.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from processors.batch import Waiting

T = TypeVar("T")
SENSORS_KEPT = 1000
"""Above this, and twice as many as were kept before, sensors of which nothing waits are forgotten."""
SHARE_WINDOWS = 1000
"""About how many windows back the share of those that were taken looks."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[T]):
    """A window that waits; `waiting` is None once it is taken or shed."""

    waiting: Waiting[T] | None
    sensor: "_Sensor[T]"
    appended_ms: int


@dataclass(slots=True, eq=False)
class _Sensor(Generic[T]):
    """What waits of a sensor, its place in line, and how many windows of its turn are left.

    It keeps its place until its turn is over: what has begun goes on first.
    """

    place: int
    left: int = 0
    fed: bool = True
    in_line: bool = False
    entries: deque[_Entry[T]] = field(default_factory=deque)

    def trim(self) -> bool:
        """Forget what waits no more; say whether anything does."""
        while self.entries and self.entries[0].waiting is None:
            self.entries.popleft()
        return bool(self.entries)


class Turns(Generic[T]):
    """Windows that wait, taken by turns of `turn_windows`.

    `belongs` says of an item whose it is, and when what completed it was appended, in ms since 1970.
    """

    def __init__(self, turn_windows: int, belongs: Callable[[T], tuple[Hashable, int]]) -> None:
        self._turn_windows, self._belongs = turn_windows, belongs
        self._sensors: dict[Hashable, _Sensor[T]] = {}
        self._line: list[tuple[int, _Sensor[T]]] = []
        self._ages: list[tuple[int, int, _Entry[T]]] = []
        self._next = count()
        self._waiting, self._forget_above = 0, SENSORS_KEPT
        self._taken = self._shed = 0.0

    def __len__(self) -> int:
        return self._waiting

    @property
    def share(self) -> float:
        """The share of windows that were taken and not shed, of the last ones."""
        return self._taken / (self._taken + self._shed) if self._shed else 1.0

    @property
    def oldest(self) -> Waiting[T] | None:
        """The window that was appended first, of those that wait."""
        while self._ages and self._ages[0][2].waiting is None:
            heappop(self._ages)
        return self._ages[0][2].waiting if self._ages else None

    def feed(self, waiting: Waiting[T]) -> None:
        """Add a window, later than all of its sensor that wait."""
        key, appended_ms = self._belongs(waiting.item)
        sensor = self._sensors.get(key)
        if sensor is None:
            sensor = self._meet(key)
        sensor.fed = True
        entry = _Entry(waiting, sensor, appended_ms)
        sensor.entries.append(entry)
        heappush(self._ages, (appended_ms, next(self._next), entry))
        self._waiting += 1
        self._line_up(sensor)

    def take(self, most: int) -> list[Waiting[T]]:
        """Return the next windows to score: of turns that have begun, then of those whose turn it is."""
        taken: list[Waiting[T]] = []
        while len(taken) < most and self._line:
            place, sensor = heappop(self._line)
            sensor.in_line = False
            if place == sensor.place and sensor.trim():
                taken.append(self._hear(sensor))
            if sensor.trim():
                self._line_up(sensor)
        self._waiting -= len(taken)
        self._count(len(taken), 0)
        return taken

    def shed(self, before_ms: float, keep: int) -> list[T]:
        """Give up those that were appended before a time, and the oldest until only `keep` wait.

        One that is lost to a turn counts for it: or a sensor whose turn cannot be kept up would never end it.
        """
        lost: list[T] = []
        while (oldest := self.oldest) is not None:
            appended_ms, _, entry = self._ages[0]
            if appended_ms >= before_ms and self._waiting - len(lost) <= keep:
                break
            lost.append(oldest.item)
            entry.waiting = None
            entry.sensor.trim()
            if entry.sensor.left:
                self._count_down(entry.sensor)
        self._waiting -= len(lost)
        self._count(0, len(lost))
        return lost

    def reset(self) -> None:
        """Forget what waits, and whose turn it is."""
        self._sensors.clear()
        self._line.clear()
        self._ages.clear()
        self._waiting = 0

    def _meet(self, key: Hashable) -> _Sensor[T]:
        if len(self._sensors) > self._forget_above:
            kept = {key: sensor for key, sensor in self._sensors.items() if sensor.fed or sensor.entries}
            for sensor in kept.values():
                sensor.fed = False
            self._line = [(sensor.place, sensor) for sensor in kept.values() if sensor.in_line]
            heapify(self._line)
            self._sensors, self._forget_above = kept, max(SENSORS_KEPT, 2 * len(kept))
        sensor = self._sensors[key] = _Sensor[T](next(self._next))
        return sensor

    def _line_up(self, sensor: _Sensor[T]) -> None:
        if not sensor.in_line:
            sensor.in_line = True
            heappush(self._line, (sensor.place, sensor))

    def _hear(self, sensor: _Sensor[T]) -> Waiting[T]:
        entry = sensor.entries.popleft()
        waiting, entry.waiting = entry.waiting, None
        assert waiting is not None  # noqa: S101 - the caller has trimmed
        sensor.left = sensor.left or self._turn_windows
        self._count_down(sensor)
        return waiting

    def _count_down(self, sensor: _Sensor[T]) -> None:
        sensor.left -= 1
        if not sensor.left:
            sensor.place = next(self._next)

    def _count(self, taken: int, shed: int) -> None:
        self._taken += taken
        self._shed += shed
        if self._taken + self._shed > SHARE_WINDOWS:
            self._taken, self._shed = self._taken / 2, self._shed / 2
