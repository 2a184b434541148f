"""A plan -> sound, and the faults in the midst of it when they are due.

sensors start ── calm_s ── fault ─┬─ ... undone ── after_s ─┬─ sensors end, all is delivered
                                  └───────── load_s ────────┘
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from threading import Event, Thread

from tests.chaos.evidence import Broken
from tests.chaos.faults import KINDS
from tests.chaos.fleet import Part, Stored
from tests.chaos.plan import PAUSES_S, Plan, Planned
from tests.chaos.sensors import Sensors, parts
from tests.chaos.stage import Size, Stage
from tests.chaos.system import System

ACT_S = 180.0


@dataclass(slots=True)
class Load:
    """The sound of one round; afterwards it says what was done, and what was stored."""

    system: System
    plan: Plan
    size: Size
    directory: Path
    begin_ms: int = 0
    wrong: list[str] = field(default_factory=list)
    """Faults that could not be done or undone, sensors that did not end well."""
    _sensors: Sensors = field(init=False)
    _stages: list[Stage] = field(init=False)

    def __post_init__(self) -> None:
        topic = self.system.topics.frames
        sound = Random(f"{self.plan.seed}/sound").randrange(1 << 31)  # noqa: S311
        self._sensors = Sensors(self.system.servers, topic, self.directory, self._parts(), sound)
        self._stages = [
            Stage(self.system, self._sensors, self.size, Random(fault.seed))  # noqa: S311
            for fault in self.plan.faults
        ]

    @property
    def did(self) -> tuple[str, ...]:
        """What was done, with seconds since the sound began."""
        did = sorted(done for stage in self._stages for done in stage.did)
        return tuple(f"{at_s:.1f} s: {what}" for at_s, what in did)

    @property
    def broken(self) -> tuple[Broken, ...]:
        """The broken records that are in the log."""
        return tuple(record for stage in self._stages for record in stage.broken)

    @property
    def stored(self) -> list[Stored]:
        """The frames that producers were told are stored."""
        return self._sensors.stored

    @property
    def fault_ms(self) -> int:
        """When the first fault was due, since 1970."""
        first_s = min(fault.at_s for fault in self.plan.faults)
        return self.begin_ms + round(1000 * (self.size.calm_s + first_s))

    def play(self) -> None:
        """Play it to its end."""
        for stage, fault in self._cast():
            if before := KINDS[fault.kind].before:
                before(stage)
                stage.did.clear()
        self._sensors.start()
        self.begin_ms, begin_s = time.time_ns() // 1_000_000, time.monotonic()
        self._play_faults(begin_s)
        self.wrong += [wrong for stage in self._stages for wrong in stage.wrong]
        Event().wait(max(self.size.after_s, begin_s + self.size.load_s - time.monotonic()))
        self.wrong += self._sensors.stop()

    def close(self) -> None:
        """End the sensors at once, where they still play."""
        self._sensors.close()

    def _play_faults(self, begin_s: float) -> None:
        acts = [Thread(target=self._act, args=(*one, begin_s), daemon=True) for one in self._cast()]
        for act in acts:
            act.start()
        for act, fault in zip(acts, self.plan.faults, strict=True):
            act.join(ACT_S)
            if act.is_alive():
                self.wrong.append(f"{fault.kind} is not over after {ACT_S:g} s")

    def _cast(self) -> Iterator[tuple[Stage, Planned]]:
        return zip(self._stages, self.plan.faults, strict=True)

    def _act(self, stage: Stage, fault: Planned, begin_s: float) -> None:
        stage.begin_s = begin_s
        stage.wait(begin_s + self.size.calm_s + fault.at_s - time.monotonic())
        try:
            KINDS[fault.kind].act(stage)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the round says so and goes on to its end
            self.wrong.append(f"{fault.kind} failed: {exc!r}")

    def _parts(self) -> list[Part]:
        draw = Random(self.plan.seed)  # noqa: S311 - a plan, not a secret
        played = parts(self.plan.number, draw, self.system.pools)
        if not any(KINDS[fault.kind].pauses for fault in self.plan.faults):
            return played
        return [*_with_pauses(played, self.size.calm_s, draw)]


def _with_pauses(played: Sequence[Part], at_s: float, draw: Random) -> Iterator[Part]:
    """Have three of four sensors pause: short, longer and longest in turn."""
    for i, part in enumerate(played):
        length_s = PAUSES_S[i % len(PAUSES_S)]
        pause = (round(at_s + draw.uniform(0, 1), 2), round(draw.uniform(*length_s), 2))
        yield part if i % 4 == 0 else replace(part, pauses=(pause,))
