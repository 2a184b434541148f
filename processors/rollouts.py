"""Control topics -> courses: which model counts from when on, known in time by every worker.

    record appended ──── LEAD_S at least ────► at_us: the first frames that it counts for
            └─ read within ─┘
               LEASE_S, or nothing more is read of the frames

A worker that has read a control topic to its end less than LEASE_S ago, by its own monotonic clock, knows
every rollout that counts for frames which have been appended by now. Where it is longer ago, it waits.
"""

import logging
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

from processors.course import Course, Stage
from processors.decision import Decision
from processors.log import LogReader, Record
from schemas.codec import Codec
from schemas.errors import (
    ConfigurationError,
    MalformedRecordError,
    SchemaUnresolvedError,
    StopError,
    UnknownSchemaError,
)
from schemas.model import ModelSpec
from schemas.rollout import LEAD_S, Mode, Rollout
from schemas.topics import Topics

logger = logging.getLogger(__name__)

LEASE_S = LEAD_S / 2
"""What is left of LEAD_S is for brokers' clocks that disagree."""
PARTITION = 0


class Rollouts:
    """The courses of some frames topics; `shadow` has candidates heard that are in a rollout's shadow, alone.

    Its methods block; one thread at a time.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        codec: Codec,
        first: Decision,
        frames_topics: Iterable[str],
        *,
        shadow: bool = False,
    ) -> None:
        self._reader, self._codec = LogReader(client), codec
        self._first, self._shadow = first, shadow
        self._decisions = {first.digest: first}
        self._read_s: float | None = None
        self.announced: dict[str, list[Rollout]] = {topic: [] for topic in frames_topics}
        """By frames topic, every rollout that counts, or will, in the order in which they were written."""
        self.courses = {topic: self._course(topic) for topic in self.announced}
        """By frames topic."""
        self._next = dict.fromkeys(self.announced, 0)

    @property
    def fresh(self) -> bool:
        """Whether everything is known that counts for frames which have been appended by now."""
        return self._read_s is not None and monotonic() < self._read_s + LEASE_S

    def refresh(self) -> bool:
        """Read what is new; return whether a course has changed.

        Raises:
            ConfigurationError: a control topic does not exist, or no broker answers.
            StopError: a rollout was written by a later release, or the topic was made anew.

        """
        began_s, changed = monotonic(), False
        for topic, announced in self.announced.items():
            new = [rollout for record in self._new(topic) if (rollout := self._counting(record)) is not None]
            if new:
                announced += new
                self.courses[topic] = self._course(topic)
                changed = True
        self._read_s = began_s
        return changed

    def counting(self, now_ms: int) -> list[Decision]:
        """Return what decides for frames that are appended now."""
        return [d for course in self.courses.values() for d in course.since(now_ms)[0].decisions]

    def needed(self, since_ms: Mapping[str, int]) -> list[Decision]:
        """Return what may have to decide for frames appended since a time, by frames topic."""
        stages = [stage for topic, at_ms in since_ms.items() for stage in self.courses[topic].since(at_ms)]
        return [decision for stage in stages for decision in stage.decisions]

    def close(self) -> None:
        """Let go of the connection."""
        self._reader.close()

    def _new(self, topic: str) -> list[Record]:
        control = Topics.beside(topic).control
        _, end = self._reader.limits_of(control, PARTITION)
        if end < self._next[topic]:
            raise StopError(f"{control} ends at {end} and was read to {self._next[topic]}: was it made anew?")
        if end == self._next[topic]:
            return []
        found = list(self._reader.read(control, {PARTITION: (self._next[topic], end)}))
        self._next[topic] = end
        return found

    def _course(self, topic: str) -> Course:
        stages = [self._as_stage(rollout) for rollout in self.announced[topic]]
        return Course(None if self._shadow else self._first, stages)

    def _counting(self, record: Record) -> Rollout | None:
        try:
            rollout = self._read(record)
            if rollout.at_ms < record.timestamp + LEAD_S * 1000:
                early = (rollout.at_ms - record.timestamp) / 1000
                raise MalformedRecordError(
                    f"it begins {early:g} s after it was appended; accepted: {LEAD_S:g} s or more"
                )
            self._as_stage(rollout)
            return rollout
        except (MalformedRecordError, ConfigurationError) as exc:
            logger.error("%s: a rollout that never counts: %s", record.place, exc)
            return None

    def _read(self, record: Record) -> Rollout:
        try:
            try:
                return self._codec.decode(Rollout, record.value)
            except SchemaUnresolvedError as exc:
                self._codec.resolve(exc.schema_id)
                return self._codec.decode(Rollout, record.value)
        except (UnknownSchemaError, SchemaUnresolvedError) as exc:
            # Whoever ignored it would go on with a model that others have left.
            raise StopError(
                f"{record.place}: a rollout that cannot be read; a later release's? {exc}"
            ) from exc

    def _as_stage(self, rollout: Rollout) -> Stage:
        model = self._decision(rollout.spec)
        spec = rollout.candidate_spec
        candidate = None if spec is None else self._decision(spec)
        if self._shadow:
            return Stage(rollout.at_ms, candidate if rollout.mode is Mode.SHADOW else None)
        if rollout.mode is Mode.SPLIT:
            return Stage(rollout.at_ms, model, candidate, rollout.share or 0.0)
        return Stage(rollout.at_ms, model)

    def _decision(self, spec: ModelSpec) -> Decision:
        made = Decision(spec, self._first.rules)
        return self._decisions.setdefault(made.digest, made)
