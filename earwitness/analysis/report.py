"""A trial -> its report: how a candidate in the shadow agrees, or how often each arm heard what; in words."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from shlex import quote

from earwitness.analysis.agreement import Comparison, Disagreement
from earwitness.analysis.arms import Arms, LabelRates, Rate
from earwitness.analysis.lookup import Lookup
from earwitness.analysis.showing import Rows
from earwitness.analysis.sides import read_sides
from earwitness.analysis.trial import Trial
from earwitness.analysis.wanted import Wanted, utc_text
from schemas.rollout import Mode

CHANCE = 0.05
MAX_EXPLAINED_S = 3600.0
_ARM_COLUMNS = "label", "model", "an hour", "95 %", "candidate", "an hour", "95 %", "p", ""
_SHADOW_COLUMNS = (
    *("label", "both, s", "only model, s", "only candidate, s"),
    *("model's sounds, met", "candidate's, met", "Jaccard", "kappa"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """A trial, and what came of it: of a shadow a comparison, of a split two arms."""

    trial: Trial
    compared: Comparison | Arms


def report_on(lookup: Lookup, trial: Trial, wanted: Wanted, examples: int) -> Report:
    """Read what both sides of a trial said of the sensors that are meant.

    Raises:
        ConfigurationError: a topic does not exist.

    """
    shadow = trial.mode is Mode.SHADOW
    compared = Comparison(lookup.frames, trial.labels, examples) if shadow else Arms(trial.labels)
    for sides in read_sides(lookup, trial, wanted):
        compared.add(sides)
    return Report(trial, compared)


def report_lines(report: Report) -> Iterator[str]:
    """Return the report as JSON, an object a line: the trial, what was listened to, labels, examples."""
    trial = report.trial
    yield _line("trial", _trial_fields(trial))
    if isinstance(report.compared, Arms):
        yield _line("listened", _arm_fields(report.compared))
        for rates in report.compared.rates():
            yield _line("label", asdict(rates))
        return
    listened = report.compared.listened
    yield _line("listened", {**asdict(listened), "sensors": len(listened.sensors)})
    for label, agreement in report.compared.by_label.items():
        figures = {"jaccard": agreement.jaccard, "kappa": agreement.kappa}
        yield _line("label", {"label": label, **asdict(agreement), **figures})
    for example in report.compared.disagreements:
        yield _line("disagreement", {**asdict(example), "look": _commands(trial, example)})


def listened_text(report: Report) -> str:
    """Return how much the figures stand on, and what was left out."""
    if isinstance(report.compared, Arms):
        arms = (("model", report.compared.model), ("candidate", report.compared.candidate))
        told = (f"{name}: {len(arm.hours)} sensors, {arm.total_hours:.2f} h" for name, arm in arms)
        return f"listened: {'; '.join(told)}"
    listened = report.compared.listened
    return (
        f"both listened to {listened.both_s:.1f} s of {len(listened.sensors)} sensors; left out: "
        f"{listened.only_model_s:.1f} s that only the model listened to, "
        f"{listened.only_candidate_s:.1f} s only the candidate"
    )


def report_rows(report: Report) -> Rows:
    """Return the table of all labels."""
    if isinstance(report.compared, Arms):
        rates = [_arm_row(one) for one in report.compared.rates()]
        return _ARM_COLUMNS, rates
    rows = [
        [
            label,
            f"{one.both_s:.1f}",
            f"{one.only_model_s:.1f}",
            f"{one.only_candidate_s:.1f}",
            f"{one.model_sounds}, {one.model_met}",
            f"{one.candidate_sounds}, {one.candidate_met}",
            _figure(one.jaccard),
            _figure(one.kappa),
        ]
        for label, one in report.compared.by_label.items()
    ]
    return _SHADOW_COLUMNS, rows


def notes(report: Report) -> Iterator[str]:
    """Return what a reader must know of the figures, and the commands that show the examples."""
    trial = report.trial
    for one, other, side in (
        (trial.model, trial.candidate, "candidate"),
        (trial.candidate, trial.model, "model"),
    ):
        missing = [label for label in one.spec.labels if label not in other.spec.labels]
        if missing:
            yield f"the {side}, {other.spec.reference}, has no {', '.join(missing)}"
    yield from _silent(report)
    if isinstance(report.compared, Arms):
        yield "95 %: exact for sounds that come independently. p: sensors dealt to the arms anew, 9999 times"
        yield f"of many labels some are below {CHANCE:g} by chance: one in twenty"
        return
    for example in report.compared.disagreements:
        at, place = utc_text(example.start_us), f"{example.topic}[{example.partition}]"
        where = f"{place}@{example.first_offset} to {example.last_offset}"
        heard = f"{example.label}, {example.sensor}, {at}, {example.seconds:.1f} s, {where}"
        yield f"only the {example.by}: {heard}"
        for command in _commands(trial, example):
            yield f"  {command}"


def _silent(report: Report) -> Iterator[str]:
    """Say of a side that listened to nothing what may be the reason."""
    compared, trial = report.compared, report.trial
    if isinstance(compared, Arms):
        listened = compared.model.total_hours, compared.candidate.total_hours
    else:
        both_s, one = compared.listened.both_s, compared.listened
        listened = both_s + one.only_model_s, both_s + one.only_candidate_s
    for name, decision, amount in zip(
        ("model", "candidate"), (trial.model, trial.candidate), listened, strict=True
    ):
        if not amount:
            reasons = "the settings detect.* are not the workers', or none has listened yet"
            yield f"no coverage by the {name}'s decision, {decision.digest[:12]}: {reasons}"


def _line(kind: str, fields: dict[str, object]) -> str:
    return json.dumps({"kind": kind, **fields}, ensure_ascii=False)


def _trial_fields(trial: Trial) -> dict[str, object]:
    sides = {"model": trial.model, "candidate": trial.candidate}
    return {
        "mode": trial.mode,
        "share": trial.share,
        "begin_us": trial.begin_us,
        "end_us": trial.end_us,
        **{side: decision.spec.reference for side, decision in sides.items()},
        **{f"{side}_digest": decision.digest for side, decision in sides.items()},
    }


def _arm_fields(arms: Arms) -> dict[str, object]:
    sides = (("model", arms.model), ("candidate", arms.candidate))
    return {side: {"sensors": len(arm.hours), "hours": arm.total_hours} for side, arm in sides}


def _arm_row(one: LabelRates) -> list[str]:
    if one.p is None:
        said = ("-", "too few sensors to say")
    else:
        said = (f"{one.p:.4f}", "could be chance" if one.p >= CHANCE else "hardly chance")
    return [one.label, *_rate_cells(one.model), *_rate_cells(one.candidate), *said]


def _rate_cells(rate: Rate) -> tuple[str, str, str]:
    if rate.per_hour is None:
        return str(rate.sounds), "-", "-"
    return str(rate.sounds), f"{rate.per_hour:.3f}", f"{rate.low:.3f} to {rate.high:.3f}"


def _commands(trial: Trial, example: Disagreement) -> list[str]:
    """Return what says why the other side did not hear it, and what takes its sound out."""
    silent = trial.candidate if example.by == "model" else trial.model
    asked = f"--sensor {quote(example.sensor)} --at {utc_text(example.start_us)}"
    asked += f" --for {min(MAX_EXPLAINED_S, example.seconds):.3f} --label {quote(example.label)}"
    with_model = f" --model {silent.spec.reference}" if silent is trial.candidate else ""
    explain = [f"earwitness explain {asked}{with_model}"] if example.label in silent.spec.labels else []
    return [*explain, f"earwitness export {quote(example.detection)} --out sound.wav"]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
