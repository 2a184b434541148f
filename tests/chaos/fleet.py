"""A score -> the frames of a group of sensors, paced in real time, and a journal of those that are stored.

    python -m tests.chaos.fleet SCORE.json

Every frame that the broker acknowledged becomes a line of the journal at once, so what was told to the
sensors survives kill -9 of this process. Who starts it again gets new epochs and goes on in the same journal.
A sensor that pauses counts on, and returns in the same epoch in the middle of its sound.
Ends on SIGTERM, after everything is delivered.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from infra.local.kafka import QUIET_CLIENT
from producers.clips import Clip, ClipPool, Playlist
from producers.publisher import FramePublisher
from schemas.codec import Codec
from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch

FLUSH_S = 90.0
ENDED_WELL, UNDELIVERED = 0, 3
"""How a child ends."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one sensor plays: a pool of clips at its rate; `pauses` are (at_s, for_s) since its start."""

    sensor: str
    pool: str
    frame_ms: int
    phase_s: float
    pauses: tuple[tuple[float, float], ...] = ()

    def silent_at(self, at_s: float) -> bool:
        """Say whether it sends nothing at a time since its start."""
        return any(begin_s <= at_s < begin_s + for_s for begin_s, for_s in self.pauses)


@dataclass(frozen=True, slots=True)
class Score:
    """What a group of sensors plays, where to, and where it is written down."""

    servers: str
    topic: str
    journal: str
    seed: int
    parts: tuple[Part, ...]

    def write(self, file: Path) -> Path:
        """Write it as JSON."""
        file.write_text(json.dumps(asdict(self)), "utf-8")
        return file

    @classmethod
    def read(cls, file: Path) -> "Score":
        """Read it back."""
        found = json.loads(file.read_text("utf-8"))
        parts = tuple(
            Part(**{**part, "pauses": tuple(map(tuple, part["pauses"]))}) for part in found["parts"]
        )
        return cls(**{**found, "parts": parts})


@dataclass(frozen=True, slots=True)
class Stored:
    """A frame that the broker acknowledged."""

    sensor: str
    epoch: str
    first_sample: int
    samples: int
    offset: int


def read_journal(file: Path) -> list[Stored]:
    """Read what a group was told is stored; a line that was being written at a kill counts for nothing."""
    text = file.read_text("utf-8") if file.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    return [Stored(*json.loads(line)) for line in whole.splitlines()]


def write_pool(pool: ClipPool, file: Path) -> Path:
    """Keep decoded clips for the children: to decode them again would take each of them seconds."""
    sounds: dict[str, Any] = {clip.name: clip.samples for clip in pool.clips}
    np.savez(file, rate_hz=pool.sample_rate_hz, **sounds)
    return file


def read_pool(file: Path) -> ClipPool:
    """Read them back."""
    with np.load(file) as found:
        clips = [Clip(name, None, found[name]) for name in found.files if name != "rate_hz"]
        return ClipPool(clips, int(found["rate_hz"]))


class Group:
    """The sensors of one child."""

    def __init__(self, score: Score, pools: Mapping[str, ClipPool], stop: Event) -> None:
        self._score, self._stop = score, stop
        self._journal = os.open(score.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        client = {"bootstrap.servers": score.servers, **QUIET_CLIENT}
        self._publisher = FramePublisher(client, score.topic, Codec(), on_delivery=self._note)
        self._sensors = [_Sensor(part, pools[part.pool], self._seed(part)) for part in score.parts]

    def run(self) -> int:
        """Play until told to stop; return how many frames were taken and not delivered."""
        start_s = time.monotonic()
        wall_s = time.time() - start_s
        for due_s, sensor in _turns(self._sensors):
            if not self._wait_until(start_s + due_s):
                break
            frame = sensor.next_frame(round((wall_s + start_s + due_s) * 1e6))
            if not sensor.part.silent_at(due_s):
                self._publisher.publish_waiting(sensor.part.sensor, frame)
        return self._publisher.close(FLUSH_S)

    def _seed(self, part: Part) -> int:
        return random.Random(f"{self._score.seed}/{part.sensor}").randrange(1 << 31)  # noqa: S311

    def _wait_until(self, at_s: float) -> bool:
        while (left_s := at_s - time.monotonic()) > 0 and not self._stop.is_set():
            self._publisher.poll(min(left_s, 0.01))
        return not self._stop.is_set()

    def _note(self, sensor: str, frame: AudioFrame, offset: int | None, append_ms: int | None) -> None:
        if offset is not None:
            line = json.dumps([sensor, frame.epoch.hex(), frame.first_sample, frame.samples, offset])
            os.write(self._journal, f"{line}\n".encode())


class _Sensor:
    def __init__(self, part: Part, pool: ClipPool, seed: int) -> None:
        self.part, self._rate_hz, self._playlist = part, pool.sample_rate_hz, Playlist(pool, seed, 0)
        self._epoch, self._next_sample = new_epoch(), 0

    def next_frame(self, captured_at_us: int) -> AudioFrame:
        """Return what is heard next, sent or not."""
        samples = self._rate_hz * self.part.frame_ms // 1000
        first, self._next_sample = self._next_sample, self._next_sample + samples
        data = self._playlist.read(samples)
        return AudioFrame(
            self._epoch, first, samples, captured_at_us, self._rate_hz, 1, Encoding.PCM_S16LE, data
        )


def _turns(sensors: Sequence[_Sensor]) -> Iterator[tuple[float, _Sensor]]:
    """Give, without end, when a sensor's next frame is due since the start: all have one frame length."""
    turn_s = sensors[0].part.frame_ms / 1000
    in_order = sorted(sensors, key=lambda sensor: sensor.part.phase_s % turn_s)
    for turn in count(1):
        for sensor in in_order:
            phase_s = sensor.part.phase_s
            if turn * turn_s > phase_s:
                yield turn * turn_s + phase_s % turn_s, sensor


def _pools(parts: Iterable[Part]) -> dict[str, ClipPool]:
    return {file: read_pool(Path(file)) for file in {part.pool for part in parts}}


def main(score_file: str) -> int:
    """Play a score; return the exit status."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    score = Score.read(Path(score_file))
    undelivered = Group(score, _pools(score.parts), stop).run()
    return UNDELIVERED if undelivered else ENDED_WELL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
