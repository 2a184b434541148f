"""What a fault plays on: the system, the sensors of the round, seeded chance, and a book of what was done."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Event

from tests.chaos.evidence import Broken
from tests.chaos.sensors import Sensors
from tests.chaos.system import System

SIGN_S, LOOK_S = 30.0, 0.1


@dataclass(frozen=True, slots=True)
class Size:
    """How long things last: `load_s` of sound, all brokers away for `away_s`, one thing ill for `ill_s`."""

    name: str = "full"
    calm_s: float = 4.0
    """Nothing happens before: what latency is without a fault."""
    load_s: float = 14.0
    away_s: float = 30.0
    ill_s: float = 5.0
    after_s: float = 2.0
    """Sound goes on for so long after the last fault is undone."""


FULL, SMALL = Size(), Size("small", calm_s=2.5, load_s=8.0, away_s=6.0, ill_s=3.0)
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
    wrong: list[str] = field(default_factory=list)
    """Faults of which there is no sign, and what did not come back."""
    begin_s: float = field(default_factory=time.monotonic)

    def note(self, what: str) -> None:
        """Write down what is done now."""
        self.did.append((round(time.monotonic() - self.begin_s, 2), what))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        Event().wait(max(0.0, seconds))

    def expect(self, found: Callable[[], bool], what: str, within_s: float = SIGN_S) -> None:
        """Wait for the sign that a fault bit, or that something is back; it is wrong where none comes."""
        deadline_s = time.monotonic() + within_s
        while not found():
            if time.monotonic() > deadline_s:
                self.wrong.append(f"no sign within {within_s:g} s: {what}")
                return
            self.wait(LOOK_S)

    def worker(self) -> str:
        """Draw one of the workers that ask the Tritons."""
        return self.draw.choice([name for name in self.system.workers.names if name != "far"])

    def partition(self) -> int:
        """Draw a partition."""
        return self.draw.randrange(len(self.system.partitions))


Act = Callable[[Stage], None]
"""A fault: does it, waits as long as it is to last, undoes it."""
