"""A sensor, a time, a label -> why this sound was not a detection, the deciding reason first.

    nothing appended ─► removed since ─► nobody listened ─► not scored (shed, failed, gap, short)
        ─► m of n not reached ─► another label ─► below the threshold, and by how much

What was said at the time is read from coverage and detections; the scores are made again from the log.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np

from earwitness.analysis.listen import Listener
from earwitness.analysis.lookup import Lookup, TimeBase, Wanted, utc_text
from earwitness.analysis.plan import plan
from earwitness.analysis.reasons import Finding, Reason
from earwitness.analysis.unheard import unheard
from earwitness.settings import Settings
from processors.decision import Decision
from processors.log import LogReader
from processors.run import Slot
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection
from schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Question:
    """What was not detected: a label (None: any) of one sensor, in the time that `wanted` names."""

    wanted: Wanted
    label: str | None


def explain(settings: Settings, question: Question, stop: Event) -> list[Finding]:
    """Return all reasons, the deciding one first.

    Raises:
        ConfigurationError: the model has no such label, or not exactly one sensor is named.

    """
    decision, wanted = settings.decision(), question.wanted
    if len(wanted.sensors) != 1 or not wanted.exact:
        raise ConfigurationError("--sensor", list(wanted.sensors), "the name of one sensor")
    if question.label is not None and question.label not in decision.spec.labels:
        raise ConfigurationError(
            "--label", question.label, f"one of the model's: {', '.join(decision.spec.labels)}"
        )
    with LogReader(settings.kafka.librdkafka()) as reader:
        lookup = Lookup(reader, settings.codec(), settings.tenant)
        coverage = lookup.coverage(wanted)
        if not coverage:
            return [unheard(lookup, wanted)]
        published = lookup.detections(wanted)
        planned = plan(lookup, decision, wanted.widened(decision.spec.n * decision.spec.hop_s, 0.0))
    slots: list[Slot] = []
    listener = Listener(settings, planned, stop, decided=slots.append)
    heard = [told for told in listener.listen() if isinstance(told, Detection)]
    case = _Case(question, decision, coverage, published, [d for d in heard if _meets(wanted, d)], slots)
    return list(case.findings())


def _meets(wanted: Wanted, found: Detection) -> bool:
    return wanted.clock is TimeBase.BROKER or wanted.overlaps(found.start_us, found.end_us)


@dataclass(frozen=True, slots=True)
class _Case:
    """All that is known: `heard` and `slots` are made again from the log with the settings at hand."""

    question: Question
    decision: Decision
    coverage: Sequence[Coverage]
    published: Sequence[Detection]
    heard: Sequence[Detection]
    slots: Sequence[Slot]

    def findings(self) -> Iterator[Finding]:
        label = self.question.label
        found = [d for d in self.published if label in (None, d.label)]
        for detection in found:
            text = f"{detection.label} was detected: {detection.id}, score {_score(detection.peak_score)}"
            yield Finding(Reason.DETECTED, text, {"id": detection.id, "label": detection.label})
        if not found:
            yield from self._outcomes()
            yield from self._scores(label or self._nearest_label())

    def _outcomes(self) -> Iterator[Finding]:
        """Say what was not scored at the time: a re-run may have scored it since."""
        best = {_stretch(c) for c in self.coverage if c.outcome is Outcome.SCORED}
        for said in sorted(self.coverage, key=lambda c: _ORDER.index(c.outcome)):
            if said.outcome is Outcome.SCORED or _stretch(said) in best:
                continue
            best.add(_stretch(said))
            missing = f", {said.missing_samples} samples missing" if said.missing_samples else ""
            text = f"{_WORDS[said.outcome]}: {utc_text(said.start_us)} to {utc_text(said.end_us)}{missing}"
            facts = {
                "missing_samples": said.missing_samples,
                "start_us": said.start_us,
                "end_us": said.end_us,
            }
            yield Finding(_REASONS[said.outcome], text, facts)

    def _scores(self, label: str) -> Iterator[Finding]:
        """Say what the scores, made again, come to."""
        spec, at = self.decision.spec, self.decision.spec.labels.index(label)
        scored = [(float(slot.scores[at]), slot) for slot in self._asked() if slot.scores is not None]
        if not scored:
            return
        score, best = max(scored, key=lambda pair: pair[0])
        facts = {
            "label": label,
            "score": score,
            "threshold": spec.thresholds[label],
            "window_start_us": best.window.start_us,
            "model": f"{spec.name}/{spec.version}",
        }
        most = self._most_reached(at)
        if most >= spec.m:
            yield Finding(Reason.NOT_PUBLISHED, self._not_published(label), facts)
        elif score >= self.decision.thresholds[at]:
            text = (
                f"{label} reached {facts['threshold']:g} in {most} of {spec.n} windows; {spec.m} are needed"
            )
            yield Finding(Reason.M_OF_N, text, {**facts, "reached": most, "m": spec.m, "n": spec.n})
        else:
            yield from self._others(label)
            yield _below(facts, spec.thresholds[label] - score)

    def _asked(self) -> list[Slot]:
        """Return the windows that are asked about; those before them only matter for m of n."""
        wanted = self.question.wanted
        by_broker = wanted.clock is TimeBase.BROKER
        return [s for s in self.slots if by_broker or wanted.overlaps(s.window.start_us, s.window.end_us)]

    def _most_reached(self, at: int) -> int:
        """Return in how many of n windows, up to one that is asked about, the threshold was reached."""
        asked, n, threshold = set(self._asked()), self.decision.spec.n, self.decision.thresholds[at]
        reached = [slot.scores is not None and bool(slot.scores[at] >= threshold) for slot in self.slots]
        ends = [k for k, slot in enumerate(self.slots) if slot in asked]
        return max((sum(reached[max(0, k - n + 1) : k + 1]) for k in ends), default=0)

    def _others(self, label: str) -> Iterator[Finding]:
        others = {d.label: d for d in (*self.heard, *self.published) if d.label != label}
        for other in others.values():
            text = f"heard as {other.label}, score {_score(other.peak_score)}: {other.id}"
            facts = {"label": other.label, "score": other.peak_score, "id": other.id}
            yield Finding(Reason.ANOTHER_LABEL, text, facts)

    def _not_published(self, label: str) -> str:
        text = f"with these settings {label} is detected, but none was published"
        ours = self.decision.digest
        theirs = sorted({said.decision_digest for said in self.coverage} - {ours})
        if theirs:
            text += f"; the workers ran with decision {theirs[0][:12]}, these settings are {ours[:12]}"
        return text

    def _nearest_label(self) -> str:
        """Return the label that came nearest to its threshold."""
        spec = self.decision.spec
        scores = [slot.scores - self.decision.thresholds for slot in self._asked() if slot.scores is not None]
        return spec.labels[int(np.max(scores, axis=0).argmax())] if scores else spec.labels[0]


_REASONS = {
    Outcome.SHED: Reason.SHED,
    Outcome.FAILED: Reason.FAILED,
    Outcome.GAP: Reason.GAP,
    Outcome.SHORT: Reason.SHORT,
    Outcome.EXPIRED: Reason.EXPIRED,
}
_WORDS = {
    Outcome.SHED: "not scored, because the worker was overloaded and shed it",
    Outcome.FAILED: "not scored, because the scorer failed",
    Outcome.GAP: "not scored, because frames are missing",
    Outcome.SHORT: "not scored, because it is less than a window",
    Outcome.EXPIRED: "removed by retention before anybody read it",
}
_ORDER = (Outcome.SCORED, *_REASONS)
"""A stretch that was scored once counts as scored, whatever a re-run says."""


def _below(facts: dict[str, Any], by: float) -> Finding:
    at = utc_text(facts["window_start_us"])
    text = (
        f"{facts['label']} scored {facts['score']:.3f} at most, in the window from {at}: "
        f"{by:.3f} below its threshold, {facts['threshold']:g}"
    )
    return Finding(Reason.BELOW_THRESHOLD, text, {**facts, "by": by})


def _stretch(said: Coverage) -> tuple[str | None, int | None, int | None]:
    return said.epoch, said.start_sample, said.end_sample


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"
