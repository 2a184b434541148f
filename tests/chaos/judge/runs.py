"""A log -> runs: which frames count, in which run; what is late, and what is a dead letter (README, *Live*).

appended   |f f f f . . f f|          |f f f f|f f f|        . a gap that the run goes on over
             run                        run     run          a pause opens one, and so does a newer epoch
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from fractions import Fraction
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from tests.chaos.evidence import Rules
from tests.chaos.judge.topic import Logged, Place
from tests.chaos.judge.wire import Frame, Pcm, frame_of, is_tick

Epoch = tuple[str, str]
"""A sensor and its epoch, as text."""


@dataclass(slots=True, eq=False)
class Run:
    """Frames of one sensor that belong together, in order; `closed_ms`: when what ended it was appended."""

    frames: list[Frame]
    closed_ms: int | None = None

    @property
    def of(self) -> Epoch:
        """Whose it is."""
        return self.frames[0].sensor, str(UUID(bytes=self.frames[0].epoch))

    @property
    def first(self) -> int:
        """Its first sample."""
        return self.frames[0].first

    @property
    def end(self) -> int:
        """The sample after its last one."""
        return self.frames[-1].end

    @property
    def rate_hz(self) -> int:
        """Samples a second."""
        return self.frames[0].rate_hz

    def frame_at(self, sample: int) -> Frame:
        """Return the frame that holds a sample, or the latest before it."""
        return self.frames[bisect_right(self.frames, sample, key=lambda frame: frame.first) - 1]

    def frame_that_completes(self, end: int) -> Frame:
        """Return the frame with which all samples before `end` had come, or had been passed over."""
        return self.frames[bisect_right(self.frames, end - 1, key=_end)]

    def laid_out(self) -> tuple[Pcm, NDArray[np.int64]]:
        """Return int16[end - first], zeros where samples are missing, and how many are before each one."""
        pcm = np.zeros(self.end - self.first, np.int16)
        missing = np.ones(len(pcm) + 1, np.int64)
        for frame in self.frames:
            pcm[frame.first - self.first : frame.end - self.first] = frame.pcm
            missing[frame.first - self.first + 1 : frame.end - self.first + 1] = 0
        missing[0] = 0
        return pcm, np.cumsum(missing)


@dataclass(frozen=True, slots=True)
class Admitted:
    """What became of every record of a log; frames that are `late` and letters are nobody's sound."""

    runs: list[Run] = field(default_factory=list)
    late: list[Frame] = field(default_factory=list)
    letters: dict[Place, Logged] = field(default_factory=dict)
    frames: dict[Place, Frame] = field(default_factory=dict)
    ticks: list[Place] = field(default_factory=list)


class _Fate(Enum):
    """What becomes of a frame."""

    OPENS = auto()
    CONTINUES = auto()
    LATE = auto()
    LETTER = auto()


def admit(log: Iterable[Logged], broken: Collection[Place], rules: Rules) -> Admitted:
    """Decide about every record, each partition in its order; those known as `broken` are not even read."""
    admitted, by_partition = Admitted(), defaultdict[int, list[Logged]](list)
    for record in log:
        by_partition[record.partition].append(record)
    for records in by_partition.values():
        _admit(records, broken, rules, admitted)
    return admitted


def _admit(records: Sequence[Logged], broken: Collection[Place], rules: Rules, into: Admitted) -> None:
    latest: dict[str, Run] = {}
    opened: list[Run] = []
    for record in records:
        if is_tick(record):
            into.ticks.append(record.place)
            continue
        frame = None if record.place in broken else frame_of(record)
        if frame is None:
            into.letters[record.place] = record
            continue
        into.frames[record.place] = frame
        run = latest.get(frame.sensor)
        fate = _fate(run, frame, rules)
        if fate is _Fate.LETTER:
            into.letters[record.place] = record
        elif fate is _Fate.LATE:
            into.late.append(frame)
        elif fate is _Fate.CONTINUES and run is not None:
            run.frames.append(frame)
        else:
            if run is not None:
                run.closed_ms = frame.appended_ms
            latest[frame.sensor] = Run([frame])
            opened.append(latest[frame.sensor])
    _close_idle(opened, records, rules)
    into.runs.extend(opened)


def _fate(run: Run | None, frame: Frame, rules: Rules) -> _Fate:
    """Apply the first rule to a frame, given the sensor's latest run."""
    if run is None or frame.appended_ms - run.frames[-1].appended_ms > round(rules.idle_s * 1000):
        return _Fate.OPENS
    last = run.frames[-1]
    if frame.epoch != last.epoch:
        return _Fate.OPENS if frame.epoch > last.epoch else _Fate.LETTER
    if (frame.rate_hz, frame.channels) != (last.rate_hz, last.channels):
        return _Fate.LETTER
    ahead = frame.first - last.end
    if ahead == 0:
        return _Fate.CONTINUES
    if abs(ahead) > Fraction(str(rules.max_gap_s)) * frame.rate_hz:
        return _Fate.OPENS
    return _Fate.LATE if ahead < 0 else _Fate.CONTINUES


def _close_idle(runs: Iterable[Run], records: Sequence[Logged], rules: Rules) -> None:
    """Close runs with the first record that was appended so much later, unless another run closed them."""
    offsets = [record.offset for record in records]
    times = np.array([record.appended_ms for record in records])
    close_ms = round((rules.idle_s + rules.margin_s) * 1000)
    for run in runs:
        since = bisect_right(offsets, run.frames[-1].offset)
        late = np.flatnonzero(times[since:] > run.frames[-1].appended_ms + close_ms)
        found = int(times[since + late[0]]) if len(late) else None
        if found is not None and (run.closed_ms is None or found < run.closed_ms):
            run.closed_ms = found


def _end(frame: Frame) -> int:
    return frame.end
