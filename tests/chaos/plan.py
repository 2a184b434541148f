"""Seed and number -> what happens in a round: the same two always give the same plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.chaos.faults import KINDS, NOT_IN_STORMS, STORM

SPREAD_S, STORM_SPREAD_S = 2.0, 4.0
PAUSES_S = (1.5, 3.5), (5.5, 7.5), (10.5, 12.0)
"""Less than `idle_s`, more than it, more than `max_gap_s`."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault of a kind, `at_s` after the calm that a round begins with."""

    kind: str
    at_s: float
    seed: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A round: `seed` decides what the sensors play, and is what its kind was drawn from."""

    campaign: int
    number: int
    kind: str
    seed: str
    faults: tuple[Planned, ...]


def plan_of(campaign: int, number: int, kinds: Sequence[str], only: str | None = None) -> Plan:
    """Plan a round of a campaign, counted from 1: of `only` one kind, or else of each in its turn.

    `kinds` are those that can be played here.
    """
    cycle, place = divmod(number - 1, len(kinds))
    order = list(kinds)
    Random(f"{campaign}/cycle/{cycle}").shuffle(order)  # noqa: S311 - a plan, not a secret
    seed = f"{campaign}/{number}"
    draw = Random(seed)  # noqa: S311
    kind = only or order[place]
    members = _storm(draw, kinds) if kind == STORM else [kind]
    spread_s = STORM_SPREAD_S if kind == STORM else SPREAD_S
    faults = [
        Planned(member, round(draw.uniform(0, spread_s), 2), f"{seed}/{i}")
        for i, member in enumerate(members)
    ]
    return Plan(campaign, number, kind, seed, tuple(sorted(faults, key=lambda fault: fault.at_s)))


def _storm(draw: Random, kinds: Sequence[str]) -> list[str]:
    """Draw two or three kinds that lay hands on different parts."""
    able = [name for name in kinds if name in KINDS and name not in NOT_IN_STORMS]
    parts = sorted({KINDS[name].part for name in able})
    chosen = draw.sample(parts, min(len(parts), draw.choice((2, 3))))
    return [draw.choice([name for name in able if KINDS[name].part == part]) for part in chosen]
