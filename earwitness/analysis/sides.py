"""Detections and coverage -> what each side of a trial listened to and heard, one partition at a time.

    audio.detections, audio.coverage                 what the model said, and with a share, the candidate
    audio.detections.shadow, audio.coverage.shadow   what a candidate in the shadow said

Of the topics one partition is held at a time, and of that only places in samples. Everything is in samples of
a sensor's epoch: no clock is compared with another.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from earwitness.analysis.intervals import Interval, common, union
from earwitness.analysis.lookup import C, Lookup, about
from earwitness.analysis.trial import Trial
from earwitness.analysis.wanted import TimeBase, Wanted
from processors.log import read_as
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection, DetectionState
from schemas.rollout import Mode

LAG_US = 3_600_000_000
"""What was said of a frame is looked for so long after it was appended."""
Epoch = tuple[str, str]
"""A sensor, and its epoch."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A detection: what it spans, and where in the detections topic it stands."""

    start_sample: int
    end_sample: int
    ended: bool
    start_us: int
    sample_rate_hz: int
    peak_score: float | None
    first_offset: int
    last_offset: int
    said_at: int


@dataclass(slots=True)
class Side:
    """What one decision said of the sound of one partition; `topic` has its detections."""

    topic: str
    partition: int
    rates_hz: dict[Epoch, int] = field(default_factory=dict)
    _scored: dict[Epoch, list[Interval]] = field(default_factory=lambda: defaultdict(list))
    _heard: dict[Epoch, dict[str, dict[int, Heard]]] = field(default_factory=lambda: defaultdict(dict))

    def cover(self, said: Coverage) -> None:
        """Take what was listened to; other outcomes than SCORED are not."""
        if said.sensor is None or said.epoch is None or said.outcome is not Outcome.SCORED:
            return
        of, start, end = (said.sensor, said.epoch), said.start_sample or 0, said.end_sample or 0
        self.rates_hz[of] = said.sample_rate_hz or 0
        spans = self._scored[of]
        if spans and spans[-1][0] <= start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((start, end))

    def hear(self, said: Detection, offset: int) -> None:
        """Take a statement: of one decision, a label and a start are an id, and ENDED counts over ACTIVE."""
        by_start = self._heard[said.sensor, said.epoch].setdefault(said.label, {})
        before, ended = by_start.get(said.start_sample), said.state is DetectionState.ENDED
        if before is None or ended:
            by_start[said.start_sample] = Heard(
                said.start_sample,
                said.end_sample,
                ended,
                said.start_us,
                said.sample_rate_hz,
                said.peak_score,
                said.first_offset,
                said.last_offset,
                offset,
            )

    def listened(self, of: Epoch) -> list[Interval]:
        """Return which samples of an epoch were scored."""
        return union(self._scored.get(of, ()))

    def sounds(self, of: Epoch, label: str, within: list[Interval]) -> list[Interval]:
        """Return where a label was heard, joined where one detection goes on in the next, and cut."""
        found = self._heard.get(of, {}).get(label, {}).values()
        return common(union((one.start_sample, one.end_sample) for one in found), within)

    def detection_at(self, of: Epoch, label: str, sample: int) -> Heard:
        """Return the detection that has a sample; there must be one."""
        found = self._heard[of][label].values()
        return next(one for one in found if one.start_sample <= sample < one.end_sample)


Sides = tuple[Side, Side]
"""Of the model, and of the candidate."""


def read_sides(lookup: Lookup, trial: Trial, wanted: Wanted) -> Iterator[Sides]:
    """Yield what both sides said of each partition in which there are sensors that are meant."""
    topics, shadows = lookup.topics, lookup.topics.shadows
    meant = replace(wanted, begin_us=trial.begin_us, end_us=trial.end_us, clock=TimeBase.BROKER)
    frames = _frames(lookup, meant)
    ours, others = (topics.detections, topics.coverage), (topics.detections, topics.coverage)
    if trial.mode is Mode.SHADOW:
        others = shadows[0], shadows[1]
    bounds = {
        topic: lookup.appended(topic, trial.begin_us, trial.end_us + LAG_US)
        for topic in dict.fromkeys((*ours, *others))
    }
    for number in lookup.partitions_of(wanted, topics.coverage):
        model, candidate = Side(ours[0], number), Side(others[0], number)
        by_digest = {trial.model.digest: model, trial.candidate.digest: candidate}
        reading = _Reading(lookup, meant, number, frames.get(number, (0, 0)), bounds)
        if ours == others:
            reading.read(*ours, by_digest)
        else:
            reading.read(*ours, {trial.model.digest: model})
            reading.read(*others, {trial.candidate.digest: candidate})
        yield model, candidate


@dataclass(frozen=True, slots=True)
class _Reading:
    lookup: Lookup
    meant: Wanted
    number: int
    frames: Interval
    bounds: Mapping[str, Mapping[int, Interval]]

    def read(self, detections: str, coverage: str, by_digest: Mapping[str, Side]) -> None:
        """Give each side what it said; coverage first: what it speaks of has been told of by then."""
        for said, _ in self._said(Coverage, coverage):
            if said.decision_digest in by_digest:
                by_digest[said.decision_digest].cover(said)
        for found, offset in self._said(Detection, detections):
            if found.decision_digest in by_digest:
                by_digest[found.decision_digest].hear(found, offset)

    def _said(self, kind: type[C], topic: str) -> Iterator[tuple[C, int]]:
        stretch = {self.number: self.bounds[topic].get(self.number, (0, 0))}
        first, end = self.frames
        for record in self.lookup.reader.read(topic, stretch, about(self.meant)):
            said = read_as(self.lookup.codec, kind, record)
            if said is None or said.topic != self.lookup.frames:
                continue
            if said.first_offset < end and said.last_offset >= first:
                yield said, record.offset


def _frames(lookup: Lookup, meant: Wanted) -> dict[int, Interval]:
    """Return which frames were appended in the time; where retention has removed some, those before count."""
    low = {number: first for number, (first, _) in lookup.reader.limits(lookup.frames).items()}
    found = lookup.frame_offsets(meant)
    return {number: (0 if first <= low[number] else first, end) for number, (first, end) in found.items()}
