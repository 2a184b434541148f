"""A run -> everything that is to be said of it, read off whole arrays (README, *Contract* and *Decisions*).

samples   first                                                  end
          |--SHORT--|=====window 3=====)                          |
                         |=====window 4=====)
                              |=====window 5=====)---- SHORT -----|
          outcomes  |      3        | 4  | 5     |
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import soxr
from numpy.typing import NDArray

from tests.chaos.judge.model import Decides, Scores
from tests.chaos.judge.runs import Run
from tests.chaos.judge.wire import Frame, Pcm

NAMESPACE = UUID("5f3b0c7e-6c1d-5e2a-9a44-0d1e8f6b2c90")

Stretch = tuple[int, int, str]
"""Start, end and outcome."""


@dataclass(frozen=True, slots=True)
class Due:
    """A detection that is to be published, field by field, and the append time of what decided it."""

    fields: Mapping[str, Any]
    decided_ms: int | None


class Scorer(Protocol):
    """What gives windows their scores."""

    def score(self, windows: Pcm) -> Scores:
        """Return float32[K, labels] for int16[K, window]."""
        ...


def detection_id(sensor: str, epoch: bytes, label: str, start_sample: int, digest: str) -> str:
    """Return the UUIDv5 of five fields, each behind its length in four bytes."""
    fields = (sensor.encode(), epoch, label.encode(), start_sample.to_bytes(8), bytes.fromhex(digest))
    name = b"".join(len(field).to_bytes(4) + field for field in fields)
    sha1 = hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()
    return str(UUID(bytes=sha1[:16], version=5))


class Hearing:
    """The windows of a run: `first_window` is the index of the first; row i of an array is the i-th."""

    def __init__(self, run: Run, decides: Decides, model: Scorer) -> None:
        self.run, self._decides = run, decides
        self._samples = -(-decides.window * run.rate_hz // decides.rate_hz)
        self.first_window = -(-run.first * decides.rate_hz // (decides.hop * run.rate_hz))
        self.windows = 0
        while self._end(self.first_window + self.windows) <= run.end:
            self.windows += 1
        pcm, self._missing_before = run.laid_out()
        self.outcomes = self._gaps()
        self._scores = self._scored(pcm, model)
        self._active = self._activity()

    def stretches(self) -> Iterator[Stretch]:
        """Yield the outcome of all that was appended: of each window, what it adds to the one before."""
        done = self.run.first
        for k, outcome in enumerate(self.outcomes.tolist(), self.first_window):
            if done < self._start(k):
                yield done, self._start(k), "SHORT"
                done = self._start(k)
            yield done, self._end(k), outcome
            done = self._end(k)
        if done < self.run.end:
            yield done, self.run.end, "SHORT"

    def detections(self, topic: str, digest: str) -> Iterator[Due]:
        """Yield ACTIVE and ENDED of every maximal run of active windows, cut at segment boundaries."""
        for column, label in enumerate(self._decides.labels):
            for first, last in self._segments(self._active[:, column]):
                of = label, column, topic, digest
                yield self._due("ACTIVE", first, first, of)
                yield self._due("ENDED", first, last, of)

    def _start(self, k: int) -> int:
        return k * self._decides.hop * self.run.rate_hz // self._decides.rate_hz

    def _end(self, k: int) -> int:
        return self._start(k) + self._samples

    def _missing(self, start: int, end: int) -> int:
        before = self._missing_before
        return int(before[end - self.run.first] - before[start - self.run.first])

    def _gaps(self) -> NDArray[np.str_]:
        most = floor(Fraction(str(self._decides.rules.max_missing_s)) * self.run.rate_hz)
        missing = [self._missing(self._start(k), self._end(k)) for k in self._indices()]
        return np.array(["GAP" if found > most else "SCORED" for found in missing], "U6")

    def _indices(self) -> range:
        return range(self.first_window, self.first_window + self.windows)

    def _scored(self, pcm: Pcm, model: Scorer) -> Scores:
        """Return float32[windows, labels], NaN where a window was not scored; mark what FAILED."""
        scores = np.full((self.windows, len(self._decides.labels)), np.nan, np.float32)
        heard = np.flatnonzero(self.outcomes == "SCORED")
        if len(heard):
            scores[heard] = model.score(np.stack([self._fed(pcm, self.first_window + int(i)) for i in heard]))
        failed = heard[~np.isfinite(scores[heard]).all(axis=1)]
        self.outcomes[failed] = "FAILED"
        scores[failed] = np.nan
        return scores

    def _fed(self, pcm: Pcm, k: int) -> Pcm:
        """Return int16[window] at the model's rate, each window resampled alone."""
        first, decides = self.run.first, self._decides
        heard = pcm[self._start(k) - first : self._end(k) - first]
        if self.run.rate_hz != decides.rate_hz:
            floats = soxr.resample(heard.astype(np.float32), self.run.rate_hz, decides.rate_hz, quality="HQ")
            heard = np.rint(floats).clip(-32_768, 32_767).astype(np.int16)
        return np.pad(heard[: decides.window], (0, max(0, decides.window - len(heard))))

    def _activity(self) -> NDArray[np.bool_]:
        """Return bool[windows, labels]: at least m of the last n windows reached the threshold."""
        decides = self._decides
        thresholds = np.array([decides.thresholds[label] for label in decides.labels], np.float32)
        reached: NDArray[np.int64] = np.cumsum(self._scores >= thresholds, axis=0)
        active = np.zeros(reached.shape, bool)
        for column, label in enumerate(decides.labels):
            m, n = decides.m_of_n[label]
            n_before = np.zeros_like(reached[:, column])
            n_before[n:] = reached[:-n, column]
            active[:, column] = reached[:, column] - n_before >= m
        return active

    def _segments(self, active: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """Yield first and last window of each stretch of active windows, cut at boundaries."""
        first = None
        for k, on in zip(self._indices(), active.tolist(), strict=True):
            if first is not None and (not on or self._is_boundary(k)):
                yield first, k - 1
                first = None
            if on and first is None:
                first = k
        if first is not None:
            yield first, self.first_window + self.windows - 1

    def _is_boundary(self, k: int) -> bool:
        return k % self._decides.rules.segment_windows == 0

    def _is_active(self, k: int, column: int) -> bool:
        return k in self._indices() and bool(self._active[k - self.first_window, column])

    def _due(self, state: str, first: int, last: int, of: tuple[str, int, str, str]) -> Due:
        """Say one state of a detection in windows `first` to `last`."""
        (label, column, topic, digest), run, decides = of, self.run, self._decides
        sensor, epoch = run.of
        goes_on = state == "ENDED" and self._is_active(last + 1, column)
        start, end = self._start(first), self._start(last + 1) if goes_on else self._end(last)
        rows = self._scores[first - self.first_window : last + 1 - self.first_window, column]
        fields = {
            "id": detection_id(sensor, run.frames[0].epoch, label, start, digest),
            "sensor": sensor,
            "label": label,
            "state": state,
            "epoch": epoch,
            "start_sample": start,
            "end_sample": end,
            "sample_rate_hz": run.rate_hz,
            "start_us": _utc(start, run.frame_at(start)),
            "end_us": _utc(end, run.frame_at(end if goes_on else end - 1)),
            "peak_score": max((float(x) for x in rows if np.isfinite(x)), default=None),
            "windows": last - first + 1,
            "threshold": decides.thresholds[label],
            "continued": self._is_active(first - 1, column),
            "missing_samples": self._missing(start, end),
            "model_name": decides.name,
            "model_version": decides.version,
            "decision_digest": digest,
            "topic": topic,
            "partition": run.frames[0].partition,
            "first_offset": run.frame_at(start).offset,
            "last_offset": run.frame_at(end - 1).offset,
        }
        return Due(fields, self._decided_ms(first if state == "ACTIVE" else last + 1))

    def _decided_ms(self, k: int) -> int | None:
        """Return the append time of the frame that completed a window, or else of what closed the run."""
        if k not in self._indices():
            return self.run.closed_ms
        return self.run.frame_that_completes(self._end(k)).appended_ms


def _utc(sample: int, frame: Frame) -> int:
    """Return a sample's time, in microseconds since 1970, by a frame whose last sample was read then."""
    return frame.captured_us + (sample - (frame.end - 1)) * 1_000_000 // frame.rate_hz
