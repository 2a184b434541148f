"""Run: a sensor's frames from an opening to a close, as one worker sees them.

    frames ► Windower ► slots, in order ► (scored elsewhere) ► Detector ► detections
                                                            └► coverage, sensor states

It knows which of its windows are still needed; what else holds the mark, `Partition` knows.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from processors.coverage import Covered
from processors.decision import Decision
from processors.detect import Detector, Scores, Segment
from processors.pcm import Pcm
from processors.place import Place
from processors.window import Stretch, Window, Windower
from schemas.coverage import Coverage, Level, Outcome
from schemas.detection import Detection, DetectionState
from schemas.frame import AudioFrame
from schemas.identity import detection_id
from schemas.sensor import Presence, SensorState

COVERAGE_WINDOWS = 10
"""Coverage is cut at window indices that are multiples of this, so it is at most 5 s late by default."""


class Opening(Enum):
    """How a run began, as this worker saw it."""

    OPENED = auto()
    """By the first rule: everything was off before."""
    TAKEN_OVER = auto()
    """It goes on from frames that another worker has read, and has accounted for."""
    CUT = auto()
    """It may go on from frames that retention has removed: nobody else accounts for its start."""


@dataclass(slots=True, eq=False)
class Feed:
    """Records that are taken at once, at `now_s`; the windows that they complete share it.

    The other times are for the latency ledger: when the records were fetched, when the plain frames among
    them had been decoded (others are as they are cut), when all windows had been cut. All are the shell's
    monotonic clock. `flac_values` counts what of FLAC has been decoded, samples times channels.
    """

    now_s: float
    fetched_s: float | None = None
    decoded_s: float | None = None
    windowed_s: float | None = None
    flac_values: int = field(default=0, kw_only=True)


@dataclass(slots=True, eq=False)
class Slot:
    """A window and its outcome; `scores` is float32[labels] once it is SCORED.

    The times are the shell's monotonic clock, for the latency ledger: they decide nothing.
    """

    run: "Run"
    window: Window
    outcome: Outcome | None
    feed: Feed
    batched_s: float | None = None
    scored_s: float | None = None
    decided_s: float | None = None
    scored_by: str | None = None
    traceparent: str | None = None
    scores: Scores | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """Something to publish, and the lowest window that is needed to say it again."""

    record: Detection | Coverage | SensorState
    window: int
    slot: Slot | None


class Run:
    """One run of one sensor: windows are decided in order, whenever their outcomes arrive.

    `closed` is set when no frame will follow, `done` when everything has been said; `unacknowledged` maps
    what was said, and is not yet in the log, to the lowest window that is needed to say it again. `decided`
    is given every window, in order, once its outcome counts.
    """

    def __init__(
        self,
        place: Place,
        decision: Decision,
        frame: AudioFrame,
        offset: int,
        opening: Opening,
        decided: Callable[[Slot], None] | None = None,
    ) -> None:
        self.epoch = frame.epoch
        self.unacknowledged: dict[object, int] = {}
        self.closed = self.done = False
        self.place, self.decision, self._decided = place, decision, decided
        taken_over = opening is Opening.TAKEN_OVER
        self._windower = Windower(decision, place.rate_hz, frame.first_sample, offset, taken_over=taken_over)
        self.go_on = self._windower.go_on
        self._next_undecided = self._windower.first_index
        self._opened = opening is Opening.OPENED
        unknown_until = None if self._opened else self._next_undecided + decision.spec.n - 1
        self._detector = Detector(decision, unknown_until)
        self._announced = taken_over
        self._slots: deque[Slot] = deque()
        self._covered: Covered | None = None
        self._since_ms: int | None = None

    def feed(
        self, frame: AudioFrame, pcm: Pcm, offset: int, appended_ms: int, feed: Feed
    ) -> list[tuple[Slot, Pcm | None]] | None:
        """Take the next frame, int16[samples].

        Returns None if it completed no window, else each of them: int16[length], or None for a GAP.
        """
        if self._since_ms is None and self._opened:
            self._since_ms = appended_ms
        windows = self._windower.feed(frame.first_sample, pcm, offset, frame.captured_at_us, appended_ms)
        if not windows:
            return None
        slots = [
            (Slot(self, window, None if x is not None else Outcome.GAP, feed), x) for window, x in windows
        ]
        self._slots.extend(slot for slot, _ in slots)
        return slots

    @property
    def partition(self) -> tuple[str, int]:
        """The topic and the partition number that it lies in."""
        return self.place.topic, self.place.partition

    def close(self) -> None:
        """Take no more frames: the sensor went quiet, or its next run has opened."""
        self.closed = True

    def advance(self, *, followed: bool) -> Iterator[Said]:
        """Decide, in order, the windows whose outcome is known; then end a closed run.

        At the end the sensor is said to be SILENT, unless it is `followed` by another run.
        """
        if not self._announced:
            self._announced = True
            yield self._presence(Presence.LIVE, self._since_ms, None, self._next_undecided, None)
        while self._slots and self._slots[0].outcome is not None:
            yield from self._decide(self._slots.popleft())
        if self.closed and not self._slots and not self.done:
            self.done = True
            yield from self._finish(followed)

    def needed_offset(self) -> int:
        """Return the lowest offset that is still needed: by a window, an open segment, or an output."""
        lowest = min([self._next_undecided, *self.unacknowledged.values()])
        segment = self._detector.first_needed()
        if segment is not None:
            lowest = min(lowest, segment)
        if self._covered is not None:
            lowest = min(lowest, self._covered.first_window)
        return self._windower.offset_at(lowest - self.decision.spec.n)

    def _decide(self, slot: Slot) -> Iterator[Said]:
        window, outcome = slot.window, slot.outcome
        assert outcome is not None  # noqa: S101 - the caller has looked
        self._next_undecided = window.index + 1
        if self._decided is not None:
            self._decided(slot)
        for state, segment in self._detector.feed(window, slot.scores):
            yield Said(self._detection(state, segment), segment.first.index, slot)
        if window.head is not None:
            yield from self._cover(Outcome.SHORT, window.index, window.head)
        yield from self._cover(outcome, window.index, window.fresh)
        if (window.index + 1) % COVERAGE_WINDOWS == 0:
            yield from self._refresh(window)

    def _finish(self, followed: bool) -> Iterator[Said]:
        for state, segment in self._detector.finish():
            yield Said(self._detection(state, segment), segment.first.index, None)
        rest = self._windower.finish()
        if rest is not None:
            yield from self._cover(Outcome.SHORT, self._next_undecided, rest)
        sounded = self._covered.level if self._covered else None
        yield from self._flush()
        if not followed:
            since_ms = self._windower.appended_ms
            yield self._presence(Presence.SILENT, since_ms, sounded, self._next_undecided, None)

    def _refresh(self, window: Window) -> Iterator[Said]:
        sounded = self._covered.level if self._covered else None
        yield from self._flush()
        yield self._presence(Presence.LIVE, self._since_ms, sounded, window.index, window)

    def _cover(self, outcome: Outcome, window: int, stretch: Stretch) -> Iterator[Said]:
        covered = self._covered
        if covered is not None and covered.outcome is outcome:
            covered.extend(stretch)
            return
        yield from self._flush()
        self._covered = Covered.begin(self.place, outcome, window, stretch)

    def _flush(self) -> Iterator[Said]:
        if self._covered is not None:
            covered, self._covered = self._covered, None
            yield Said(covered.record(self.decision.digest), covered.first_window, None)

    def _detection(self, state: DetectionState, segment: Segment) -> Detection:
        place, spec, first, cut = self.place, self.decision.spec, segment.first, segment.cut_at
        label = spec.labels[segment.label]
        return Detection(
            id=detection_id(place.sensor, self.epoch, label, first.start_sample, self.decision.digest),
            sensor=place.sensor,
            label=label,
            state=state,
            epoch=place.epoch,
            start_sample=first.start_sample,
            end_sample=cut.start_sample if cut else segment.last.end_sample,
            sample_rate_hz=place.rate_hz,
            start_us=first.start_us,
            end_us=cut.start_us if cut else segment.last.end_us,
            peak_score=segment.peak,
            windows=segment.windows,
            threshold=spec.thresholds[label],
            continued=segment.continued,
            missing_samples=segment.missing,
            model_name=spec.name,
            model_version=spec.version,
            decision_digest=self.decision.digest,
            topic=place.topic,
            partition=place.partition,
            first_offset=first.first_offset,
            last_offset=cut.before_offset if cut else segment.last.last_offset,
        )

    def _presence(
        self, state: Presence, since_ms: int | None, sounded: Level | None, needs: int, at: Window | None
    ) -> Said:
        place, seen = self.place, at or self._windower
        record = SensorState(
            sensor=place.sensor,
            state=state,
            since_us=None if since_ms is None else since_ms * 1000,
            epoch=place.epoch,
            end_sample=seen.end_sample,
            sample_rate_hz=place.rate_hz,
            channels=place.channels,
            captured_at_us=seen.captured_us,
            appended_at_us=seen.appended_ms * 1000,
            clock_offset_us=seen.appended_ms * 1000 - seen.captured_us,
            topic=place.topic,
            partition=place.partition,
            last_offset=seen.last_offset,
            level=sounded,
        )
        return Said(record, needs, None)
