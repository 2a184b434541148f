"""Control topic -> what decides about sound that is heard again: what was rolled out, or one model for all.

frames, by append time    ────── quick/1 ──────┃────── quick/2 ──────►
workers' own settings     hear with 1          hear with 2              as it was
a model that is asked for hear with 3 ─────────────────────────────►    as if it had counted
"""

import logging
from datetime import UTC, datetime

from earwitness.analysis.lookup import Lookup
from earwitness.analysis.plan import Plan
from earwitness.settings import Settings
from processors.course import Course
from processors.decision import Decision, DecisionSettings
from processors.log import LogReader
from processors.rollouts import Rollouts
from schemas.rollout import Mode, Rollout
from schemas.topics import Topics

logger = logging.getLogger(__name__)


class Following:
    """The rollouts of one frames topic, and what decides: them, or with `one_model` the settings alone.

    Raises:
        ConfigurationError: no broker answers.
        StopError: a rollout was written by a later release.

    """

    def __init__(self, settings: Settings, lookup: Lookup, *, one_model: bool = False) -> None:
        self._topic, self._one_model = lookup.frames, one_model
        decision = settings.decision()
        self.course = Course(decision)
        self._model = decision.spec.reference
        self._rollouts: Rollouts | None = None
        control = Topics.beside(self._topic).control
        if settings.kafka.embedded or control not in lookup.reader.topics():
            logger.debug("no %s: nothing was ever rolled out", control)
            return
        client, codec = settings.kafka.librdkafka(), settings.codec()
        self._rollouts = Rollouts(client, codec, decision, [self._topic])
        self.refresh()

    def __enter__(self) -> "Following":
        return self

    def __exit__(self, *_: object) -> None:
        if self._rollouts is not None:
            self._rollouts.close()

    def refresh(self) -> bool:
        """Read what was announced since; return whether that may change what decides."""
        if self._rollouts is None:
            return False
        self._rollouts.refresh()
        before, now = self.course, self._rollouts.courses[self._topic]
        if self._one_model or now is before or not now.stages:
            return False
        self.course = now
        return True

    def remark(self, begin_ms: int | None, end_ms: int | None) -> str:
        """Say which rollouts count for frames appended in a time, and whether they are followed, if any."""
        if self._rollouts is None or begin_ms is None or end_ms is None:
            return ""
        found = _counting(self._rollouts.announced(self._topic), begin_ms, end_ms)
        if not found:
            return ""
        count = f"{len(found)} rollout{'s' if len(found) > 1 else ''}"
        which = "; ".join(_words(rollout) for rollout in found)
        if self._one_model:
            return f"hears all of it with {self._model}, as asked; does not follow {count}: {which}"
        return f"follows {count}: {which}"


def _span_ms(reader: LogReader, plan: Plan) -> tuple[int, int]:
    """Return from when to when, about, the records of the stretches were appended."""
    edges = [
        record.timestamp
        for s in plan.stretches
        for record in (reader.at(*s.key, s.first), reader.at(*s.key, s.end - 1))
        if record is not None
    ]
    return min(edges, default=0), max(edges, default=0)


def deciding_in(reader: LogReader, plan: Plan, rules: DecisionSettings) -> list[Decision]:
    """Return all that may decide about the stretches, each once: with room for brokers' clocks."""
    course, first_ms, last_ms = plan.course, 0, 0
    if course.stages:
        first_ms, last_ms = _span_ms(reader, plan)
    room_ms = round((rules.idle_s + 4 * rules.margin_s) * 1000)
    now, *later = course.since(first_ms - room_ms)
    stages = [now, *(stage for stage in later if stage.at_ms <= last_ms + room_ms)]
    return list({d.digest: d for stage in stages for d in stage.decisions}.values())


def _counting(in_order: list[Rollout], begin_ms: int, end_ms: int) -> list[Rollout]:
    """Return those that count at some time between the two, in order."""
    before = [rollout for rollout in in_order if rollout.at_ms <= begin_ms]
    return [*before[-1:], *(rollout for rollout in in_order if begin_ms < rollout.at_ms <= end_ms)]


def _words(rollout: Rollout) -> str:
    model, candidate = rollout.spec, rollout.candidate_spec
    text = model.reference
    if candidate is not None:
        name = candidate.reference
        shadow, share = rollout.mode is Mode.SHADOW, f"{rollout.share or 0:.3g} of the sensors"
        text += f" with {name} in its shadow" if shadow else f", {name} for {share},"
    at = datetime.fromtimestamp(rollout.at_us / 1e6, UTC).isoformat(timespec="milliseconds")
    return f"{text} from {at.replace('+00:00', 'Z')}"
