"""Streams with known events, and what was heard in them -> event F1, intersection F1, PSDS.

Event F1 is of the pipeline's own detections, at the model's thresholds and m of n. A detection is right if it
begins within a collar of an event's beginning, and ends within another of its end; each event is found once.
A detection begins and ends with windows: of 1 s every 0.5 s, two of three, it begins up to 0.5 s to either
side of the sound, and ends 1 s to 1.5 s after its last trace. So smaller collars would measure the grid.

PSDS needs scores, not detections: it follows each moment's `Heard.curve`, whose value at a moment is the
threshold up to which the same m of n rule detects the label there. So at a model's thresholds both agree.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from earwitness.evaluation import sed
from earwitness.evaluation.clips import f1_of
from earwitness.evaluation.heard import Heard, hours_of, joined
from earwitness.evaluation.sed import Truth
from schemas.model import MOfN

if TYPE_CHECKING:
    from pandas import DataFrame

Event = tuple[float, float, str]


@dataclass(frozen=True, slots=True)
class Scene:
    """A stream's events, `(start_s, end_s, label)`, and what was heard in it."""

    truth: tuple[Event, ...]
    heard: Heard


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """When a detection counts as that of an event; the offset's collar is the larger of its two."""

    onset_collar_s: float = 1.0
    offset_collar_s: float = 1.5
    offset_share: float = 0.5
    """Of the event's length."""
    bridge_s: float = 0.0
    """Detections of a label with at most such a pause are one; those that touch always are."""


@dataclass(frozen=True, slots=True)
class PsdsSettings:
    """Ç. Bilen et al., "A framework for the robust evaluation of sound event detection", ICASSP 2020."""

    dtc: float
    gtc: float
    cttc: float | None
    alpha_ct: float
    alpha_st: float
    max_per_hour: float = 100.0


PSDS: Mapping[str, PsdsSettings] = {
    "psds_1": PsdsSettings(dtc=0.7, gtc=0.7, cttc=None, alpha_ct=0.0, alpha_st=1.0),
    "psds_2": PsdsSettings(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0),
}
"""Scenarios 1 (when exactly) and 2 (what at all) of DCASE 2021 to 2023, task 4."""
BRIDGE_S = 2.0
OVERLAPS = (0.1, 0.5)
"""Of intersection F1: the share of a detection that lies in events, and of an event in detections."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of a label that were found, detections that are none, and events that were missed."""

    tp: int
    fp: int
    fn: int

    @property
    def f1(self) -> float | None:
        """None where nothing was there and nothing found."""
        return f1_of(self.tp, self.fp, self.fn)


@dataclass(frozen=True, slots=True)
class F1:
    """The mean over the labels that have events, that of all counts together, and each label's counts.

    A label without events is in `by_label` if something was detected as it, and counts in `micro` only.
    """

    macro: float | None
    micro: float | None
    by_label: dict[str, Counts]


@dataclass(frozen=True, slots=True)
class EventFigures:
    """Figures of streams: how many, how long, how many events, and how they were found."""

    streams: int
    hours: float
    events: int
    event_f1: F1
    """Of detections as they are published; those of a label that touch are one."""
    event_f1_joined: F1
    """The same, with detections of a label joined across pauses of up to 2 s."""
    intersection_f1: dict[float, F1]
    """By how much must overlap."""
    psds: dict[str, float] = field(default_factory=dict)
    psds_by_label: dict[str, dict[str, float]] = field(default_factory=dict)


def event_figures(scenes: Sequence[Scene], settings: EventSettings | None = None) -> EventFigures:
    """Measure what was heard in streams."""
    settings = settings or EventSettings()
    psds = {name: _psds(scenes, way) for name, way in PSDS.items()}
    return EventFigures(
        streams=len(scenes),
        hours=hours_of([scene.heard for scene in scenes]),
        events=sum(len(scene.truth) for scene in scenes),
        event_f1=event_f1(scenes, settings),
        event_f1_joined=event_f1(scenes, replace(settings, bridge_s=BRIDGE_S)),
        intersection_f1={share: _intersection_f1(scenes, share, settings) for share in OVERLAPS},
        psds={name: value for name, (value, _) in psds.items()},
        psds_by_label={name: by_label for name, (_, by_label) in psds.items()},
    )


def event_f1(scenes: Sequence[Scene], settings: EventSettings | None = None) -> F1:
    """Return F1 of the pipeline's detections, by collars."""
    settings = settings or EventSettings()
    _, _, _, found = sed.collar_based().fscore(
        _detections(scenes, settings), truth_of(scenes), 0.5, **collars(settings)
    )
    return _f1(found, scenes, settings)


def collars(settings: EventSettings) -> dict[str, float]:
    """Return collars as sed_scores_eval calls them."""
    return {
        "onset_collar": settings.onset_collar_s,
        "offset_collar": settings.offset_collar_s,
        "offset_collar_rate": settings.offset_share,
    }


def labels_with_events(scenes: Sequence[Scene]) -> tuple[str, ...]:
    """Return the labels of all truth, sorted."""
    return tuple(sorted({label for scene in scenes for _, _, label in scene.truth}))


def names_of(scenes: Sequence[Scene]) -> dict[str, str]:
    """Name the labels of all truth for sed_scores_eval: it has words of its own that a label may be, too."""
    return {label: f"{number:06}" for number, label in enumerate(labels_with_events(scenes))}


def _intersection_f1(scenes: Sequence[Scene], share: float, settings: EventSettings) -> F1:
    _, _, _, found = sed.intersection_based().fscore(
        _detections(scenes, settings), truth_of(scenes), 0.5, dtc_threshold=share, gtc_threshold=share
    )
    return _f1(found, scenes, settings)


def _psds(scenes: Sequence[Scene], settings: PsdsSettings) -> tuple[float, dict[str, float]]:
    if len(labels_with_events(scenes)) == 1:  # there is nothing else to take it for
        settings = replace(settings, cttc=None, alpha_ct=0.0)
    value, by_label, _, _ = sed.intersection_based().psds(
        curves(scenes),
        truth_of(scenes),
        {name: scene.heard.seconds for name, scene in _named(scenes)},
        dtc_threshold=settings.dtc,
        gtc_threshold=settings.gtc,
        cttc_threshold=settings.cttc,
        alpha_ct=settings.alpha_ct,
        alpha_st=settings.alpha_st,
        max_efpr=settings.max_per_hour,
    )
    return float(value), {label: float(by_label[name]) for label, name in names_of(scenes).items()}


def curves(scenes: Sequence[Scene], m_of_n: MOfN | None = None) -> "dict[str, DataFrame]":
    """Return each stream's curves, by m of n windows: by default each label's; columns as by `names_of`."""
    names, frames = names_of(scenes), {}
    for name, scene in _named(scenes):
        heard = scene.heard
        columns = {
            code: heard.curve(label, *(m_of_n or heard.spec.m_of_n_of(label)))
            for label, code in names.items()
        }
        times = next(iter(columns.values()))[0]
        frames[name] = sed.frame(times, {code: values for code, (_, values) in columns.items()})
    return frames


def _detections(scenes: Sequence[Scene], settings: EventSettings) -> "dict[str, DataFrame]":
    """Return 1 where a label was detected and 0 elsewhere, as scores."""
    names = names_of(scenes)
    return {name: _detected(scene.heard, names, settings) for name, scene in _named(scenes)}


def _detected(heard: Heard, names: Mapping[str, str], settings: EventSettings) -> "DataFrame":
    spans = {code: list(joined(heard.spans(label), settings.bridge_s)) for label, code in names.items()}
    bounds = [bound for found in spans.values() for span in found for bound in span]
    times = np.unique([0.0, heard.seconds, *bounds])
    columns = {code: np.zeros(times.size - 1) for code in spans}
    for code, found in spans.items():
        for start_s, end_s in found:
            columns[code][(times[:-1] >= start_s) & (times[:-1] < end_s)] = 1.0
    return sed.frame(times, columns)


def _f1(found: Mapping[str, Mapping[str, int]], scenes: Sequence[Scene], settings: EventSettings) -> F1:
    counts = {label: _counts(found[name]) for label, name in names_of(scenes).items()}
    with_events = [c.f1 or 0.0 for c in counts.values()]
    counts.update(_elsewhere(scenes, settings))
    sums = [sum(part) for part in zip(*((c.tp, c.fp, c.fn) for c in counts.values()), strict=True)]
    macro = sum(with_events) / len(with_events) if with_events else None
    return F1(macro, f1_of(*sums) if sums else None, counts)


def _counts(found: Mapping[str, int]) -> Counts:
    tp = int(found["tps"])
    return Counts(tp, int(found["fps"]), int(found["n_ref"]) - tp)


def _elsewhere(scenes: Sequence[Scene], settings: EventSettings) -> Iterator[tuple[str, Counts]]:
    """Yield the labels without events that something was detected as."""
    labels = set(scenes[0].heard.spec.labels) - set(labels_with_events(scenes)) if scenes else set()
    for label in sorted(labels):
        found = sum(len(list(joined(s.heard.spans(label), settings.bridge_s))) for s in scenes)
        if found:
            yield label, Counts(0, found, 0)


def truth_of(scenes: Sequence[Scene]) -> Truth:
    """Return the events of each stream, as sed_scores_eval takes them."""
    names = names_of(scenes)
    return {
        name: [(start_s, end_s, names[label]) for start_s, end_s, label in scene.truth]
        for name, scene in _named(scenes)
    }


def _named(scenes: Sequence[Scene]) -> list[tuple[str, Scene]]:
    return [(f"{number:06}", scene) for number, scene in enumerate(scenes)]
