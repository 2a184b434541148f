"""What a model heard in a recording: all figures are computed from this.

windows     0 [=========)                    scores float32[W, labels], power float64[W]
            1      [=========)               NaN in both where too much of a window was missing
            2           [=========)
activity    the m-th highest of a label's last n scores: the highest threshold at which it is active
curve       |----|----|----|----|            the highest activity of the windows that hold a moment
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.model import ModelSpec

Pcm = NDArray[np.int16]
Flags = NDArray[np.bool_]
SEGMENT_S = 10.0
"""What lasts longer is one false alarm for each of these that it has begun."""
LEAST, MOST = 1e-7, 1.0 - 1e-7
"""Scores are kept within these before their log-odds are taken."""


@dataclass(frozen=True, slots=True)
class Found:
    """A detection, in seconds from the recording's start; segments are joined."""

    label: str
    start_s: float
    end_s: float
    score: float
    """The highest of its windows, 0 where none of them was scored."""

    @property
    def false_alarms(self) -> int:
        """How many false alarms it is where nothing should be found."""
        return int(segments(np.array(self.end_s - self.start_s)))

    def followed_by(self, other: "Found") -> "Found":
        """Return this detection as it goes on in its next segment."""
        return Found(self.label, self.start_s, other.end_s, max(self.score, other.score))


@dataclass(frozen=True)
class Heard:
    """One recording of `samples` at `rate_hz`; windows are `[starts, ends)` in its samples."""

    spec: ModelSpec
    rate_hz: int
    samples: int
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    scores: NDArray[np.float32]
    power: NDArray[np.float64]
    """Mean square of each window as the model was given it; full scale is 1."""
    found: tuple[Found, ...]

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.samples / self.rate_hz

    @property
    def scored(self) -> Flags:
        """Tell which windows were scored."""
        return np.asarray(np.isfinite(self.power))

    @cached_property
    def logits(self) -> NDArray[np.float64]:
        """Log-odds of the scores, whatever activation they come from; `float64[W, labels]`."""
        return log_odds(self.scores)

    def guess(self, labels: Sequence[str]) -> str | None:
        """Name one of `labels` for the whole recording, or None where nothing was scored or all is silence.

        Log-odds are added up, weighted by the root of each window's power.
        """
        power = self.power[self.scored]
        if not power.any():
            return None
        weights = np.sqrt(power / max(float(power.max()), 1e-20))
        columns = [self.spec.labels.index(label) for label in labels]
        total = (self.logits[self.scored][:, columns] * weights[:, None]).sum(axis=0)
        return labels[int(total.argmax())]

    def curve(self, label: str, m: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return times `float64[T + 1]`, and the threshold `float32[T]` up to which a detection holds each.

        A detection at threshold t, by m of n windows, is a run of moments where this is at least t: what the
        pipeline would say, but that detections of a label which touch become one. The times are those at
        which windows start or end, from 0 to the recording's end.
        """
        reach = activity(self.scores[:, self.spec.labels.index(label)], m, n)
        bounds = np.unique(np.concatenate([[0], self.starts, self.ends, [self.samples]]))
        values = np.zeros(bounds.size - 1, np.float32)
        firsts, lasts = np.searchsorted(bounds, self.starts), np.searchsorted(bounds, self.ends)
        for step in range(int((lasts - firsts).max(initial=0))):
            held = firsts + step < lasts
            np.maximum.at(values, firsts[held] + step, reach[held])
        return bounds / self.rate_hz, values

    def decided_by(self, spec: ModelSpec) -> "Heard":
        """Return what would have been detected by a spec with other thresholds and other m of n."""
        found = [f for label in spec.labels for f in self._found(label, spec)]
        return replace(self, spec=spec, found=tuple(sorted(found, key=lambda f: (f.start_s, f.label))))

    def _found(self, label: str, spec: ModelSpec) -> Iterator[Found]:
        times, values = self.curve(label, *spec.m_of_n_of(label))
        reached = np.pad(values >= np.float32(spec.thresholds[label]), 1).astype(np.int8)
        steps = np.diff(reached)
        for first, last in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
            yield Found(label, float(times[first]), float(times[last]), float(values[first:last].max()))

    def spans(self, label: str) -> Iterator[tuple[float, float]]:
        """Yield where the pipeline detected a label; detections that touch or overlap are one."""
        yield from joined((f.start_s, f.end_s) for f in self.found if f.label == label)


def hours_of(heard: Sequence[Heard]) -> float:
    """Return how long recordings are together."""
    return sum(one.seconds for one in heard) / 3600


def segments(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many segments of 10 s detections of such lengths have begun, at least one each."""
    return np.asarray(np.maximum(np.ceil(seconds / SEGMENT_S - 1e-9), 1), np.int64)


def log_odds(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)), finite also for scores of 0 and 1; NaN stays NaN."""
    kept = np.clip(scores.astype(np.float64), LEAST, MOST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def activity(scores: NDArray[np.float32], m: int, n: int) -> NDArray[np.float32]:
    """Return the m-th highest of the last n scores of every window, `float32[W]`.

    A label is active in a window at a threshold exactly where this reaches it. A window that was not scored
    counts like one that has reached nothing, as it does live.
    """
    if not scores.size:
        return scores
    led = np.concatenate([np.zeros(n - 1, np.float32), np.nan_to_num(scores, nan=0.0)])
    last_n = np.lib.stride_tricks.sliding_window_view(led, n)
    return np.asarray(np.partition(last_n, n - m, axis=1)[:, n - m])


def joined(spans: Iterator[tuple[float, float]], pause_s: float = 0.0) -> Iterator[tuple[float, float]]:
    """Join spans, in order of their start, between which there is at most a pause."""
    held: tuple[float, float] | None = None
    for start_s, end_s in spans:
        if held is not None and start_s <= held[1] + pause_s:
            held = held[0], max(held[1], end_s)
            continue
        if held is not None:
            yield held
        held = start_s, end_s
    if held is not None:
        yield held
