"""A whole log -> everything that is to be said of it, decided at once, without any of the worker's code.

It does what the README's rules say in the plainest way: all frames of a run lie in one array, and windows,
activity and detections are read off it. Only the records' classes and the ids, which have test vectors of
their own, come from `schemas`.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from uuid import UUID

import numpy as np
import soxr
from numpy.typing import NDArray

from processors.decision import Decision
from schemas.coverage import Outcome
from schemas.detection import Detection, DetectionState
from schemas.identity import detection_id
from tests.processors.logs import Entry, Pcm, Sound, score

Place = tuple[str, str]
"""A sensor and its epoch."""
Letter = tuple[int, bytes | None, bytes | None, str]
"""Offset, key, value, and the kind of error."""


@dataclass(slots=True, eq=False)
class Heard:
    """A run: the frames that count, in order."""

    sensor: str
    epoch: bytes
    rate_hz: int
    channels: int
    decision: Decision | None
    last_ms: int = 0
    latest_ms: int = 0
    frames: list[Entry] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    pcm: Pcm = field(default_factory=lambda: np.zeros(0, np.int16))
    arrived: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    @property
    def place(self) -> Place:
        return self.sensor, str(UUID(bytes=self.epoch))

    @property
    def first(self) -> int:
        return self.firsts[0]

    @property
    def end(self) -> int:
        return _end(self.frames[-1])

    def lay_out(self) -> None:
        """Put every sample in its place."""
        self.firsts = [_sound(entry).first for entry in self.frames]
        self.pcm = np.zeros(self.end - self.first, np.int16)
        self.arrived = np.zeros(self.end - self.first, np.bool_)
        for entry in self.frames:
            sound, at = _sound(entry), _sound(entry).first - self.first
            self.pcm[at : at + len(sound.mono)] = sound.mono
            self.arrived[at : at + len(sound.mono)] = True

    def missing(self, start: int, end: int) -> int:
        return int(np.count_nonzero(~self.arrived[start - self.first : end - self.first]))

    def frame_at(self, sample: int) -> Entry:
        """Return the frame that holds a sample, or the latest before it."""
        return self.frames[bisect_right(self.firsts, sample) - 1]

    def utc(self, sample: int, frame: Entry) -> int:
        """Return a sample's time by the clock of a frame, whose last sample it was read for."""
        away = Fraction(sample - (_end(frame) - 1), self.rate_hz)
        return _sound(frame).captured_us + floor(away * 1_000_000)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is to be said of a log."""

    detections: frozenset[Detection]
    letters: frozenset[Letter]
    runs: list[Heard]
    outcomes: list[tuple[Heard, int, int, Outcome]]
    """Run, start, end and outcome of all that was appended."""


Rolled = Sequence[tuple[int, Decision | None, Decision | None, float]]
"""Rollouts, by time: from when on, what decides, what decides for a share of the sensors, and that share."""


def oracle(log: Sequence[Entry], decision: Decision, rolled: Rolled = ()) -> Truth:
    """Decide a whole log."""
    runs, letters = _admit(log, decision, rolled)
    runs = [run for run in runs if run.decision is not None]
    detections: list[Detection] = []
    outcomes: list[tuple[Heard, int, int, Outcome]] = []
    for run in runs:
        run.lay_out()
        assert run.decision is not None
        windows = _Windows(run, run.decision)
        outcomes += [(run, *stretch) for stretch in windows.outcomes()]
        detections += windows.detections()
    return Truth(frozenset(detections), frozenset(letters), runs, outcomes)


def _decides(first: Decision, rolled: Rolled, key: bytes, latest_ms: int) -> Decision | None:
    """Say what decides for a sensor whose latest append time is this."""
    counts: Decision | None = first
    place = int(hashlib.sha256(key).hexdigest()[:13], 16) / 16**13
    for at_ms, model, candidate, share in rolled:
        if at_ms <= latest_ms:
            counts = candidate if place < share else model
    return counts


def _digest(decision: Decision | None) -> str | None:
    return None if decision is None else decision.digest


def _admit(log: Sequence[Entry], decision: Decision, rolled: Rolled) -> tuple[list[Heard], list[Letter]]:
    """Apply the first rule: which frames count, and in which run."""
    idle_ms = decision.rules.idle_s * 1000
    runs: list[Heard] = []
    latest: dict[bytes, Heard] = {}
    letters: list[Letter] = []
    for entry in log:
        if entry.is_tick:
            continue
        if entry.sound is None or entry.key is None:
            letters.append((entry.offset, entry.key, entry.value, ""))
            continue
        sound, run = entry.sound, latest.get(entry.key)
        opens = run is None or entry.timestamp - run.last_ms > idle_ms or sound.epoch > run.epoch
        if run is not None and not opens:
            if sound.epoch < run.epoch:
                letters.append((entry.offset, entry.key, entry.value, "StaleEpochError"))
                continue
            if (sound.rate_hz, sound.channels) != (run.rate_hz, run.channels):
                letters.append((entry.offset, entry.key, entry.value, "InvalidFrameError"))
                continue
            away_s = Fraction(sound.first - run.end, run.rate_hz)
            max_gap_s = Fraction(str(decision.rules.max_gap_s))
            if -max_gap_s <= away_s < 0:
                continue
            opens = abs(away_s) > max_gap_s
        latest_ms = max(entry.timestamp, run.latest_ms if run else 0)
        counts = _decides(decision, rolled, entry.key, latest_ms)
        if run is None or opens or _digest(counts) != _digest(run.decision):
            run = Heard(entry.key.decode(), sound.epoch, sound.rate_hz, sound.channels, counts)
            latest[entry.key] = run
            runs.append(run)
        run.frames.append(entry)
        run.last_ms, run.latest_ms = entry.timestamp, latest_ms
    return runs, letters


class _Windows:
    """The windows of a run: `outcome[k]`, `scores[k]`, and what follows."""

    def __init__(self, run: Heard, decision: Decision) -> None:
        self._run, self._decision, self._spec = run, decision, decision.spec
        self._samples = ceil(Fraction(self._spec.window_samples * run.rate_hz, self._spec.sample_rate_hz))
        self._first = ceil(Fraction(run.first * self._spec.sample_rate_hz, self._hop))
        self._scores: dict[int, NDArray[np.float32]] = {}
        self._outcome: dict[int, Outcome] = {}
        k = self._first
        while self._end(k) <= run.end:
            self._outcome[k] = Outcome.GAP
            if self._missing(k) <= floor(Fraction(str(decision.rules.max_missing_s)) * run.rate_hz):
                row = score(self._model_input(k)[np.newaxis])[0]
                self._outcome[k] = Outcome.SCORED if np.isfinite(row).all() else Outcome.FAILED
                if np.isfinite(row).all():
                    self._scores[k] = row
            k += 1

    @property
    def _hop(self) -> int:
        return self._spec.hop_samples * self._run.rate_hz

    def _start(self, k: int) -> int:
        return floor(Fraction(k * self._hop, self._spec.sample_rate_hz))

    def _end(self, k: int) -> int:
        return self._start(k) + self._samples

    def _missing(self, k: int) -> int:
        return self._run.missing(self._start(k), self._end(k))

    def _model_input(self, k: int) -> Pcm:
        run, spec = self._run, self._spec
        pcm = run.pcm[self._start(k) - run.first : self._end(k) - run.first]
        if run.rate_hz != spec.sample_rate_hz:
            floats = soxr.resample(pcm.astype(np.float32), run.rate_hz, spec.sample_rate_hz, quality="HQ")
            pcm = np.rint(floats).clip(-32768, 32767).astype(np.int16)
        whole = np.zeros(spec.window_samples, np.int16)
        whole[: len(pcm)] = pcm[: len(whole)]
        return whole

    def outcomes(self) -> Iterator[tuple[int, int, Outcome]]:
        """Yield start, end and outcome of every part of the run."""
        done = self._run.first
        for k, outcome in self._outcome.items():
            if done < self._start(k):
                yield done, self._start(k), Outcome.SHORT
                done = self._start(k)
            yield done, self._end(k), outcome
            done = self._end(k)
        if done < self._run.end:
            yield done, self._run.end, Outcome.SHORT

    def detections(self) -> Iterator[Detection]:
        """Yield ACTIVE and ENDED of every segment."""
        segment = self._decision.rules.segment_windows
        for column, label in enumerate(self._spec.labels):
            on = [k for k in self._outcome if self._is_active(k, column)]
            members = set(on)
            for k in on:
                if k - 1 in members and k % segment:
                    continue
                last = k
                while last + 1 in members and (last + 1) % segment:
                    last += 1
                continued = k - 1 in members
                yield self._detection(DetectionState.ACTIVE, column, label, k, k, False, continued)
                cut = last + 1 in members
                yield self._detection(DetectionState.ENDED, column, label, k, last, cut, continued)

    def _is_active(self, k: int, column: int) -> bool:
        spec, label = self._spec, self._spec.labels[column]
        threshold, own = np.float32(spec.thresholds[label]), spec.m_of_n or {}
        m, n = own.get(label, (spec.m, spec.n))
        heard = [self._scores.get(j) for j in range(k - n + 1, k + 1)]
        return sum(row is not None and bool(row[column] >= threshold) for row in heard) >= m

    def _detection(
        self, state: DetectionState, column: int, label: str, k: int, last: int, cut: bool, continued: bool
    ) -> Detection:
        run, start = self._run, self._start(k)
        peaks = [float(self._scores[j][column]) for j in range(k, last + 1) if j in self._scores]
        end = self._start(last + 1) if cut else self._end(last)
        ends_in = run.frame_at(end - 1)
        return Detection(
            id=detection_id(run.sensor, run.epoch, label, start, self._decision.digest),
            sensor=run.sensor,
            label=label,
            state=state,
            epoch=run.place[1],
            start_sample=start,
            end_sample=end,
            sample_rate_hz=run.rate_hz,
            start_us=run.utc(start, run.frame_at(start)),
            end_us=run.utc(end, run.frame_at(end) if cut else ends_in),
            peak_score=max(peaks, default=None),
            windows=last - k + 1,
            threshold=self._spec.thresholds[label],
            continued=continued,
            missing_samples=run.missing(start, end),
            model_name=self._spec.name,
            model_version=self._spec.version,
            decision_digest=self._decision.digest,
            topic="audio.frames",
            partition=3,
            first_offset=run.frame_at(start).offset,
            last_offset=ends_in.offset,
        )


def _sound(entry: Entry) -> Sound:
    assert entry.sound is not None
    return entry.sound


def _end(entry: Entry) -> int:
    return _sound(entry).first + len(_sound(entry).mono)
