"""Control topics -> courses: which model counts from when on, known in time by every worker.

    record appended ──── LEAD_S at least ────► at_us: the first frames that it counts for
            └─ read within ─┘
               LEASE_S, or nothing more is read of the frames

A worker that has read a control topic to its end less than LEASE_S ago, by its own monotonic clock, knows
every rollout that counts for frames which have been appended by now. Where it is longer ago, it waits.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Any

from processors.course import Course, Stage
from processors.decision import Decision
from processors.log import LogReader, Record
from schemas.codec import Codec
from schemas.errors import (
    ConfigurationError,
    EarwitnessError,
    MalformedRecordError,
    SchemaUnresolvedError,
    StopError,
    UnknownSchemaError,
)
from schemas.model import ModelSpec
from schemas.rollout import LEAD_S, Mode, Rollout, standing
from schemas.topics import Topics

logger = logging.getLogger(__name__)

LEASE_S = LEAD_S / 2
"""What is left of LEAD_S is for brokers' clocks that disagree."""
FAR_S = 7 * 86_400.0
"""Nobody plans further ahead; a time in other units is further away than that."""
PARTITION = 0
TIMEOUT_S = 5.0


def uptime_s() -> float:
    """Return a clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Rollouts:
    """The courses of some frames topics; `shadow` has candidates heard that are in a rollout's shadow, alone.

    A rollout that cannot be read, or begins too soon or too far away, never counts, and is `ignored`: to hear
    with yesterday's model is better than not to hear. Its methods block; one thread at a time.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        codec: Codec,
        first: Decision,
        frames_topics: Iterable[str],
        *,
        shadow: bool = False,
        now_s: Callable[[], float] = uptime_s,
    ) -> None:
        self._reader, self._codec = LogReader(client, TIMEOUT_S), codec
        self._first, self._shadow, self._now_s = first, shadow, now_s
        self._decisions = {first.digest: first}
        self._known_s: float | None = None
        self._written: dict[str, list[Rollout]] = {topic: [] for topic in frames_topics}
        self._next = dict.fromkeys(self._written, 0)
        self.courses = {topic: self._course(topic) for topic in self._written}
        """By frames topic."""
        self.ignored = 0

    def __enter__(self) -> "Rollouts":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fresh(self) -> bool:
        """Whether everything is known that counts for frames which have been appended by now."""
        return self.age_s < LEASE_S

    @property
    def age_s(self) -> float:
        """How long ago everything was known; infinite before that."""
        return inf if self._known_s is None else self._now_s() - self._known_s

    def announced(self, topic: str) -> list[Rollout]:
        """Return the rollouts of a frames topic that count, or will, in the order of their times."""
        return standing(self._written[topic])

    def refresh(self) -> float:
        """Read what is new, and return when that began: to be `confirmed` once the courses are in use.

        Raises:
            ConfigurationError: a control topic does not exist, or no broker answers.
            EarwitnessError: the schema registry does not answer.
            KafkaException: a control topic may not be read.
            StopError: a control topic was made anew.

        """
        began_s = self._now_s()
        for topic in self._written:
            for record in self._new(topic):
                rollout = self._counting(record)
                self._next[topic] = record.offset + 1
                if rollout is not None:
                    self._written[topic].append(rollout)
                    self.courses[topic] = self._course(topic)
        return began_s

    def confirm(self, began_s: float) -> None:
        """Take it that all is in use that could be known when a refresh began."""
        self._known_s = began_s

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

    def _new(self, topic: str) -> Iterator[Record]:
        control, first = Topics.beside(topic).control, self._next[topic]
        _, end = self._reader.limits_of(control, PARTITION)
        if end < first:
            raise StopError(f"{control} ends at {end} and was read to {first}: it was made anew; start again")
        if end > first:
            yield from self._reader.read(control, {PARTITION: (first, end)})
            self._next[topic] = end

    def _course(self, topic: str) -> Course:
        stages = [self._as_stage(rollout) for rollout in self.announced(topic)]
        return Course(None if self._shadow else self._first, stages)

    def _counting(self, record: Record) -> Rollout | None:
        try:
            rollout = self._read(record)
            _check_time(rollout, record)
            if rollout.mode is not Mode.CANCEL:
                self._as_stage(rollout)
        except (MalformedRecordError, UnknownSchemaError, ConfigurationError) as exc:
            self.ignored += 1
            logger.error("%s: a rollout that never counts: %s", record.place, exc)
            return None
        return rollout

    def _read(self, record: Record) -> Rollout:
        try:
            return self._codec.decode_asking(Rollout, record.value)
        except SchemaUnresolvedError as exc:
            raise EarwitnessError(f"{record.place}: the registry does not say how it was written") from exc

    def _as_stage(self, rollout: Rollout) -> Stage:
        model, candidate = self._decision(rollout.spec), self._decision(rollout.candidate_spec)
        if self._shadow:
            return Stage(rollout.at_ms, candidate if rollout.mode is Mode.SHADOW else None)
        if rollout.mode is Mode.SPLIT:
            return Stage(rollout.at_ms, model, candidate, rollout.share or 0.0)
        return Stage(rollout.at_ms, model)

    def _decision(self, spec: ModelSpec | None) -> Decision | None:
        if spec is None:
            return None
        made = Decision(spec, self._first.rules)
        return self._decisions.setdefault(made.digest, made)


def _check_time(rollout: Rollout, record: Record) -> None:
    lead_s = (rollout.at_ms - record.timestamp) / 1000
    if not LEAD_S <= lead_s <= FAR_S:
        accepted = f"{LEAD_S:g} to {FAR_S:g} s"
        raise MalformedRecordError(f"it begins {lead_s:g} s after it was appended; accepted: {accepted}")
