"""A round's sensors: which ones, what they play, and the children that play them.

Two children, so that one can be killed while the other goes on.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from threading import Lock

from infra.local.process import GuardedProcess
from tests.chaos.fleet import ENDED_WELL, FLUSH_S, Part, Score, Stored, read_journal
from tests.integration.harness import DEADLINE_S, wait_until

SENSORS, GROUPS = 20, 2
USUAL_HZ, ODD_HZ = 16_000, 48_000
FRAMES_MS = 20, 40
PHASES_OVER_S = 1.0


def parts(number: int, draw: Random, pools: Mapping[int, Path]) -> list[Part]:
    """Return what a round's sensors play: names that no other round has, one of them of another rate."""
    odd, frame_ms = draw.randrange(SENSORS), draw.choice(FRAMES_MS)
    return [
        Part(
            sensor=f"r{number:04d}-s{i:02d}",
            pool=str(pools[ODD_HZ if i == odd else USUAL_HZ]),
            frame_ms=frame_ms,
            phase_s=round(draw.uniform(0, PHASES_OVER_S), 4),
        )
        for i in range(SENSORS)
    ]


@dataclass(slots=True)
class Child:
    """The process that plays a group, started again after a kill."""

    score: Score
    directory: Path
    name: str
    starts: int = 0
    process: GuardedProcess = field(init=False)

    def start(self) -> None:
        """Start it, with sound of its own for each start."""
        self.starts += 1
        score = replace(self.score, seed=self.score.seed + self.starts)
        file = score.write(self.directory / f"{self.name}.json")
        command = [sys.executable, "-m", "tests.chaos.fleet", str(file)]
        self.process = GuardedProcess(command, self.log_file, {})

    @property
    def log_file(self) -> Path:
        """What it printed."""
        return self.directory / f"{self.name}.log"

    @property
    def stored(self) -> list[Stored]:
        """What it was told is stored."""
        return read_journal(Path(self.score.journal))


class Sensors:
    """Plays a round's sensors until told to stop."""

    def __init__(self, servers: str, topic: str, directory: Path, played: list[Part], seed: int) -> None:
        self.parts = played
        self._lock = Lock()
        self._children = [
            Child(
                Score(servers, topic, str(directory / f"group-{i}.journal"), seed, tuple(played[i::GROUPS])),
                directory,
                f"group-{i}",
            )
            for i in range(GROUPS)
        ]

    @property
    def groups(self) -> int:
        """How many children there are."""
        return len(self._children)

    @property
    def stored(self) -> list[Stored]:
        """What was told to be stored."""
        return [frame for child in self._children for frame in child.stored]

    def start(self) -> None:
        """Start them, and wait until each has stored something."""
        for child in self._children:
            child.start()
        for child in self._children:
            wait_until(lambda child=child: _begun(child), f"sound of {child.name}")  # type: ignore[misc]

    def kill(self, group: int) -> int | None:
        """End a child as a crash would, and start it again; return the exit status of the one that ended."""
        child = self._children[group]
        with self._lock:
            child.process.kill()
            status = child.process.exit_status
            child.start()
        return status

    def journal_bytes(self, group: int) -> int:
        """Return how much a group has written about what is stored."""
        return Path(self._children[group].score.journal).stat().st_size

    def stop(self) -> list[str]:
        """Have them end, after everything is delivered; return what went wrong."""
        with self._lock:
            for child in self._children:
                os.kill(child.process.pid, signal.SIGTERM)
        return [wrong for child in self._children if (wrong := _end(child))]

    def close(self) -> None:
        """End them at once, if they still run."""
        for child in self._children:
            if hasattr(child, "process"):
                child.process.kill()


def _begun(child: Child) -> bool:
    status = child.process.exit_status
    assert status is None, f"a fleet ended with {status}: {child.log_file.read_text('utf-8')[-2000:]}"
    journal = Path(child.score.journal)
    return journal.exists() and journal.stat().st_size > 0


def _end(child: Child) -> str | None:
    since_s = time.monotonic()
    if not child.process.wait(FLUSH_S + DEADLINE_S):
        child.process.kill()
        return f"{child.name} did not end within {time.monotonic() - since_s:.0f} s"
    status = child.process.exit_status
    return None if status == ENDED_WELL else f"{child.name} ended with {status}"
