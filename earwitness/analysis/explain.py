"""A sensor, a time, a label -> why this sound was not a detection, the deciding reason first.

    nothing appended ─► removed since ─► nobody listened ─► not scored (shed, failed, gap, short)
        ─► m of n not reached ─► another label ─► below the threshold, and by how much

What was said at the time is read from coverage and detections; the scores are made again from the log, with
the model that counted for the sensor then, or with the one that is asked for.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Event

from earwitness.analysis.case import Case, Question, is_asked, score_text
from earwitness.analysis.errors import NoSoundError
from earwitness.analysis.following import Following
from earwitness.analysis.listener import Listener
from earwitness.analysis.lookup import Lookup
from earwitness.analysis.outcome import NOT_HEARD, SEAM_US, spans
from earwitness.analysis.plan import Plan, plan
from earwitness.analysis.reasons import Finding, Reason
from earwitness.analysis.unheard import unheard
from earwitness.analysis.wanted import TimeBase, Wanted, utc_text
from earwitness.settings import Settings
from processors.course import Course
from processors.decision import Decision
from processors.log import LogReader
from processors.replay import deciding
from processors.run import Slot
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection
from schemas.errors import ConfigurationError


def explain(settings: Settings, question: Question, *, one_model: bool = False) -> list[Finding]:
    """Return all reasons, the deciding one first; with `one_model` those of the settings' model alone.

    Where another model began to count in the time that is asked about, each has its reasons, in their order.

    Raises:
        ConfigurationError: no model that may have counted has such a label.

    """
    wanted = question.wanted
    with LogReader(settings.kafka.librdkafka()) as reader:
        lookup = Lookup(reader, settings.codec(), settings.tenant, settings.frames_topics[0])
        with Following(settings, lookup, one_model=one_model) as following:
            course = following.course
        _check_label(question.label, course)
        coverage = lookup.coverage(wanted)
        if not coverage:
            return [unheard(lookup, wanted)]
        published = lookup.detections(wanted)
        silences = [unheard(lookup, part) for part in _parts_without(wanted, coverage)]
        planned = _plan(lookup, course, wanted)
    slots: list[Slot] = []
    heard = []
    if planned is not None:
        listener = Listener(settings, planned, Event(), decided=slots.append)
        heard = [told for told in listener.listen() if isinstance(told, Detection)]
    heard = [d for d in heard if _meets(wanted, d)]
    removed, deciders = planned is None or planned.removed > 0, _deciders(course, slots, coverage, wanted)
    known = _Known(question, deciders, coverage, published, heard, slots, removed)
    return [*known.findings(), *silences]


def _parts_without(wanted: Wanted, coverage: Sequence[Coverage]) -> list[Wanted]:
    """Return the parts of the asked time, by the sensor's clock, of which coverage says nothing."""
    begin_us, end_us = wanted.begin_us, wanted.end_us
    if wanted.clock is TimeBase.BROKER or begin_us is None or end_us is None:
        return []
    said = [
        (c.start_us, c.end_us, c.outcome) for c in coverage if c.start_us is not None and c.end_us is not None
    ]
    silent = [
        span
        for span in spans(said, begin_us, end_us)
        if span.outcome == NOT_HEARD and span.length_us >= SEAM_US
    ]
    return [replace(wanted, begin_us=span.start_us, end_us=span.end_us) for span in silent]


def _check_label(label: str | None, course: Course) -> None:
    labels = dict.fromkeys(each for decision in deciding(course) for each in decision.spec.labels)
    if label is not None and label not in labels:
        raise ConfigurationError("--label", label, f"one of the model's: {', '.join(labels)}")


def _plan(lookup: Lookup, course: Course, wanted: Wanted) -> Plan | None:
    """Return what to listen to, or None where what coverage tells of is no longer in the log."""
    before_s = max(decision.spec.n * decision.spec.hop_s for decision in deciding(course))
    try:
        return plan(lookup, course, wanted.widened(before_s, 0.0))
    except NoSoundError:
        return None


def _deciders(
    course: Course, slots: Sequence[Slot], coverage: Sequence[Coverage], wanted: Wanted
) -> list[Decision]:
    """Return what decided about the time: of the windows in it, or else as coverage says."""
    found = {slot.run.decision.digest: slot.run.decision for slot in slots if is_asked(wanted, slot)}
    said = {one.decision_digest for one in coverage}
    found = found or {d.digest: d for d in deciding(course) if d.digest in said}
    return list(found.values()) or [deciding(course)[0]]


def _meets(wanted: Wanted, found: Detection) -> bool:
    return wanted.clock is TimeBase.BROKER or wanted.overlaps(found.start_us, found.end_us)


@dataclass(frozen=True, slots=True)
class _Known:
    """All that is known: `heard` and `slots` are made again from the log with what decided."""

    question: Question
    decisions: Sequence[Decision]
    coverage: Sequence[Coverage]
    published: Sequence[Detection]
    heard: Sequence[Detection]
    slots: Sequence[Slot]
    removed: bool
    """Whether some of the frames are no longer in the log."""

    def findings(self) -> Iterator[Finding]:
        label, digests = self.question.label, {decision.digest for decision in self.decisions}
        found = [d for d in self.published if label in (None, d.label)]
        ours = [d for d in found if d.decision_digest in digests]
        yield from (_detected(detection) for detection in ours)
        if ours:
            return
        yield from (_detected_by_others(detection) for detection in found)
        yield from self._outcomes(digests)
        for decision in self.decisions if self.slots else ():
            yield from self._of(decision).findings()
        if not self.slots and self.removed:
            text = "the frames have been removed by retention: they cannot be scored again"
            yield Finding(Reason.EXPIRED, text)
        elif not self.slots and all(one.outcome is not Outcome.SHORT for one in self.coverage):
            models = ", ".join(decision.spec.reference for decision in self.decisions)
            yield Finding(Reason.SHORT, f"the sound there is less than a window of {models}")

    def _of(self, decision: Decision) -> Case:
        digest = decision.digest
        slots = [slot for slot in self.slots if slot.run.decision.digest == digest]
        heard = [d for d in (*self.heard, *self.published) if d.decision_digest == digest]
        theirs = sorted({said.decision_digest for said in self.coverage} - {digest})
        return Case(self.question, decision, heard, theirs, slots)

    def _outcomes(self, digests: Container[str]) -> Iterator[Finding]:
        """Say what was not scored at the time, and by no re-run since: SCORED first."""
        said = [c for c in self.coverage if c.decision_digest in digests] or self.coverage
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


def _is_within(one: Part, others: Sequence[Part]) -> bool:
    """Say whether the union of others, which may be cut otherwise, has all of one."""
    epoch, at, end = one
    for other, start, stop in sorted(others, key=lambda part: part[1]):
        if other == epoch and start <= at < stop:
            at = stop
    return at >= end


def _detected(found: Detection) -> Finding:
    text = f"{found.label} was detected: {found.id}, score {score_text(found.peak_score)}"
    return Finding(Reason.DETECTED, text, {"id": found.id, "label": found.label})


def _detected_by_others(found: Detection) -> Finding:
    by = f"{found.model_name}/{found.model_version}, decision {found.decision_digest[:12]}"
    text = f"{found.label} was detected by {by}, which is not what is asked about: {found.id}"
    facts = {"id": found.id, "label": found.label, "decision_digest": found.decision_digest}
    return Finding(Reason.DETECTED_OTHERWISE, text, facts)
