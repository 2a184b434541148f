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

from earwitness.analysis.errors import NoSoundError
from earwitness.analysis.listener import Listener
from earwitness.analysis.lookup import Lookup
from earwitness.analysis.plan import Plan, plan
from earwitness.analysis.reasons import Finding, Reason
from earwitness.analysis.unheard import unheard
from earwitness.analysis.wanted import TimeBase, Wanted, utc_text
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


def explain(settings: Settings, question: Question) -> list[Finding]:
    """Return all reasons, the deciding one first.

    Raises:
        ConfigurationError: the model has no such label.

    """
    decision, wanted = settings.decision(), question.wanted
    if question.label is not None and question.label not in decision.spec.labels:
        labels = ", ".join(decision.spec.labels)
        raise ConfigurationError("--label", question.label, f"one of the model's: {labels}")
    with LogReader(settings.kafka.librdkafka()) as reader:
        lookup = Lookup(reader, settings.codec(), settings.tenant, settings.frames_topics[0])
        coverage = lookup.coverage(wanted)
        if not coverage:
            return [unheard(lookup, wanted)]
        published = lookup.detections(wanted)
        planned = _plan(lookup, decision, wanted)
    slots: list[Slot] = []
    heard = []
    if planned is not None:
        listener = Listener(settings, planned, Event(), decided=slots.append)
        heard = [told for told in listener.listen() if isinstance(told, Detection)]
    case = _Case(question, decision, coverage, published, [d for d in heard if _meets(wanted, d)], slots)
    return list(case.findings())


def _plan(lookup: Lookup, decision: Decision, wanted: Wanted) -> Plan | None:
    """Return what to listen to, or None where what coverage tells of is no longer in the log."""
    try:
        return plan(lookup, decision, wanted.widened(decision.spec.n * decision.spec.hop_s, 0.0))
    except NoSoundError:
        return None


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
        ours = [d for d in found if d.decision_digest == self.decision.digest]
        yield from (_detected(detection) for detection in ours)
        if ours:
            return
        yield from (_detected_by_others(detection) for detection in found)
        yield from self._outcomes()
        if self.slots:
            yield from self._scores(label or self._nearest_label())
        else:
            text = "the frames have been removed by retention: they cannot be scored again"
            yield Finding(Reason.EXPIRED, text)

    def _outcomes(self) -> Iterator[Finding]:
        """Say what was not scored at the time, and by no re-run since: SCORED first."""
        said = [c for c in self.coverage if c.decision_digest == self.decision.digest] or self.coverage
        scored = [self._part(c) for c in said if c.outcome is Outcome.SCORED]
        told = set()
        for one in sorted(said, key=lambda c: _ORDER.index(c.outcome)):
            part = self._part(one)
            if one.outcome is Outcome.SCORED or (one.outcome, part) in told or _is_within(part, scored):
                continue
            told.add((one.outcome, part))
            missing = f", {one.missing_samples} samples missing" if one.missing_samples else ""
            text = f"{_WORDS[one.outcome]}: {utc_text(one.start_us)} to {utc_text(one.end_us)}{missing}"
            facts = {name: getattr(one, name) for name in ("missing_samples", "start_us", "end_us")}
            yield Finding(_REASONS[one.outcome], text, facts)

    def _part(self, said: Coverage) -> "Part":
        """Return what of the asked time coverage tells of; by the broker's clock, all that it tells of."""
        wanted, start_us, end_us = self.question.wanted, said.start_us or 0, said.end_us or 0
        if wanted.clock is TimeBase.BROKER:
            return said.epoch, start_us, end_us
        return said.epoch, max(start_us, wanted.begin_us or 0), min(end_us, wanted.end_us or end_us)

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
_ORDER = tuple(Outcome)
"""As a reader of coverage takes them: SCORED first."""
Part = tuple[str | None, int, int]
"""An epoch, and `[start, end)` in it, in its UTC."""


def _below(facts: dict[str, Any], by: float) -> Finding:
    at = utc_text(facts["window_start_us"])
    text = (
        f"{facts['label']} scored {facts['score']:.3f} at most, in the window from {at}: "
        f"{by:.3f} below its threshold, {facts['threshold']:g}"
    )
    return Finding(Reason.BELOW_THRESHOLD, text, {**facts, "by": by})


def _is_within(one: Part, others: Sequence[Part]) -> bool:
    """Say whether the union of others, which may be cut otherwise, has all of one."""
    epoch, at, end = one
    for other, start, stop in sorted(others, key=lambda part: part[1]):
        if other == epoch and start <= at < stop:
            at = stop
    return at >= end


def _detected(found: Detection) -> Finding:
    text = f"{found.label} was detected: {found.id}, score {_score(found.peak_score)}"
    return Finding(Reason.DETECTED, text, {"id": found.id, "label": found.label})


def _detected_by_others(found: Detection) -> Finding:
    by = f"{found.model_name}/{found.model_version}, decision {found.decision_digest[:12]}"
    text = f"{found.label} was detected by {by}, which is not what is asked about: {found.id}"
    facts = {"id": found.id, "label": found.label, "decision_digest": found.decision_digest}
    return Finding(Reason.DETECTED_OTHERWISE, text, facts)


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"
