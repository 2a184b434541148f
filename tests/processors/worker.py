"""A log read by workers that are killed at random, and the judge of what they said.

A worker takes records, scores batches late and in any order, and has its outputs acknowledged late, in any
order, or lost when it is killed. The next one starts at the mark that was committed last.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isclose, log10

import numpy as np
from numpy.typing import NDArray

from processors.batch import Batch, BatchSettings
from processors.course import Course
from processors.decision import Decision
from processors.partition import Output, Start
from processors.pipeline import Pipeline
from processors.run import Feed, Slot
from schemas.coverage import Coverage, Level, Outcome
from schemas.deadletter import DeadLetter
from schemas.detection import Detection
from schemas.frame import AudioFrame, Encoding
from schemas.plain import plain_frames
from schemas.sensor import Presence, SensorState
from tests.processors.build import epoch
from tests.processors.logs import CODEC, IDLE_MS, MARGIN_MS, Entry, score
from tests.processors.oracle import Heard, Letter, Truth

KEY = ("audio.frames", 3)
_FRAME = AudioFrame(epoch(1), 0, 1, 0, 1000, 1, Encoding.PCM_S16LE, bytes(2))
FRAME_HEADER = CODEC.encode(_FRAME)[:10]
"""What every frame in the log begins with: two bytes of mark, eight of fingerprint."""
Said = Detection | Coverage | SensorState | DeadLetter
Scan = Callable[[Sequence[Entry], int], int]
_MOST_KILLS = 300


def scan_from(log: Sequence[Entry], start: int) -> int:
    """Return the position of the first record appended in `idle_s + 2 margin` before the one at `start`."""
    position = start
    while position and log[position - 1].timestamp >= log[start].timestamp - IDLE_MS - 2 * MARGIN_MS:
        position -= 1
    return position


def no_scan(log: Sequence[Entry], start: int) -> int:
    """See nothing of what was before."""
    return start


@dataclass(slots=True)
class Reading:
    """What came of reading a log."""

    said: list[Said] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    records_read: int = 0


class Workers:
    """Reads one log to its end, however often it is killed."""

    def __init__(
        self,
        log: Sequence[Entry],
        decision: Decision,
        r: random.Random,
        pipeline: type[Pipeline] = Pipeline,
        scan: Scan = scan_from,
        course: Course | None = None,
    ) -> None:
        self._course = course or Course(decision)
        self._first = decision
        self._log, self._decision, self._r = log, decision, r
        self._kind, self._scan = pipeline, scan
        self._pipeline = self._new_pipeline()
        self._scoring: list[Batch[Slot]] = []
        self._sent: list[Output] = []
        self._slow: type[Said] | None = None
        self._now_s = 0.0
        self.reading = Reading(marks=[log[0].offset])

    def run(self) -> Reading:
        """Read until the log ends."""
        position, kills = 0, 0
        while position < len(self._log):
            kills += 1
            self._take_over(position)
            most = 400 if kills < _MOST_KILLS else len(self._log)
            stop = min(len(self._log), position + self._r.randint(1, most))
            self._read(position, stop)
            self.reading.records_read += stop - position
            position = stop if stop == len(self._log) else self._last_mark()
        self._finish()
        return self.reading

    def _new_pipeline(self) -> Pipeline:
        settings = BatchSettings(max_windows=self._r.randint(1, 9), max_wait_ms=5)
        made = self._kind(self._decision, CODEC, settings)
        made.set_course(KEY[0], self._course)
        return made

    def _learn(self, upto: int) -> None:
        """Tell the worker, in time, which rollouts there are: those that it needs by now, or all."""
        if self._course.stages:
            latest = max(entry.timestamp for entry in self._log[:upto])
            known = [stage for stage in self._course.stages if stage.at_ms <= latest]
            all_of_them = self._r.random() < 0.3
            self._pipeline.set_course(KEY[0], self._course if all_of_them else Course(self._first, known))

    def _last_mark(self) -> int:
        return self.reading.marks[-1] - self._log[0].offset

    def _take_over(self, position: int) -> None:
        """Begin a generation: in a new process, or in the same, whose calls then come back late."""
        log, r = self._log, self._r
        self._slow = r.choice((None, None, DeadLetter, SensorState, Coverage, Detection))
        if r.random() < 0.7:
            self._pipeline = self._new_pipeline()
            self._arrive(r.sample(self._sent, r.randint(0, len(self._sent))))
            self._scoring.clear()
            self._sent.clear()
        scan = self._scan(log, position)
        self._pipeline.assign({KEY: Start(log[position].offset, log[scan].offset)})
        self._feed(log[scan:position])

    def _feed(self, entries: Sequence[Entry]) -> None:
        """Feed records one by one, or after those that are plain frames have been read at once."""
        values = [entry.value for entry in entries]
        plain = plain_frames(values, FRAME_HEADER) if self._r.random() < 0.7 else None
        self._pipeline.feed(KEY, entries, Feed(self._now_s), plain)

    def _read(self, position: int, stop: int) -> None:
        r = self._r
        scores, acknowledges = r.choice((0.3, 0.6, 1.0)), r.choice((0.2, 0.6, 1.0))
        while position < stop:
            upto = min(stop, position + r.randint(1, 12))
            self._now_s += r.random() * 0.01
            self._learn(upto)
            self._feed(self._log[position:upto])
            position = upto
            while (batch := self._pipeline.take(self._now_s)) is not None:
                self._scoring.append(batch)
            if r.random() < scores:
                self._score(r.randint(1, 9))
            self._sent += self._pipeline.outputs()
            if r.random() < acknowledges:
                self._acknowledge(r.randint(1, 90))
            if r.random() < 0.5:
                self.reading.marks.append(self._pipeline.partitions[KEY].mark())

    def _score(self, batches: int) -> None:
        for _ in range(min(batches, len(self._scoring))):
            batch = self._scoring.pop(self._r.randrange(len(self._scoring)))
            self._pipeline.scored(batch, score(batch.pcm), self._now_s)

    def _acknowledge(self, outputs: int) -> None:
        """Acknowledge the oldest of what is in flight, or any of it; one kind may not come back at all."""
        sent = [x for x in self._sent if self._slow is None or not isinstance(x.record, self._slow)]
        count = min(outputs, len(sent))
        taken = sent[:count] if self._r.random() < 0.8 else self._r.sample(sent, count)
        for output in taken:
            self._sent.remove(output)
            output.acknowledged()
        self._arrive(taken)

    def _arrive(self, outputs: Iterable[Output]) -> None:
        self.reading.said += [output.record for output in outputs]

    def _finish(self) -> None:
        """End the log: everything is scored, said and acknowledged."""
        pipeline = self._pipeline
        pipeline.finish()
        self._now_s += 1
        while (batch := pipeline.take(self._now_s)) is not None:
            self._scoring.append(batch)
        self._score(len(self._scoring))
        self._sent += pipeline.outputs()
        for output in self._sent:
            output.acknowledged()
        self._arrive(self._sent)
        self.reading.marks.append(pipeline.partitions[KEY].mark())


def judge(log: Sequence[Entry], truth: Truth, reading: Reading) -> list[str]:
    """Say in what way the workers' words differ from the truth."""
    said, wrong = reading.said, []
    detections = {record for record in said if isinstance(record, Detection)}
    wrong += [f"detection missing: {x}" for x in truth.detections - detections]
    wrong += [f"detection extra: {x}" for x in detections - truth.detections]
    letters = {_letter(record) for record in said if isinstance(record, DeadLetter)}
    wrong += [f"dead letters differ: {x}" for x in _letters(truth) ^ letters]
    coverage = {record for record in said if isinstance(record, Coverage)}
    wrong += _judge_union(truth, coverage)
    wrong += [f"not true: {record}" for record in coverage if not _is_true(record, truth)]
    wrong += _judge_last_states(truth, [x for x in said if isinstance(x, SensorState)])
    marks = reading.marks
    wrong += [f"mark {b} after {a}" for a, b in pairwise(marks) if b < a]
    if marks[-1] != log[-1].offset + 1:
        wrong.append(f"the last mark is {marks[-1]}, the log ends at {log[-1].offset + 1}")
    return wrong


def _letter(letter: DeadLetter) -> Letter:
    from_admission = letter.exception in ("StaleEpochError", "InvalidFrameError")
    readable = from_admission and letter.key not in (None, b"\xff")
    return letter.offset, letter.key, letter.value, letter.exception if readable else ""


def _letters(truth: Truth) -> set[Letter]:
    return set(truth.letters)


Map = dict[tuple[str, str], NDArray[np.uint8]]
_BIT = {outcome: 1 << n for n, outcome in enumerate(Outcome)}


def _judge_union(truth: Truth, coverage: Iterable[Coverage]) -> list[str]:
    """Compare, sample by sample, the outcomes that were said with those that are true."""
    lowest: dict[tuple[str, str], int] = {}
    highest: dict[tuple[str, str], int] = {}
    for run in truth.runs:
        lowest[run.place] = min(lowest.get(run.place, run.first), run.first)
        highest[run.place] = max(highest.get(run.place, run.end), run.end)
    want: Map = {place: np.zeros(highest[place] - lowest[place], np.uint8) for place in lowest}
    got: Map = {place: np.zeros_like(samples) for place, samples in want.items()}
    for run, start, end, outcome in truth.outcomes:
        want[run.place][start - lowest[run.place] : end - lowest[run.place]] |= _BIT[outcome]
    wrong = []
    for x in coverage:
        place = x.sensor or "", x.epoch or ""
        start, end = x.start_sample or 0, x.end_sample or 0
        if place not in lowest or not lowest[place] <= start < end <= highest[place]:
            wrong.append(f"coverage of what never was: {x}")
            continue
        got[place][start - lowest[place] : end - lowest[place]] |= _BIT[x.outcome]
    for place, samples in want.items():
        differ = np.flatnonzero(samples != got[place])
        if len(differ):
            wrong.append(f"coverage of {place} differs at {differ[:5] + lowest[place]}")
    return wrong


def _is_true(record: Coverage, truth: Truth) -> bool:
    """Check what a coverage record says beside its outcome."""
    start, end = record.start_sample or 0, record.end_sample or 0
    for run in truth.runs:
        offsets = [entry.offset for entry in run.frames]
        if record.first_offset in offsets and record.last_offset in offsets:
            break
    else:
        return False
    if not run.first <= start < end <= run.end or run.place != (record.sensor, record.epoch):
        return False
    holds, ends_in = run.frame_at(start), run.frame_at(end - 1)
    arrived = run.arrived[start - run.first : end - run.first]
    first_inside = run.frame_at(start + int(arrived.argmax())) if arrived.any() else holds
    return (
        record.first_offset in (holds.offset, first_inside.offset)
        and record.last_offset == ends_in.offset
        and record.start_us in (run.utc(start, holds), run.utc(start, first_inside))
        and record.end_us in (run.utc(end, ends_in), run.utc(end, run.frame_at(end)))
        and run.decision is not None
        and record.decision_digest == run.decision.digest
        and record.missing_samples == run.missing(start, end)
        and _same_level(record.level, run, start, end)
    )


def _same_level(level: Level | None, run: Heard, start: int, end: int) -> bool:
    at = slice(start - run.first, end - run.first)
    values = run.pcm[at][run.arrived[at]].astype(np.int64)
    if level is None or not len(values):
        return level is None and not len(values)
    mean_square = int((values**2).sum()) / len(values)
    return (
        _close(level.rms_dbfs, 10 * log10(mean_square / 2**30) if mean_square else None)
        and _close(level.peak_dbfs, 20 * log10(np.abs(values).max() / 2**15) if mean_square else None)
        and isclose(level.zero_fraction, np.count_nonzero(values == 0) / len(values))
        and isclose(level.clipped_fraction, np.isin(values, (-32768, 32767)).mean())
        and isclose(level.dc_fraction, values.mean() / 2**15, abs_tol=1e-15)
    )


def _close(a: float | None, b: float | None) -> bool:
    return a is b if a is None or b is None else isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _judge_last_states(truth: Truth, states: list[SensorState]) -> list[str]:
    """Every sensor is SILENT when its last run is over, and its state says where."""
    last = {run.sensor: run for run in truth.runs}
    wrong = []
    for sensor, run in last.items():
        frame = run.frames[-1]
        want = (
            run.place[1],
            run.end,
            run.last_ms * 1000,
            run.last_ms * 1000,
            frame.sound and frame.sound.captured_us,
            frame.offset,
        )
        silent = {
            (x.epoch, x.end_sample, x.since_us, x.appended_at_us, x.captured_at_us, x.last_offset)
            for x in states
            if x.sensor == sensor and x.state is Presence.SILENT
        }
        if want not in silent:
            wrong.append(f"{sensor} was never said to be SILENT at {want}")
    return wrong
