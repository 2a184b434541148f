"""Control topic, a time -> the trial of a candidate then: in a shadow, or for a share of sensors.

    rollouts   ── quick/1 ──┃── quick/1, 2 in its shadow ──┃── quick/1, 2 for 0.1 ──┃── quick/2 ──►
    trials                  ├─────────── SHADOW ───────────┼──────── SPLIT ─────────┤

Times are the broker's: a rollout begins by the frames' append times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from earwitness.analysis.wanted import Wanted, utc_text
from earwitness.settings import Settings
from processors.decision import Decision, DecisionSettings
from processors.rollouts import Rollouts
from schemas.errors import ConfigurationError
from schemas.rollout import Mode, Rollout, standing

MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """A model and a candidate that both decided about frames appended in `[begin_us, end_us)`."""

    mode: Mode
    model: Decision
    candidate: Decision
    share: float | None
    begin_us: int
    end_us: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of both, each once."""
        return tuple(dict.fromkeys((*self.model.spec.labels, *self.candidate.spec.labels)))

    def as_text(self) -> str:
        """Return what was tried, and when."""
        names = f"{self.candidate.spec.reference} beside {self.model.spec.reference}"
        how = "in its shadow" if self.mode is Mode.SHADOW else f"for {self.share or 0:.3g} of the sensors"
        return f"{names}, {how}, {utc_text(self.begin_us)} to {utc_text(self.end_us)}"


def read_trial(settings: Settings, wanted: Wanted, now_us: int) -> Trial:
    """Find the one trial in a time; where no time is given, the last one.

    Raises:
        ConfigurationError: there is none, or more than one.
        EarwitnessError: the schema registry does not answer.

    """
    if settings.kafka.embedded:
        raise ConfigurationError("kafka.embedded", True, "a real broker: the embedded one has no rollouts")
    frames, decision = settings.frames_topics[0], settings.decision()
    with Rollouts(settings.kafka.librdkafka(), settings.codec(), decision, [frames]) as rollouts:
        rollouts.refresh()
    return chosen(trials(rollouts.announced(frames), settings.detect, now_us), wanted)


def trials(announced: Sequence[Rollout], rules: DecisionSettings, now_us: int) -> list[Trial]:
    """Return all trials that have begun, in order; of rollouts that begin at once the last one counts."""
    counting = standing(announced)
    ends_us = [*(rollout.at_ms * 1000 for rollout in counting), now_us][1:]
    found: list[Trial] = []
    for rollout, end_us in zip(counting, ends_us, strict=False):
        spec, begin_us = rollout.candidate_spec, rollout.at_ms * 1000
        if spec is None or begin_us >= now_us:
            continue
        model, candidate = Decision(rollout.spec, rules), Decision(spec, rules)
        trial = Trial(rollout.mode, model, candidate, rollout.share, begin_us, min(end_us, now_us))
        if found and found[-1] == replace(trial, begin_us=found[-1].begin_us, end_us=begin_us):
            trial = replace(trial, begin_us=found.pop().begin_us)  # it was only said again
        found.append(trial)
    return found


def chosen(there: Sequence[Trial], wanted: Wanted) -> Trial:
    """Return the trial that lies in a time, cut to it.

    Raises:
        ConfigurationError: there is none, or more than one.

    """
    found = [trial for trial in there if wanted.overlaps(trial.begin_us, trial.end_us)]
    if wanted.begin_us is None and wanted.end_us is None:
        found = found[-1:]
    if len(found) != 1:
        known = "; ".join(trial.as_text() for trial in (found or there)[-MAX_NAMED:])
        given = f"{utc_text(wanted.begin_us)} to {utc_text(wanted.end_us)}"
        accepted = f"a time with one trial: {known}" if known else "a time after `earwitness model rollout` "
        accepted += "" if known else "with --shadow or --share: no candidate has been tried yet"
        raise ConfigurationError("--from, --to", given, accepted)
    (trial,) = found
    begin_us, end_us = max(trial.begin_us, wanted.begin_us or 0), trial.end_us
    return replace(trial, begin_us=begin_us, end_us=min(end_us, wanted.end_us or end_us))
