"""What a model heard at some sensors, and a candidate at others -> the rate of each label in both arms.

The sensors differ, so nothing can be compared sound by sound: only how often, in the hours listened to.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from earwitness.analysis.chance import Floats, differ_by_chance, poisson_interval
from earwitness.analysis.intervals import length
from earwitness.analysis.sides import Side, Sides

MIN_SENSORS = 2
"""Of each arm: with fewer nobody can say how much sensors differ by themselves."""


@dataclass(slots=True)
class Arm:
    """The sensors that one decision listened to: hours, and sounds by label."""

    hours: Counter[str] = field(default_factory=Counter)
    sounds: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, side: Side, labels: Sequence[str]) -> None:
        """Take what it said of a partition."""
        for of, rate_hz in side.rates_hz.items():
            sensor, within = of[0], side.listened(of)
            self.hours[sensor] += length(within) / rate_hz / 3600  # type: ignore[assignment]
            counts = self.sounds.setdefault(sensor, Counter())
            for label in labels:
                counts[label] += len(side.sounds(of, label, within))

    def count(self, label: str) -> int:
        """Return how many sounds were heard as a label."""
        return sum(counts[label] for counts in self.sounds.values())

    @property
    def total_hours(self) -> float:
        """Return the hours listened to, of all sensors together."""
        return float(sum(self.hours.values()))

    def table(self, labels: Sequence[str]) -> tuple[Floats, Floats]:
        """Return counts, float64[sensors, labels], and hours, float64[sensors]."""
        sensors = sorted(sensor for sensor, hours in self.hours.items() if hours)
        counts = [[self.sounds[sensor][label] for label in labels] for sensor in sensors]
        table = np.array(counts, np.float64).reshape(len(sensors), len(labels))
        return table, np.array([self.hours[sensor] for sensor in sensors], np.float64)


@dataclass(frozen=True, slots=True)
class Rate:
    """Sounds of a label in an arm: how many, how many an hour, and a 95 % interval of that.

    None where nothing was listened to. The interval is that of sounds that come independently.
    """

    sounds: int
    per_hour: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class LabelRates:
    """One label in both arms; `p` is the probability of so large a difference by chance, None if unknown."""

    label: str
    model: Rate
    candidate: Rate
    p: float | None


class Arms:
    """Both arms of a trial that splits the sensors."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.model, self.candidate = Arm(), Arm()

    def add(self, sides: Sides) -> None:
        """Take what both said of a partition."""
        for arm, side in zip((self.model, self.candidate), sides, strict=True):
            arm.add(side, self.labels)

    def rates(self) -> list[LabelRates]:
        """Return the rates of every label."""
        arms = self.model, self.candidate
        chances: Sequence[float | None] = [None] * len(self.labels)
        tables = [arm.table(self.labels) for arm in arms]
        if all(len(hours) >= MIN_SENSORS for _, hours in tables):
            (ours, our_hours), (theirs, their_hours) = tables
            chances = differ_by_chance(ours, our_hours, theirs, their_hours).tolist()
        return [
            LabelRates(label, _rate(self.model, label), _rate(self.candidate, label), p)
            for label, p in zip(self.labels, chances, strict=True)
        ]


def _rate(arm: Arm, label: str) -> Rate:
    sounds, hours = arm.count(label), arm.total_hours
    if not hours:
        return Rate(sounds, None, None, None)
    low, high = poisson_interval(sounds)
    return Rate(sounds, sounds / hours, low / hours, high / hours)
