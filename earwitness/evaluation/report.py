"""Figures -> one JSON document, and the tables that a person reads."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from earwitness.evaluation.evaluate import Figures
from earwitness.evaluation.events import F1
from earwitness.evaluation.evidence import EvaluateSettings
from earwitness.evaluation.intervals import Rate, Share
from earwitness.evaluation.thresholds import Choice
from schemas.model import ModelSpec

MOST_SHOWN = 20
"""Labels in one row of a table."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, of what and how."""

    spec: ModelSpec
    data: Mapping[str, object]
    """Folders, recordings and digest."""
    settings: EvaluateSettings
    figures: Figures
    choice: Choice | None = None
    """What was chosen, and stands in the spec now; the figures are of it, on what it was chosen by."""

    def as_json(self) -> str:
        """Return everything as one document."""
        return json.dumps(self._as_dict(), ensure_ascii=False, allow_nan=False)

    def _as_dict(self) -> dict[str, Any]:
        figures, spec = self.figures, self.spec
        clips = figures.clips
        return {
            "model": {"name": spec.name, "version": spec.version, "digest": spec.digest}
            | {"thresholds": spec.thresholds, "m": spec.m, "n": spec.n, "m_of_n": spec.m_of_n},
            "data": dict(self.data),
            "settings": asdict(self.settings),
            "accuracy": clips.accuracy.value,
            "interval": [clips.accuracy.low, clips.accuracy.high],
            "recordings": clips.accuracy.all,
            "unheard": clips.unheard,
            "unknown_labels": clips.unknown,
            "by_label": {label: asdict(of) for label, of in clips.by_label.items()},
            "confusion": {"labels": clips.labels, "counts": clips.confusion},
            "wrong": [dict(zip(("path", "label", "guess"), named, strict=True)) for named in clips.wrong],
            "events": None if figures.events is None else asdict(figures.events),
            "alarms": {f"{snr_db:g} dB": asdict(of) for snr_db, of in figures.alarms.items()},
            "false_alarms": asdict(figures.false_alarms),
            "robustness": {name: [asdict(p) for p in curve] for name, curve in figures.robustness.items()},
            "calibration": None if figures.calibration is None else asdict(figures.calibration),
            "thresholds": self.choice and asdict(self.choice) | {"kept": self.choice.kept},
        }


Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""A title, the names of columns, and rows."""


def tables(report: Report) -> Iterator[Table]:
    """Yield what a person is shown, in order."""
    yield _summary(report)
    yield _labels(report)
    if report.figures.robustness:
        yield _robustness(report)
    if report.choice is not None:
        yield _choice(report.choice)


def _summary(report: Report) -> Table:
    figures, spec = report.figures, report.spec
    rows: list[Sequence[str]] = [("clip accuracy", share_text(figures.clips.accuracy))]
    if figures.clips.unknown:
        rows.append(("labels that the model does not know", _unknown(figures.clips.unknown)))
    if figures.events is not None:
        events = figures.events
        rows += [
            (f"event F1, {events.events} events in {events.hours:.2f} h", _macro(events.event_f1)),
            ("  pauses of up to 2 s joined", _macro(events.event_f1_joined)),
            *((f"  by overlap of {by:g}", _macro(f1)) for by, f1 in events.intersection_f1.items()),
            *((name.upper().replace("_", " "), f"{value:.3f}") for name, value in events.psds.items()),
        ]
    rows += [
        (f"alarms at {snr_db:g} dB, event F1", f"{_macro(of.event_f1)}, joined {_macro(of.event_f1_joined)}")
        for snr_db, of in figures.alarms.items()
    ]
    rows += [
        (f"false alarms: {source.name}", rate_text(source.all)) for source in figures.false_alarms.sources
    ]
    rows.append(("false alarms, all", rate_text(figures.false_alarms.all)))
    if figures.calibration is not None:
        found = figures.calibration
        tempered = f"{found.expected_error_tempered:.3f} at temperature {found.temperature:.2f}"
        rows.append(("calibration error", f"{found.expected_error:.3f}, {tempered}"))
    return spec.reference, ("", ""), rows


def _unknown(counts: Mapping[str, int]) -> str:
    shown = [f"{label} ({count})" for label, count in list(counts.items())[:MOST_SHOWN]]
    return ", ".join(shown) + ("" if len(counts) <= MOST_SHOWN else f" and {len(counts) - MOST_SHOWN} more")


def _labels(report: Report) -> Table:
    figures, spec = report.figures, report.spec
    alarms = figures.alarms.get(0.0) or next(iter(figures.alarms.values()), None)
    rows = []
    for label in spec.labels:
        clip, rate = figures.clips.by_label.get(label), figures.false_alarms.by_label[label]
        tallies = [of.event_f1.by_label.get(label) for of in (figures.events, alarms) if of is not None]
        found = max((c for c in tallies if c is not None), key=lambda c: c.tp + c.fn, default=None)
        rows.append(
            (
                label,
                f"{spec.thresholds[label]:.2f}",
                "{} of {}".format(*spec.m_of_n_of(label)),
                *(("", "", "") if clip is None else map(_number, (clip.precision, clip.recall, clip.f1))),
                "" if found is None else f"{found.tp}/{found.fp}/{found.fn}",
                "" if found is None else _number(found.f1),
                "" if rate.per_hour is None else f"{rate.per_hour:.2f} (< {rate.upper_per_hour:.2f})",
            )
        )
    columns = (
        "label",
        "threshold",
        "windows",
        "precision",
        "recall",
        "F1",
        "events tp/fp/fn",
        "event F1",
        "false/h",
    )
    return "By label", columns, rows


def _robustness(report: Report) -> Table:
    rows = [
        (name, "  ".join(f"{point.x:g}: {_number(point.accuracy.value)}" for point in curve))
        for name, curve in report.figures.robustness.items()
    ]
    return "Clip accuracy when the sound gets worse", ("", ""), rows


def _choice(choice: Choice) -> Table:
    rows = [
        (
            label,
            f"{of.threshold:.2f}",
            f"{of.m} of {of.n}",
            _number(of.event_f1),
            f"{of.false_alarms_per_hour:.2f}",
        )
        for label, of in choice.labels.items()
    ]
    title = (
        f"Chosen for at most {choice.allowed_per_hour:g} false alarms an hour, on {choice.hours:.2f} h: "
        f"{choice.false_alarms_per_hour:.2f} an hour"
        + ("" if choice.kept else ", for even the highest thresholds give more")
    )
    return title, ("label", "threshold", "windows", "event F1", "false/h"), rows


def share_text(share: Share) -> str:
    """Say a share and its interval."""
    if share.value is None:
        return "nothing to measure it on"
    return f"{share.value:.3f}, {share.low:.3f} to {share.high:.3f} ({share.right} of {share.all})"


def rate_text(rate: Rate) -> str:
    """Say a rate and its bound."""
    if rate.per_hour is None:
        return "nothing to count them on"
    bound = f"at most {rate.upper_per_hour:.2f} with 95 % confidence"
    return f"{rate.per_hour:.2f} an hour, {bound} ({rate.count} in {rate.hours:.2f} h)"


def _macro(f1: F1) -> str:
    return _number(f1.macro)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
