"""Scores -> detections: which labels are active, with a memory of n windows.

    reached    . x x . x . . . x x          m = 2, n = 3
    active     . . # # # . . . . #          at least m of the last n windows reached
    detection      [=====)       [=        a maximal run of active windows, cut at segments

A label may have an m and an n of its own; the memory is as long as the largest n.

No score older than n windows decides anything, so a worker that takes over hears n windows and knows where
it stands. Windows that were active then have been published by whoever it took over from: nothing is said of
them until they stop or a segment boundary (a multiple of `segment_windows`) passes.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from processors.decision import Decision
from processors.window import Window
from schemas.detection import DetectionState

Scores = NDArray[np.float32]
_NOTHING: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Segment:
    """A label active in windows `first` to `last`; `cut_at` is the window where the next segment goes on."""

    label: int
    first: Window
    last: Window
    continued: bool
    peak: float | None
    cut_at: Window | None = None
    _missing_before_last: int = 0

    def extend(self, window: Window, score: float | None) -> None:
        """Take the next active window and the label's score in it."""
        self._missing_before_last += self.last.hop_missing
        self.last = window
        if score is not None:
            self.peak = score if self.peak is None else max(self.peak, score)

    @property
    def windows(self) -> int:
        """Active windows, gaps among them included."""
        return self.last.index - self.first.index + 1

    @property
    def missing(self) -> int:
        """Samples missing between the segment's start and its end."""
        return self._missing_before_last + (self.last.hop_missing if self.cut_at else self.last.missing)


Change = tuple[DetectionState, Segment]


class Detector:
    """Follows the labels of one run, window by window.

    `unknown_until` is None for a run that this worker saw open: everything was off. Otherwise activity is
    first known at that window.
    """

    def __init__(self, decision: Decision, unknown_until: int | None) -> None:
        spec, self._segment_windows = decision.spec, decision.rules.segment_windows
        self._m_of_n = [spec.m_of_n_of(label) for label in spec.labels]
        self._thresholds = decision.thresholds
        self._reached: deque[frozenset[int]] = deque(maxlen=spec.n)
        self._unknown_until = unknown_until
        self._active = _NOTHING
        self._unsaid: set[int] = set()
        self._open: dict[int, Segment] = {}

    def feed(self, window: Window, scores: Scores | None) -> list[Change]:
        """Decide the next window: `scores` is float32[labels], or None where it was not scored."""
        reached = _NOTHING
        if scores is not None and (scores >= self._thresholds).any():
            reached = frozenset(np.flatnonzero(scores >= self._thresholds).tolist())
        self._reached.append(reached)
        if self._unknown_until is not None and window.index < self._unknown_until:
            return []
        before, self._active = self._active, self._active_labels()
        if window.index == self._unknown_until:
            self._unsaid = set(self._active)
            return []
        concerned = self._active | self._unsaid | self._open.keys()
        return [
            c for label in sorted(concerned) for c in self._follow(label, window, scores, label in before)
        ]

    def finish(self) -> list[Change]:
        """End what is active: the run is over."""
        ended = [(DetectionState.ENDED, segment) for segment in self._open.values()]
        self._open.clear()
        return ended

    def first_needed(self) -> int | None:
        """Return the first window of the oldest open segment."""
        return min((segment.first.index for segment in self._open.values()), default=None)

    def _active_labels(self) -> frozenset[int]:
        if not any(self._reached):
            return _NOTHING
        once = frozenset[int]().union(*self._reached)
        return frozenset(x for x in once if self._is_active(x))

    def _is_active(self, label: int) -> bool:
        m, n = self._m_of_n[label]
        return sum(label in reached for reached in islice(reversed(self._reached), n)) >= m

    def _follow(
        self, label: int, window: Window, scores: Scores | None, was_active: bool
    ) -> Iterable[Change]:
        active, boundary = label in self._active, window.index % self._segment_windows == 0
        if label in self._unsaid:
            if active and not boundary:
                return
            self._unsaid.remove(label)
        segment, score = self._open.get(label), None if scores is None else float(scores[label])
        if segment is not None and active and not boundary:
            segment.extend(window, score)
            return
        if segment is not None:
            segment.cut_at = window if active else None
            yield DetectionState.ENDED, self._open.pop(label)
        if active:
            self._open[label] = opened = Segment(label, window, window, was_active, score)
            yield DetectionState.ACTIVE, opened
