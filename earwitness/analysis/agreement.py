"""What a model heard and what a candidate in its shadow heard, in the time both listened -> how they agree.

    model listened      ├──────────────────────────────┤
    candidate listened        ├──────────────────────────────┤
    compared                  ├────────────────────────┤
    model heard            |==siren==|      |=siren=|
    candidate heard              |==siren==|           |siren|   (left out)
                              |om|===|oc|   |==om===|

Time is counted in samples of each sensor's epoch, by label: heard by both, by one of them, by neither.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from earwitness.analysis.intervals import Interval, common, length, met, without
from earwitness.analysis.sides import Epoch, Side, Sides

SHOWN_MOST = 1000


@dataclass(slots=True)
class Agreement:
    """How the two agree about one label, in seconds and in sounds.

    A sound is one or more detections, each of which goes on in the next, as far as both listened; it is
    `met` where the other side heard the label during any of it.
    """

    both_s: float = 0.0
    only_model_s: float = 0.0
    only_candidate_s: float = 0.0
    neither_s: float = 0.0
    model_sounds: int = 0
    model_met: int = 0
    candidate_sounds: int = 0
    candidate_met: int = 0

    @property
    def jaccard(self) -> float | None:
        """Return both over either, of time; None where neither heard it.

        Jaccard, The distribution of the flora in the alpine zone, New Phytologist 11 (1912), 37-50.
        """
        either_s = self.both_s + self.only_model_s + self.only_candidate_s
        return self.both_s / either_s if either_s else None

    @property
    def kappa(self) -> float | None:
        """Return Cohen's kappa of time: agreement beyond that of chance; None where chance alone gives all.

        (p_o - p_e) / (1 - p_e), p_o the share of time in which both say the same, p_e what it would be if
        each heard as much as it did, independently of the other: Cohen, A coefficient of agreement for
        nominal scales, Educational and Psychological Measurement 20 (1960), 37-46.
        """
        total_s = self.both_s + self.only_model_s + self.only_candidate_s + self.neither_s
        if not total_s:
            return None
        model, candidate = self.both_s + self.only_model_s, self.both_s + self.only_candidate_s
        by_chance = model * candidate + (total_s - model) * (total_s - candidate)
        observed = (self.both_s + self.neither_s) / total_s
        expected = by_chance / total_s**2
        return (observed - expected) / (1 - expected) if model and candidate and expected < 1 else None


@dataclass(slots=True)
class Listened:
    """For how long both listened, and what is left out because only one of them did; of how many sensors."""

    both_s: float = 0.0
    only_model_s: float = 0.0
    only_candidate_s: float = 0.0
    sensors: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A label heard by the `model` or the `candidate` alone, over `seconds`; where to look."""

    label: str
    by: str
    sensor: str
    epoch: str
    start_us: int
    seconds: float
    peak_score: float | None
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    detection: str
    """The detection that says so, `topic[partition]@offset`."""


class Comparison:
    """Compares partition by partition; keeps the `examples` longest disagreements of each label and side."""

    def __init__(self, frames: str, labels: Sequence[str], examples: int) -> None:
        self.listened = Listened()
        self.by_label = {label: Agreement() for label in labels}
        self._frames, self._examples = frames, examples
        self._longest: dict[tuple[str, str], list[tuple[float, int, Disagreement]]] = {}
        self._number = count()

    def add(self, sides: Sides) -> None:
        """Take what both said of a partition."""
        model, candidate = sides
        for of in sorted({**model.rates_hz, **candidate.rates_hz}):
            rate_hz = model.rates_hz.get(of) or candidate.rates_hz[of]
            ours, theirs = model.listened(of), candidate.listened(of)
            shared = common(ours, theirs)
            self._listen(of, rate_hz, ours, theirs, shared)
            for label, agreement in self.by_label.items() if shared else ():
                self._compare(agreement, sides, of, label, shared, rate_hz)

    @property
    def disagreements(self) -> list[Disagreement]:
        """Return the longest disagreements: by label and side, the longest first."""
        in_order = (sorted(kept, reverse=True) for _, kept in sorted(self._longest.items()))
        return [example for kept in in_order for *_, example in kept]

    def _listen(
        self,
        of: Epoch,
        rate_hz: int,
        ours: Sequence[Interval],
        theirs: Sequence[Interval],
        shared: Sequence[Interval],
    ) -> None:
        self.listened.both_s += length(shared) / rate_hz
        self.listened.only_model_s += length(without(ours, shared)) / rate_hz
        self.listened.only_candidate_s += length(without(theirs, shared)) / rate_hz
        if shared:
            self.listened.sensors.add(of[0])

    def _compare(
        self, to: Agreement, sides: Sides, of: Epoch, label: str, within: list[Interval], rate_hz: int
    ) -> None:
        ours, theirs = (side.sounds(of, label, within) for side in sides)
        both, ours_alone, theirs_alone = common(ours, theirs), without(ours, theirs), without(theirs, ours)
        to.both_s += length(both) / rate_hz
        to.only_model_s += length(ours_alone) / rate_hz
        to.only_candidate_s += length(theirs_alone) / rate_hz
        to.neither_s += (length(within) - length(both) - length(ours_alone) - length(theirs_alone)) / rate_hz
        to.model_sounds += len(ours)
        to.model_met += met(ours, theirs)
        to.candidate_sounds += len(theirs)
        to.candidate_met += met(theirs, ours)
        self._keep("model", sides[0], of, label, ours_alone)
        self._keep("candidate", sides[1], of, label, theirs_alone)

    def _keep(self, by: str, side: Side, of: Epoch, label: str, alone: Iterable[Interval]) -> None:
        kept = self._longest.setdefault((label, by), [])
        for start, end in alone:
            seconds = (end - start) / side.rates_hz[of]
            if len(kept) < self._examples or (kept and seconds > kept[0][0]):
                example = self._disagreement(by, side, of, label, start, seconds)
                heapq.heappush(kept, (seconds, -next(self._number), example))
                if len(kept) > self._examples:
                    heapq.heappop(kept)

    def _disagreement(
        self, by: str, side: Side, of: Epoch, label: str, start: int, seconds: float
    ) -> Disagreement:
        found = side.detection_at(of, label, start)
        later_us = (start - found.start_sample) * 1_000_000 // found.sample_rate_hz
        return Disagreement(
            label=label,
            by=by,
            sensor=of[0],
            epoch=of[1],
            start_us=found.start_us + later_us,
            seconds=seconds,
            peak_score=found.peak_score,
            topic=self._frames,
            partition=side.partition,
            first_offset=found.first_offset,
            last_offset=found.last_offset,
            detection=f"{side.topic}[{side.partition}]@{found.said_at}",
        )
