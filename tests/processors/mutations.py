"""The pipeline with one rule broken at a time: what the judge of `worker.py` must notice.

Each is a subclass that changes one thing of one partition's worker; the rest is the real code.
"""

from typing import ClassVar

from processors.admission import Sensor
from processors.decision import Decision
from processors.detect import Change, Detector, Scores
from processors.partition import LogRecord, Output, Partition, Start
from processors.pcm import Pcm
from processors.pipeline import PartitionKey, Pipeline
from processors.run import Feed, Opening, Run, Said
from processors.window import Window, Windower
from schemas.frame import AudioFrame


class Mutant(Pipeline):
    """A pipeline whose partitions are of another class."""

    PARTITION: ClassVar[type[Partition]] = Partition

    def _partition(self, key: PartitionKey, start: Start) -> Partition:
        emit, score, counts, course = (
            self._outputs.append,
            self._queue,
            self._counts,
            self._courses.get(key[0]),
        )
        return self.PARTITION(*key, start, self.decision, self._codec, emit, score, counts, None, course)


class _ForgetsWhereSensorsStand(Partition):
    def _hear(self, record: LogRecord, frame: AudioFrame, pcm: Pcm, feed: Feed) -> None:
        sensor = self._sensors.get(record.key or b"")
        if sensor is not None and not sensor.runs and record.offset >= self._start:
            sensor.expected = frame.first_sample
        super()._hear(record, frame, pcm, feed)


class NoExpected(Mutant):
    """The scan does not tell which sample is next."""

    PARTITION = _ForgetsWhereSensorsStand


class _Changed(Partition):
    """A partition whose new runs are changed before they hear anything."""

    def _run_for(
        self, sensor: Sensor, decision: Decision, frame: AudioFrame, offset: int, opening: Opening | None
    ) -> Run:
        before = sensor.run
        run = super()._run_for(sensor, decision, frame, offset, opening)
        if run is not before:
            self._change(run, frame, offset, opening)
        return run

    def _change(self, run: Run, frame: AudioFrame, offset: int, opening: Opening | None) -> None:
        raise NotImplementedError


class _Loud(Detector):
    def feed(self, window: Window, scores: Scores | None) -> list[Change]:
        changes = super().feed(window, scores)
        self._unsaid.clear()
        return changes


class _SaysWhatOthersHaveSaid(_Changed):
    def _change(self, run: Run, frame: AudioFrame, offset: int, opening: Opening | None) -> None:
        run._detector = _Loud(run.decision, run._detector._unknown_until)


class NoQuiet(Mutant):
    """Windows that were active before the take-over are said to begin."""

    PARTITION = _SaysWhatOthersHaveSaid


class _DoesNotWait(Partition):
    def _say(self, sensor: Sensor, run: Run, said: Said) -> None:
        self._emit(Output(self.topic, self.index, sensor.key, said.record, said.slot, {}))


class NoAck(Mutant):
    """The mark passes what has not been acknowledged."""

    PARTITION = _DoesNotWait


class _BuriesInPassing(Partition):
    def _hold(self, output: Output, offset: int) -> None:
        self._emit(output)


class NoLetterAck(Mutant):
    """The mark passes dead letters that have not been acknowledged."""

    PARTITION = _BuriesInPassing


class _KeepsAnchors(Windower):
    def offset_at(self, index: int) -> int:
        return self.first_offset if index < self.first_index else self._anchors[index].offset


class _Forgetful(Detector):
    def first_needed(self) -> int | None:
        return None


class _ForgetsSegments(_Changed):
    def _change(self, run: Run, frame: AudioFrame, offset: int, opening: Opening | None) -> None:
        run._windower.__class__ = _KeepsAnchors
        run._detector = _Forgetful(run.decision, run._detector._unknown_until)


class NoSegment(Mutant):
    """The mark passes the first window of an open segment."""

    PARTITION = _ForgetsSegments


class _OneLate(Windower):
    def offset_at(self, index: int) -> int:
        return super().offset_at(index + 1)


class _KeepsOneWindowTooFew(_Changed):
    def _change(self, run: Run, frame: AudioFrame, offset: int, opening: Opening | None) -> None:
        rate_hz = frame.sample_rate_hz
        run._windower = _OneLate(run.decision, rate_hz, frame.first_sample, offset, taken_over=not opening)


class OffByOne(Mutant):
    """The mark keeps n - 1 windows before what is needed."""

    PARTITION = _KeepsOneWindowTooFew


class _PassesCoverage(_Changed):
    def _change(self, run: Run, frame: AudioFrame, offset: int, opening: Opening | None) -> None:
        run._windower.__class__ = _KeepsAnchors
        run.__class__ = _CoverageIsSaid


class _CoverageIsSaid(Run):
    def needed_offset(self) -> int:
        covered, self._covered = self._covered, None
        needed = super().needed_offset()
        self._covered = covered
        return needed


class NoCoverageHold(Mutant):
    """The mark passes coverage that has not been said."""

    PARTITION = _PassesCoverage


class _TakesEverybodyForNew(Partition):
    def _run_for(
        self, sensor: Sensor, decision: Decision, frame: AudioFrame, offset: int, opening: Opening | None
    ) -> Run:
        fresh = sensor.run is None
        return super()._run_for(
            sensor, decision, frame, offset, opening or (Opening.OPENED if fresh else None)
        )


class NoUnknown(Mutant):
    """A sensor that was live at the take-over is taken for one that begins."""

    PARTITION = _TakesEverybodyForNew
