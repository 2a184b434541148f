"""Coverage -> one outcome for every moment of a sensor's time.

coverage   ├─SCORED──┤├GAP┤├SCORED─┤     ├─SCORED─┤     records overlap where somebody repeated them
spans      ├─SCORED──┤├GAP┤├SCORED─┤NOT_HEARD├────┤     one outcome for every moment: SCORED first
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from schemas.coverage import Coverage, Outcome

NOT_HEARD = "NOT_HEARD"
"""Nobody has said anything about it: no sound arrived, or no worker has read it."""
PREFERENCE = tuple(outcome.value for outcome in Outcome)
"""What holds where statements about the same sound differ: the first of these."""
SEVERITY = (
    NOT_HEARD,
    Outcome.EXPIRED.value,
    Outcome.FAILED.value,
    Outcome.SHED.value,
    Outcome.GAP.value,
    Outcome.SHORT.value,
    Outcome.SCORED.value,
)
"""What a column shows of several outcomes in it: the first of these. No deafness is too short to be seen."""
SEAM_US = 10_000
"""Less time between two sounds is rounding: their samples touch."""


@dataclass(frozen=True, slots=True)
class Span:
    """One outcome for `[start_us, end_us)`."""

    start_us: int
    end_us: int
    outcome: str

    @property
    def length_us(self) -> int:
        """How long it took."""
        return self.end_us - self.start_us


def spans(said: Iterable[tuple[int, int, str]], begin_us: int, end_us: int) -> list[Span]:
    """Return one outcome for every moment of `[begin_us, end_us)`: the union of statements, SCORED first."""
    changes = sorted(
        change for start, end, outcome in said for change in ((start, 1, outcome), (end, -1, outcome))
    )
    active: Counter[str] = Counter()
    found: list[Span] = []
    at = begin_us
    for time_us, step, outcome in [*changes, (end_us, 0, "")]:
        time_us = min(max(time_us, begin_us), end_us)
        if time_us > at:
            _extend(found, at, time_us, next((o for o in PREFERENCE if active[o] > 0), NOT_HEARD))
            at = time_us
        active[outcome] += step
    return found


def _extend(found: list[Span], start_us: int, end_us: int, outcome: str) -> None:
    """Add a span, joined with the one before it where that says the same; seams take its outcome."""
    if found and outcome == NOT_HEARD and end_us - start_us < SEAM_US:
        outcome = found[-1].outcome
    if found and found[-1].outcome == outcome:
        found[-1] = Span(found[-1].start_us, end_us, outcome)
    else:
        found.append(Span(start_us, end_us, outcome))


def once(said: Iterable[Coverage]) -> list[Coverage]:
    """Return statements in order of time, without those about sound that another one has told of."""
    found: list[Coverage] = []
    for c in sorted(said, key=lambda c: (c.start_us or 0, -(c.end_us or 0))):
        if not found or (c.end_us or 0) > (found[-1].end_us or 0):
            found.append(c)
    return found


def expired_holes(said: Sequence[Coverage], expired: Sequence[Coverage]) -> list[tuple[int, int, str]]:
    """Return the times between two statements whose frames lie on both sides of offsets that expired."""
    holes = []
    for before, after in pairwise(sorted(said, key=lambda c: (c.partition, c.first_offset))):
        lost = (e for e in expired if (e.topic, e.partition) == (after.topic, after.partition))
        if before.partition == after.partition and any(
            e.first_offset > before.last_offset and e.last_offset < after.first_offset for e in lost
        ):
            holes.append((before.end_us or 0, after.start_us or 0, Outcome.EXPIRED.value))
    return [hole for hole in holes if hole[0] < hole[1]]
