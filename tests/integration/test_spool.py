"""Producers and their broker killed in turn: every sample that was captured is in the log once, and in order.

The truth is the recording that was played, read with another library: the epochs of one process, one after
another, are the recording again and again from its beginning, without a sample missing or twice. What a
process had committed when it was killed is read from the file of its spool, with SQLite alone.

`EARWITNESS_SPOOL_KILLS=20` makes the run as long as one likes.
"""

import json
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from uuid import UUID

import numpy as np
import pytest
import soundfile

from infra.local.kafka import KafkaNode, start_kafka
from producers.spool import what_waits
from schemas.frame import AudioFrame
from tests.conftest import SHARED_DATA
from tests.integration.harness import CODEC, Program, Programs, Tenant, wait_until

KILLS = int(os.environ.get("EARWITNESS_SPOOL_KILLS", "2"))
SENSORS = {"roof": 120_000, "hall": 2_000}
"""With how long their clients try to deliver a frame, in ms."""
RATE_HZ, SOUND_S, SEED = 16_000, 5, 7
DRAIN_WITHIN_S = 120.0
DRAIN_RATE = 8 if KILLS > 2 else 20
LOST_AT_MOST_S, LOST_MOSTLY_S = 3.0, 1.0
"""Between the last sample that outlived a kill -9 and the kill, at worst and in the median: 0.1 s are set, a
busy disk takes more."""
pytestmark = pytest.mark.timeout(300 + 40 * KILLS)

Key = tuple[str, bytes, int]


@dataclass(frozen=True, slots=True)
class Life:
    """One process of a sensor: when it began, and was killed, and what its spool held then."""

    since_ms: int
    killed_us: int | None = None
    spooled: frozenset[Key] = frozenset()


@dataclass(slots=True)
class Producer:
    """A sensor whose process is killed and started again."""

    sensor: str
    tenant: Tenant
    programs: Programs
    folder: Path
    spool: Path
    delivery_timeout_ms: int
    """Too short for an outage, what the client gives up is in the log or not, and must end there once."""
    lives: list[Life] = field(default_factory=list)
    program: Program | None = None

    def start(self) -> None:
        """Begin another life."""
        settings = {
            "kafka.bootstrap_servers": self.tenant.servers,
            "topics.tenants": f'["{self.tenant.name}"]',
            "spool.directory": self.spool,
            "spool.drain_rate": DRAIN_RATE,
            "spool.after_s": 1,
            "publisher.delivery_timeout_ms": self.delivery_timeout_ms,
        }
        self.lives.append(Life(time.time_ns() // 1_000_000))
        arguments = ["capture", str(self.folder), "--sensor", self.sensor, "--repeat"]
        self.program = self.programs.run(arguments, settings)
        self.program.said("the spool is")

    def kill(self) -> None:
        """End its life as a crash would, and look at what its spool holds."""
        assert self.program is not None
        assert self.program.process.exit_status is None, self.program.log
        self.program.process.kill()
        killed_us = time.time_ns() // 1000
        self.lives[-1] = Life(self.lives[-1].since_ms, killed_us, frozenset(self._spooled()))

    def drained(self) -> bool:
        """Whether nothing waits."""
        return not what_waits(self.spool)

    def _spooled(self) -> Iterator[Key]:
        file = self.spool / "spool.db"
        if file.exists():
            db = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
            yield from db.execute("SELECT sensor, epoch, first_sample FROM frames")
            db.close()


@dataclass(frozen=True, slots=True)
class Found:
    """A frame as it stands in the log."""

    topic: str
    partition: int
    offset: int
    sensor: str
    frame: AudioFrame


def found_in(tenant: Tenant) -> list[Found]:
    """Read both topics, each partition in the order of its offsets."""
    topics = tenant.topics.frames, tenant.topics.backfill
    return [
        Found(topic, r.partition, r.offset, (r.key or b"").decode(), CODEC.decode(AudioFrame, r.value))
        for topic in topics
        for r in tenant.read(topic)
    ]


def recording(folder: Path) -> np.ndarray:
    """Read a folder's files, one after another, with a library that captures do not use for it."""
    parts = [soundfile.read(file, dtype="int16", always_2d=True)[0] for file in sorted(folder.iterdir())]
    return np.concatenate(parts)


def write_sounds(folder: Path, number: int) -> Path:
    """Lay out what a sensor hears: recordings of the real world, or noise where there are none."""
    folder.mkdir()
    kinds = SHARED_DATA / "esc10"
    files = sorted(kinds.glob("*/*.*"))[number::40][:4] if KILLS > 2 and kinds.is_dir() else []
    for n, file in enumerate(files):  # Vorbis is decoded once: two decoders may round differently
        sound, rate_hz = soundfile.read(file, dtype="int16", always_2d=True)
        soundfile.write(folder / f"{n}.wav", sound, rate_hz, subtype="PCM_16")
    if not files:
        noise = np.random.default_rng(SEED + number).integers(-20_000, 20_000, SOUND_S * RATE_HZ)
        soundfile.write(folder / "noise.wav", noise.astype(np.int16), RATE_HZ, subtype="PCM_16")
    return folder


@pytest.fixture
def node() -> Iterator[KafkaNode]:
    """A broker of this test's own, to be killed."""
    with start_kafka() as server:
        yield server


def test_what_was_captured_is_in_the_log_once_whoever_is_killed(
    node: KafkaNode, programs: Programs, tmp_path: Path
) -> None:
    tenant = Tenant(node.bootstrap_servers, "spool").create(partitions=4)
    producers = [
        Producer(
            s, tenant, programs, write_sounds(tmp_path / f"of-{s}", n), tmp_path / f"spool-{s}", timeout_ms
        )
        for n, (s, timeout_ms) in enumerate(SENSORS.items())
    ]
    for producer in producers:
        producer.start()
    _kill_in_turn(producers, node)
    for producer in producers:
        wait_until(producer.drained, f"{producer.sensor} has drained", DRAIN_WITHIN_S)
        assert producer.program is not None
        producer.program.terminate()
        assert producer.program.process.exit_status == 0, producer.program.log
        assert producer.drained()
    frames = found_in(tenant)
    lost_s = [s for p in producers for s in judge(p, [f for f in frames if f.sensor == p.sensor])]
    assert np.median(lost_s) <= LOST_MOSTLY_S, "the disk lags behind at most kills"
    assert any(f.topic == tenant.topics.backfill for f in frames)
    print(
        json.dumps({**figures(producers, frames), "lost at a kill, s": sorted(round(s, 3) for s in lost_s)})
    )


def _kill_in_turn(producers: list[Producer], node: KafkaNode) -> None:
    chance, never = random.Random(SEED), Event()  # noqa: S311 - a plan, no secret
    calm_s = 3.0 if KILLS > 2 else 0.5
    for number in range(KILLS):
        producer = producers[number // 2 % len(producers)]
        if number % 2:
            node.kill()
            never.wait(chance.uniform(1.5, 5.0))
            if chance.random() < 0.5 or KILLS < 6:  # and, with nobody to deliver to, a producer
                producer.kill()
                never.wait(chance.uniform(0.0, 1.0))
                producer.start()
                never.wait(chance.uniform(2.0, 5.0))
            node.start()
        else:
            never.wait(chance.uniform(2.0, 4.0))
            producer.kill()
            never.wait(chance.uniform(0.0, 1.5))
            producer.start()
        never.wait(chance.uniform(0.0, calm_s))


def judge(producer: Producer, frames: list[Found]) -> list[float]:
    """Hold the log against the recording and the spools of the killed; return what each kill lost, in s."""
    keys = [(f.sensor, f.frame.epoch, f.frame.first_sample) for f in frames]
    assert len(keys) == len(set(keys)), "a frame is there twice"
    last: dict[tuple[str, bytes], int] = {}
    for f in frames:
        assert last.get((f.topic, f.frame.epoch), 0) <= f.frame.first_sample, "not in order"
        last[f.topic, f.frame.epoch] = f.frame.end_sample
    sound, lost_s = recording(producer.folder), []
    for life, until_ms in zip(
        producer.lives, [*(life.since_ms for life in producer.lives[1:]), 1 << 60], strict=True
    ):
        assert life.spooled <= set(keys), "what was in the spool at the kill is not in the log"
        ours = [f.frame for f in frames if life.since_ms <= _named_ms(f.frame.epoch) < until_ms]
        heard = _joined(ours)
        whole = np.tile(sound, (1 + len(heard) // len(sound), 1))[: len(heard)]
        assert np.array_equal(heard, whole), "not the recording"
        if life.killed_us is not None and ours:
            lost_s.append((life.killed_us - max(frame.captured_at_us for frame in ours)) / 1e6)
    assert all(lost < LOST_AT_MOST_S for lost in lost_s), "more was lost than was on its way to the disk"
    return lost_s


def _named_ms(epoch: bytes) -> int:
    return UUID(bytes=epoch).int >> 80


def _joined(frames: list[AudioFrame]) -> np.ndarray:
    """Put the samples of one process together, epoch after epoch, each from its first sample on, no gap."""
    parts, epoch, expected = [np.empty((0, 1), np.int16)], b"", 0
    for frame in sorted(frames, key=lambda frame: (frame.epoch, frame.first_sample)):
        if frame.epoch != epoch:
            epoch, expected = frame.epoch, 0
        assert frame.first_sample == expected, "samples are missing"
        expected = frame.end_sample
        parts.append(np.frombuffer(frame.data, "<i2").reshape(-1, frame.channels))
    return np.concatenate(parts)


def figures(producers: list[Producer], frames: list[Found]) -> dict[str, object]:
    """Sum up a run."""
    live = {f.frame.epoch for f in frames if not f.topic.endswith("backfill")}
    past = {f.frame.epoch for f in frames if f.topic.endswith("backfill")}
    samples = sum(f.frame.samples for f in frames)
    backfill = sum(f.frame.samples for f in frames if f.topic.endswith("backfill"))
    lives = [life for producer in producers for life in producer.lives]
    return {
        "kills": KILLS,
        "producers killed": sum(life.killed_us is not None for life in lives),
        "epochs": len(live | past),
        "of them in both topics": len(live & past),
        "samples live": samples - backfill,
        "samples in the backfill": backfill,
        "frames in a spool at a kill": sum(len(life.spooled) for life in lives),
    }
