"""Contenders -> figures that can be compared: they take turns, and every figure comes with its repeats.

A machine that grows busier in the meantime slows all of them, so contenders alternate, each turn begins with
another one, and what is compared is the ratio within a turn.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

T = TypeVar("T")

TURNS = int(os.environ.get("BENCH_TURNS", "5"))
QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Repeats:
    """One figure, once a turn."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return float(np.median(self.values))

    @property
    def low(self) -> float:
        """The least."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The most."""
        return max(self.values)

    @property
    def spread(self) -> float:
        """How far they lie apart: (max - min) / median."""
        return (self.high - self.low) / self.median

    def per(self, other: "Repeats") -> "Repeats":
        """Return the ratio to another figure, turn by turn."""
        return Repeats(tuple(np.divide(self.values, other.values).tolist()))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Percentiles of many values, and how many they were."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: ArrayLike) -> "Distribution":
        """Sum up values, of which there is at least one."""
        return cls(np.size(values), *np.quantile(np.asarray(values, float), QUANTILES).tolist())


def alternate(contenders: Mapping[str, Callable[[], T]], turns: int = TURNS) -> dict[str, list[T]]:
    """Run every contender once a turn, each turn in another order; return what each run returned."""
    names, found = list(contenders), dict[str, list[T]]()
    for turn in range(turns):
        for name in _order(names, turn):
            result = contenders[name]()
            found.setdefault(name, []).append(result)
            print(f"turn {turn + 1} of {turns}: {name} done", flush=True)
    return {name: found[name] for name in names if name in found}


def _order(names: Sequence[str], turn: int) -> list[str]:
    """Rotate by one a turn, and every other turn go backwards: nobody always follows the same one."""
    first = turn % len(names)
    order = [*names[first:], *names[:first]]
    return order[::-1] if turn % 2 else order
