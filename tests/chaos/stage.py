"""What a fault plays on: the system, the sensors of the round, seeded chance, and a book of what was done."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Event

from tests.chaos.evidence import Broken
from tests.chaos.sensors import Sensors
from tests.chaos.system import System


@dataclass(frozen=True, slots=True)
class Size:
    """How long things last: `load_s` of sound, all brokers away for `away_s`, one thing ill for `ill_s`."""

    calm_s: float = 4.0
    """Nothing happens before: what latency is without a fault."""
    load_s: float = 14.0
    away_s: float = 30.0
    ill_s: float = 5.0
    after_s: float = 2.0
    """Sound goes on for so long after the last fault is undone."""


FULL, SMALL = Size(), Size(calm_s=2.5, load_s=8.0, away_s=6.0, ill_s=3.0)
"""Of a campaign, and of one round of each kind among the other tests."""


@dataclass(slots=True)
class Stage:
    """One round, as faults see it."""

    system: System
    sensors: Sensors
    size: Size
    draw: Random
    did: list[tuple[float, str]] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    begin_s: float = field(default_factory=time.monotonic)

    def note(self, what: str) -> None:
        """Write down what is done now."""
        self.did.append((round(time.monotonic() - self.begin_s, 2), what))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        Event().wait(max(0.0, seconds))

    def worker(self) -> str:
        """Draw one of the workers that ask the Tritons."""
        return self.draw.choice([name for name in self.system.workers.names if name != "far"])

    def partition(self) -> int:
        """Draw a partition."""
        return self.draw.randrange(len(self.system.partitions))


Act = Callable[[Stage], None]
"""A fault: does it, waits as long as it is to last, undoes it."""
