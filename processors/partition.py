"""Partition: one partition's log, read record by record; who is live, what runs, what is still needed.

    offsets     scan_from ........ start ........................ position
                |-- who is live --|-- windows, outputs ----------|
                                        ^ mark: the lowest offset that is still needed; what is committed

Five rules make what is said here a function of the log alone (README, "The frame log is the state"):
admission, closing, the mark, taking over, generations. The last of them belongs to `Pipeline`.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from processors.admission import Sensor, admit, meet
from processors.course import Course, same
from processors.decision import Decision
from processors.pcm import Pcm, mono
from processors.place import Place
from processors.run import Feed, Opening, Run, Said, Slot
from schemas.codec import Codec
from schemas.coverage import Coverage, Outcome
from schemas.deadletter import DeadLetter, Header
from schemas.detection import Detection
from schemas.errors import DeadLetterError, LogOrderError
from schemas.frame import AudioFrame, Encoding
from schemas.identity import epoch_text
from schemas.latency import Readings
from schemas.plain import PlainFrame, as_frame
from schemas.sensor import SensorState

TRACEPARENT_HEADER = "traceparent"
"""Names the trace that a frame belongs to, and what is heard in it: https://www.w3.org/TR/trace-context/."""
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
TICK_HEADER = "earwitness-tick"
"""Marks a record that only brings the broker's clock into the log of a partition that has gone quiet."""


class LogRecord(Protocol):
    """A record as a Kafka client returns it; `timestamp` is its append time in milliseconds since 1970."""

    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[Header]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Start:
    """Where a worker takes a partition over.

    `start` is the first offset that it answers for; from `scan_from` it only looks who is live. `cut` says
    that retention removed records that the scan should have seen; `expired_from`, that it removed records
    which nobody has read: all from that offset to `start`.
    """

    start: int
    scan_from: int
    cut: bool = False
    expired_from: int | None = None


@dataclass(slots=True, eq=False)
class Output:
    """A record to publish to partition `partition`, under `key`; `slot` is the window that decided it.

    `sent` is when the stages of that window were over, once it has been sent.
    """

    topic: str
    partition: int
    key: bytes | None
    record: Detection | Coverage | SensorState | DeadLetter
    slot: Slot | None
    _held_in: dict[object, int]
    sent: Readings | None = None

    def acknowledged(self) -> None:
        """Let go of what was needed to say this again: it is in the log."""
        self._held_in.pop(self, None)


class Partition:
    """One partition as one worker reads it.

    `emit` is given every output as it is decided, `score` every window that is to be scored; `counts` counts
    frames that were `late` and windows that were a `gap`; `decided` is given every window with its outcome.
    `course` may be replaced by one with more stages, as long as none begins in what has been read.
    """

    def __init__(
        self,
        topic: str,
        index: int,
        start: Start,
        decision: Decision,
        codec: Codec,
        emit: Callable[[Output], None],
        score: Callable[[Slot, Pcm], None],
        counts: Counter[str],
        decided: Callable[[Slot], None] | None = None,
        course: Course | None = None,
    ) -> None:
        self._course = course or Course(decision)
        self.topic, self.index, self.position = topic, index, start.scan_from
        self._start, self._cut = start.start, start.cut
        self._decision, self._codec, self._emit, self._score = decision, codec, emit, score
        self._counts, self._decided = counts, decided
        rules = decision.rules
        self._idle_ms = round(rules.idle_s * 1000)
        self._close_ms = round((rules.idle_s + rules.margin_s) * 1000)
        self._sensors: dict[bytes, Sensor] = {}
        self._runs: dict[Run, Sensor] = {}
        self._close_after: float = inf
        self._cut_ms: int | None = None
        self._held: dict[object, int] = {}
        self._floor = start.start
        if start.expired_from is not None:
            self._floor = start.expired_from
            self._expire(start.expired_from)

    @property
    def course(self) -> Course:
        """What decides, from when on."""
        return self._course

    @course.setter
    def course(self, course: Course) -> None:
        self._course = course
        for sensor in self._sensors.values():
            sensor.decided_until_ms = 0  # to be looked up again

    @property
    def open_runs(self) -> int:
        """How many runs have been opened and not been closed."""
        return sum(not run.closed for run in self._runs)

    @property
    def run_count(self) -> int:
        """How many runs are open, or have still something to say."""
        return len(self._runs)

    @property
    def heard(self) -> set[bytes]:
        """The keys of the sensors that have an open run."""
        return {sensor.key for run, sensor in self._runs.items() if not run.closed}

    def feed(self, record: LogRecord, feed: Feed, plain: PlainFrame | None = None) -> None:
        """Take the next record of the log; `plain` is the frame that has been read of it already.

        Raises:
            LogOrderError: it is not the next one.
            SchemaUnresolvedError: the registry must be asked first; nothing has changed.

        """
        self._expect(record)
        try:
            frame, pcm = self._read(record, plain, feed)
        except DeadLetterError as exc:
            self._pass(record)
            self._bury(record, exc)
            return
        self._pass(record)
        if frame is None or pcm is None:
            return
        try:
            self._hear(record, frame, pcm, feed)
        except DeadLetterError as exc:
            self._bury(record, exc)

    def go_on(self, record: LogRecord, frame: PlainFrame) -> bool:
        """Take the next record if it does nothing but add samples to a run: the same as `feed`, but quick.

        Returns whether it was such a record; if not, nothing has changed.
        """
        first_sample, end_sample, captured_us, rate_hz, epoch_at, data_at = frame
        sensor, value = self._sensors.get(record.key or b""), record.value or b""
        offset, now_ms = record.offset, record.timestamp
        if (
            sensor is None
            or first_sample != sensor.expected
            or not value.startswith(sensor.epoch, epoch_at)
            or rate_hz != sensor.rate_hz
            or sensor.channels != 1
            or not sensor.latest_ms <= now_ms <= sensor.last_ms + self._idle_ms
            or now_ms >= sensor.decided_until_ms
            or now_ms > self._close_after
            or offset != self.position
            or sensor.run is None
            or len(sensor.runs) > 1
            or not sensor.run.go_on(end_sample, value, data_at, offset, captured_us, now_ms)
        ):
            return False
        self.position = offset + 1
        sensor.last_ms = sensor.latest_ms = now_ms
        sensor.expected = end_sample
        return True

    def reject(self, record: LogRecord, error: DeadLetterError) -> None:
        """Take the next record as one that cannot be read."""
        self._pass(record)
        self._bury(record, error)

    def skip(self, record: LogRecord) -> None:
        """Take the next record as one of a sensor that nobody asks about: only its time counts.

        Raises:
            LogOrderError: it is not the next one.

        """
        self._expect(record)
        self._pass(record)

    def advance(self, run: Run) -> None:
        """Say what can be said, now that an outcome of one of the run's windows is known."""
        if run.done:
            return
        sensor = self._runs[run]
        while sensor.runs:
            head = sensor.runs[0]
            for said in head.advance(followed=len(sensor.runs) > 1):
                self._say(sensor, head, said)
            if not head.done:
                return
            del sensor.runs[0]
        if sensor.decision is not None:
            del self._sensors[sensor.key]  # its last run closed because it went quiet

    def mark(self) -> int:
        """Return the low-water mark: every offset from here on is still needed, or has not been read."""
        for run in [run for run in self._runs if run.done and not run.unacknowledged]:
            del self._runs[run]
        if any(run.closed for run in self._runs):
            return self._floor  # a closed run has something to say, or in flight: wait where we are
        needed = [run.needed_offset() for run in self._runs]
        self._floor = min([max(self.position, self._start), *needed, *self._held.values()])
        return self._floor

    def finish(self) -> None:
        """Close every run: the log ends here for good."""
        for sensor in list(self._sensors.values()):
            self._close(sensor)

    def _read(
        self, record: LogRecord, plain: PlainFrame | None, feed: Feed
    ) -> tuple[AudioFrame | None, Pcm | None]:
        if plain is not None:
            frame = as_frame(plain, record.value or b"")
            return frame, mono(frame)
        if record.value is None and record.key is None and _is_tick(record.headers):
            return None, None
        frame = self._codec.decode(AudioFrame, record.value)
        if frame.encoding is Encoding.FLAC:
            feed.flac_values += frame.samples * frame.channels  # also of one that turns out not to decode
        return frame, mono(frame)

    def _expect(self, record: LogRecord) -> None:
        if record.offset != self.position:
            raise LogOrderError(
                f"{self.topic}[{self.index}]@{record.offset} arrived where @{self.position} was expected: "
                "offsets without a record come from transactions or compaction, which frames must not have"
            )

    def _pass(self, record: LogRecord) -> None:
        self.position = record.offset + 1
        if self._cut and self._cut_ms is None:
            self._cut_ms = record.timestamp
        if record.timestamp > self._close_after:
            self._close_idle(record.timestamp)

    def _hear(self, record: LogRecord, frame: AudioFrame, pcm: Pcm, feed: Feed) -> None:
        key, now_ms = record.key or b"", record.timestamp
        sensor = self._sensors.get(key)
        if sensor is None:
            opening: Opening | None = Opening.CUT if self._may_be_cut(now_ms) else Opening.OPENED
            sensor = meet(key, frame, now_ms)
            self._sensors[key] = sensor
        else:
            admitted, opening = admit(sensor, frame, now_ms, self._decision.rules, self._idle_ms)
            if not admitted:
                self._counts["late"] += 1
                return
        sensor.last_ms, sensor.expected = now_ms, frame.first_sample + frame.samples
        if now_ms + self._close_ms < self._close_after:
            self._close_after = now_ms + self._close_ms
        opening = self._decide(sensor, now_ms, opening)
        if opening is not None:
            sensor.epoch, sensor.rate_hz, sensor.channels = frame.epoch, frame.sample_rate_hz, frame.channels
        if record.offset >= self._start:
            if sensor.decision is None:
                self._hush(sensor)
                return
            run = self._run_for(sensor, sensor.decision, frame, record.offset, opening)
            windows = run.feed(frame, pcm, record.offset, now_ms, feed)
            traceparent = _traceparent(record.headers) if record.headers else None
            for slot, window_pcm in windows or ():
                slot.traceparent = traceparent
                if window_pcm is None:
                    self._counts["gap"] += 1
                else:
                    self._score(slot, window_pcm)
            if windows is not None or len(sensor.runs) > 1:  # the run before may end without a new window
                self.advance(run)

    def _decide(self, sensor: Sensor, now_ms: int, opening: Opening | None) -> Opening | None:
        """Find what decides for a frame that counts: where that changes, the frame opens a run."""
        sensor.latest_ms = max(sensor.latest_ms, now_ms)
        before, sensor.decision = sensor.decision, self._course.decision(sensor.bucket, sensor.latest_ms)
        sensor.decided_until_ms = self._course.until_ms(sensor.latest_ms)
        if opening is None and not same(before, sensor.decision):
            return Opening.OPENED
        return opening

    def _may_be_cut(self, now_ms: int) -> bool:
        return self._cut_ms is not None and now_ms - self._cut_ms <= self._idle_ms

    def _run_for(
        self, sensor: Sensor, decision: Decision, frame: AudioFrame, offset: int, opening: Opening | None
    ) -> Run:
        run = sensor.run
        if run is not None and opening is None:
            return run
        place = Place(
            self.topic, self.index, sensor.name, epoch_text(frame.epoch), frame.sample_rate_hz, frame.channels
        )
        opened = Run(place, decision, frame, offset, opening or Opening.TAKEN_OVER, self._decided)
        self._runs[opened] = sensor
        sensor.run = opened
        sensor.runs.append(opened)
        if run is not None:
            run.close()
        return opened

    def _close_idle(self, now_ms: int) -> None:
        """Close the runs of sensors that went quiet (the second rule), and forget these sensors."""
        quiet = [sensor for sensor in self._sensors.values() if now_ms > sensor.last_ms + self._close_ms]
        for sensor in quiet:
            self._close(sensor)
        heard = [s.last_ms for s in self._sensors.values() if s.run is not None or not s.runs]
        self._close_after = min(heard, default=inf) + self._close_ms

    def _close(self, sensor: Sensor) -> None:
        run, sensor.run = sensor.run, None
        if run is not None:
            run.close()
            self.advance(run)
        elif not sensor.runs:
            del self._sensors[sensor.key]

    def _hush(self, sensor: Sensor) -> None:
        """Close a sensor's run: from now on nothing is to be heard of it."""
        if sensor.run is not None:
            run, sensor.run = sensor.run, None
            run.close()
            self.advance(run)

    def _say(self, sensor: Sensor, run: Run, said: Said) -> None:
        output = Output(self.topic, self.index, sensor.key, said.record, said.slot, run.unacknowledged)
        run.unacknowledged[output] = said.window
        self._emit(output)

    def _bury(self, record: LogRecord, error: DeadLetterError) -> None:
        if record.offset < self._start:
            return
        letter = DeadLetter(
            topic=self.topic,
            partition=self.index,
            offset=record.offset,
            exception=type(error).__name__,
            message=str(error),
            key=record.key,
            value=record.value,
            headers=tuple(record.headers),
        )
        self._hold(Output(self.topic, self.index, record.key, letter, None, self._held), record.offset)

    def _expire(self, first_offset: int) -> None:
        """Say that retention removed records which nobody has read."""
        nobody = dict.fromkeys(("sensor", "epoch", "start_sample", "end_sample", "sample_rate_hz"))
        coverage = Coverage(
            **nobody,
            start_us=None,
            end_us=None,
            topic=self.topic,
            partition=self.index,
            first_offset=first_offset,
            last_offset=self._start - 1,
            outcome=Outcome.EXPIRED,
            missing_samples=0,
            decision_digest=self._decision.digest,
            level=None,
        )
        self._hold(Output(self.topic, self.index, None, coverage, None, self._held), first_offset)

    def _hold(self, output: Output, offset: int) -> None:
        self._held[output] = offset
        self._emit(output)


def _traceparent(headers: Sequence[Header]) -> str | None:
    """Return the trace that a frame belongs to, as W3C's Trace Context writes it."""
    for name, value in headers:
        if name == TRACEPARENT_HEADER and value is not None:
            return value.decode() if _TRACEPARENT.fullmatch(value) else None
    return None


def _is_tick(headers: Sequence[Header]) -> bool:
    return any(name == TICK_HEADER for name, _ in headers)
