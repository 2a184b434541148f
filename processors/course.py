"""Which decision counts for a frame: by its append time, and by the share that its sensor belongs to.

    ─────── first ───────┃──────── stage 1 ────────┃──── stage 2 ────►   append time
                       at_ms                     at_ms

A rollout is a stage. The first frame of a sensor appended at or after `at_ms` closes the sensor's run and
opens one under the stage's decision. It never goes back, though brokers' clocks may: what counts is the
highest append time that the sensor has had. So what decides is a function of the log, whoever reads it, and
from where.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from processors.decision import Decision


@dataclass(frozen=True, slots=True)
class Stage:
    """What decides from an append time on: `candidate` for a share of the sensors, `decision` for the others.

    None where nothing is to be heard.
    """

    at_ms: int
    decision: Decision | None
    candidate: Decision | None = None
    share: float = 0.0

    def decision_for(self, bucket: float) -> Decision | None:
        """Return what decides for a sensor; `bucket` is its place in [0, 1), see `schemas.rollout`."""
        return self.candidate if bucket < self.share else self.decision

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All that may decide."""
        return tuple(d for d in (self.decision, self.candidate) if d is not None)

    @property
    def listeners(self) -> str:
        """What may decide, in words."""
        models = " and ".join(decision.spec.reference for decision in self.decisions) or "nothing"
        return models + (f", the second for {self.share:.0%} of the sensors" if self.share else "")


class Course:
    """What decided first, and the stages since; of stages with the same time the last one counts."""

    def __init__(self, first: Decision | None, stages: Sequence[Stage] = ()) -> None:
        last = {stage.at_ms: stage for stage in stages}
        self.stages = tuple(last[at_ms] for at_ms in sorted(last))
        self._times = [stage.at_ms for stage in self.stages]
        self._all = (Stage(0, first), *self.stages)

    def decision(self, bucket: float, appended_ms: int) -> Decision | None:
        """Return what decides for a sensor at an append time, in milliseconds since 1970."""
        return self._all[bisect_right(self._times, appended_ms)].decision_for(bucket)

    def until_ms(self, appended_ms: int) -> float:
        """Return when the stage that counts at an append time ends."""
        at = bisect_right(self._times, appended_ms)
        return self._times[at] if at < len(self._times) else inf

    def since(self, appended_ms: int) -> tuple[Stage, ...]:
        """Return the stage that counts at an append time, and all that follow."""
        return self._all[bisect_right(self._times, appended_ms) :]


def same(one: Decision | None, other: Decision | None) -> bool:
    """Say whether two decisions decide the same."""
    return one is other or (one is not None and other is not None and one.digest == other.digest)
