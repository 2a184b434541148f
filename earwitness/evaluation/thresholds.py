"""Validation streams and negatives, heard -> thresholds and m of n that keep false alarms at a stated rate.

For every label and every m of n that may be, each threshold from 0.05 to 0.99 has an event F1 on the streams,
and a price: the most false alarms that it, or any higher one, gives on the negatives, by a margin below it if
so wished. The labels share what the rate allows so that the sum of their F1, weighted if so wished, is the
greatest (the multiple-choice knapsack problem: H. Kellerer, U. Pferschy and D. Pisinger, "Knapsack Problems",
2004, chapter 11). Of equally good ways the cheaper is taken, then the shorter memory, then the middle of the
thresholds, or the highest where nothing is found within the rate. A label without an event keeps the model's
own threshold and m of n, or has the first threshold, and then the first m of n, with which it stays within an
equal share, or less where the others need more. What lasts is a false alarm for each 10 s that it has begun:
a label that is always on is no single one.

Pass only what the model never learned from: its scores on its own training data are too good. Several
networks of one cross-validation may be given together, each with what it had not heard.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from earwitness.evaluation.events import EventSettings, Scene, labels_with_events
from earwitness.evaluation.heard import Heard, hours_of
from earwitness.evaluation.threshold_grid import (
    Counts,
    Grid,
    event_f1s,
    false_alarms,
    grid,
    lowered,
    prices_of,
)
from models.catalogue import CATALOGUE
from schemas.errors import ConfigurationError
from schemas.model import SPEC_FILE, ModelSpec, MOfN, read_spec

WAYS: tuple[MOfN, ...] = (
    *((1, 1), (1, 2), (2, 2)),
    *((1, 3), (2, 3), (3, 3)),
    *((2, 4), (3, 4)),
    *((2, 5), (3, 5), (4, 5)),
    *((3, 6), (4, 6)),
    *((4, 7), (5, 7)),
)
"""The m of n that are tried, short memories first."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What is tried, and what is worth more.

    Raises:
        ConfigurationError: a label would have nothing to try.

    """

    ways: Sequence[MOfN] = WAYS
    """The m of n; where all else is equal, the first."""
    own_ways: Mapping[str, Sequence[MOfN]] = field(default_factory=dict)
    """Of labels for which others are tried."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of labels, how much more than 1 their F1 counts."""
    margin: float = 0.0
    """In log-odds: a threshold's price is counted so much lower. Sounds of other kinds than those that it is
    counted on score higher, so what is counted is less than what will be."""

    def __post_init__(self) -> None:
        named = {"ways": self.ways} | {f"own_ways[{label}]": ways for label, ways in self.own_ways.items()}
        for name, ways in named.items():
            if not ways:
                raise ConfigurationError(name, list(ways), "at least one m of n to try")

    def ways_of(self, label: str) -> Sequence[MOfN]:
        """Return the m of n that are tried for a label."""
        return self.own_ways.get(label, self.ways)


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """What was chosen for a label, with m of n windows, and how it does on what it was chosen by.

    `event_f1` is None where no stream has an event of it.
    """

    m: int
    n: int
    threshold: float
    event_f1: float | None
    false_alarms: int
    false_alarms_per_hour: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Thresholds and m of n of each label; `hours` is how much of negatives they were chosen on."""

    labels: dict[str, LabelChoice]
    macro_event_f1: float | None
    false_alarms_per_hour: float
    allowed_per_hour: float
    hours: float

    @property
    def kept(self) -> bool:
        """Tell whether the rate is kept; it is not where even the highest thresholds give more."""
        return self.false_alarms_per_hour <= self.allowed_per_hour

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of every label."""
        return {label: chosen.threshold for label, chosen in self.labels.items()}

    @property
    def windows(self) -> tuple[int, int, dict[str, MOfN] | None]:
        """The m and the n of the label that looks at most windows, and those of the labels with others."""
        n, m = max((of.n, of.m) for of in self.labels.values())
        own = {label: (of.m, of.n) for label, of in self.labels.items() if (of.m, of.n) != (m, n)}
        return m, n, own or None

    def into(self, spec: ModelSpec) -> ModelSpec:
        """Return a spec with what was chosen, and with everything else as it is.

        Raises:
            ConfigurationError: it is not that of these labels.

        """
        m, n, own = self.windows
        given = spec.model_dump() | {"thresholds": self.thresholds, "m": m, "n": n, "m_of_n": own}
        try:
            return ModelSpec.model_validate(given)
        except ValueError as exc:
            raise ConfigurationError("thresholds", sorted(self.labels), "the model's own labels") from exc


def choose_thresholds(
    scenes: Sequence[Scene],
    negatives: Sequence[Heard],
    per_hour: float,
    settings: EventSettings | None = None,
    preferences: Preferences | None = None,
) -> Choice:
    """Choose for the model that heard all this; `per_hour` is for all labels together.

    Raises:
        ConfigurationError: there is nothing to choose by.

    """
    if not negatives or per_hour <= 0:
        hours = hours_of(negatives)
        raise ConfigurationError(
            "--false-alarms-per-hour",
            per_hour,
            f"more than 0, and negatives to count on: there are {hours:g} h",
        )
    return _choose(scenes, negatives, per_hour, settings or EventSettings(), preferences or Preferences())


def check_writable(directory: Path) -> None:
    """Refuse a model whose spec could not or must not be replaced: one of those that ship.

    Raises:
        ConfigurationError: so it is.

    """
    if directory.resolve().is_relative_to(CATALOGUE.resolve()):
        accepted = "a model of your own: copy its directory, and give the copy another version in its spec"
        raise ConfigurationError("--choose-thresholds", str(directory), accepted)
    if not (os.access(directory, os.W_OK) and os.access(directory / SPEC_FILE, os.W_OK)):
        raise ConfigurationError("--choose-thresholds", str(directory), f"a {SPEC_FILE} that may be written")


def write_choice(directory: Path, choice: Choice) -> ModelSpec:
    """Put what was chosen into a model's spec, and leave everything else as it is.

    Raises:
        ConfigurationError: the spec cannot be written, or is not that of these labels.

    """
    spec = choice.into(read_spec(directory))
    written = directory / f".{SPEC_FILE}.new"
    try:
        written.write_text(spec.model_dump_json(indent=2) + "\n", "utf-8")
        written.replace(directory / SPEC_FILE)
    except OSError as exc:
        accepted = f"a {SPEC_FILE} that may be written: {exc.strerror}"
        raise ConfigurationError("--choose-thresholds", str(directory), accepted) from exc
    return spec


@dataclass(frozen=True, slots=True)
class _Option:
    """One way to decide a label, what it is worth, and how many false alarms it may cost."""

    choice: LabelChoice
    worth: float
    price: int


def _choose(
    scenes: Sequence[Scene],
    negatives: Sequence[Heard],
    per_hour: float,
    settings: EventSettings,
    preferences: Preferences,
) -> Choice:
    spec, hours = negatives[0].spec, hours_of(negatives)
    ways = {label: preferences.ways_of(label) for label in spec.labels}
    tried = dict.fromkeys(way for of in ways.values() for way in of)
    f1s = {way: event_f1s(scenes, settings, way) for way in tried}
    sounding = labels_with_events(scenes)
    silent = [label for label in spec.labels if label not in sounding]
    allowed = int(per_hour * hours + 1e-9)
    options = {
        label: _options(negatives, label, {way: f1s[way][label] for way in of}, preferences, allowed)
        for label, of in ways.items()
        if label not in silent
    }
    least = sum(of[0].price for of in options.values())
    share = min(allowed / len(spec.labels), max(0, allowed - least) / max(1, len(silent)))
    chosen = {label: _choose_silent(negatives, label, preferences, share) for label in silent}
    left = allowed - sum(of.false_alarms for of in chosen.values())
    chosen |= _share_out(options, left)
    known = [of.event_f1 for of in chosen.values() if of.event_f1 is not None]
    count = sum(of.false_alarms for of in chosen.values())
    ordered = {label: chosen[label] for label in spec.labels}
    return Choice(ordered, float(np.mean(known)) if known else None, count / hours, per_hour, hours)


def _choose_silent(
    negatives: Sequence[Heard], label: str, preferences: Preferences, share: float
) -> LabelChoice:
    """Choose for a label without events: its own threshold and m of n, if that stays within a share."""
    spec, hours = negatives[0].spec, hours_of(negatives)
    own, choices = spec.thresholds[label], []
    tried = np.union1d(grid(), [own])
    for way in dict.fromkeys([spec.m_of_n_of(label), *preferences.ways_of(label)]):
        counts, prices = _counted(negatives, label, way, tried, preferences.margin)
        within = np.flatnonzero((prices <= share) & (tried >= own))
        at = int(within[0]) if within.size else counts.size - 1
        count = int(counts[at])
        choices.append((bool(within.size), LabelChoice(*way, float(tried[at]), None, count, count / hours)))
    return max(choices, key=lambda of: of[0])[1]


def _counted(
    negatives: Sequence[Heard], label: str, way: MOfN, tried: Grid, margin: float
) -> tuple[Counts, Counts]:
    """Return the false alarms of thresholds, and their prices."""
    counts = false_alarms(negatives, label, way, tried)
    lower = false_alarms(negatives, label, way, lowered(tried, margin)) if margin else counts
    return counts, prices_of(lower)


def _options(
    negatives: Sequence[Heard],
    label: str,
    f1s: Mapping[MOfN, Grid],
    preferences: Preferences,
    allowed: int,
) -> list[_Option]:
    """Return the ways to decide a label of which none is both cheaper and better, the cheapest first.

    Of an m of n with which even the highest threshold costs more than all labels may, that is the only one.
    """
    found, hours, tried = [], hours_of(negatives), grid()
    for way, f1 in f1s.items():
        counts, prices = _counted(negatives, label, way, tried, preferences.margin)
        for price in np.unique(prices):
            within = np.flatnonzero(prices <= price) if prices[-1] <= allowed else np.array([prices.size - 1])
            best = within[f1[within] >= f1[within].max() - 1e-9]
            at = int(best[best.size // 2 if f1[best[0]] else -1])
            count, value = int(counts[at]), float(f1[at])
            choice = LabelChoice(*way, float(tried[at]), value, count, count / hours)
            found.append(_Option(choice, preferences.weights.get(label, 1.0) * value, int(prices[at])))
    options: list[_Option] = []
    for option in sorted(found, key=lambda of: (of.price, -of.worth)):
        if not options or option.worth > options[-1].worth + 1e-9:
            options.append(option)
    return options


def _share_out(options: Mapping[str, Sequence[_Option]], left: int) -> dict[str, LabelChoice]:
    """Choose one option of each label, so that together they are worth most and cost at most `left`.

    Where even the cheapest cost more, they are chosen.
    """
    spare = max(0, left - sum(of[0].price for of in options.values()))
    worth, taken = np.zeros(spare + 1), []
    for of in options.values():
        best, pick = worth + of[0].worth, np.zeros(spare + 1, np.int64)
        for number, option in enumerate(of):
            more = option.price - of[0].price
            if more > spare:
                break
            reached = np.concatenate([np.full(more, -np.inf), worth[: spare + 1 - more] + option.worth])
            better = reached > best
            best, pick = np.where(better, reached, best), np.where(better, number, pick)
        worth = best
        taken.append(pick)
    chosen = {}
    for (label, of), pick in reversed([*zip(options.items(), taken, strict=True)]):
        option = of[int(pick[spare])]
        chosen[label] = option.choice
        spare -= option.price - of[0].price
    return chosen
