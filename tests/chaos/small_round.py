"""A small round for the judge's own test: one log with everything in it, a worker replaced, a fresh group.

steady, studio    12 s at 16 kHz, 8 s at 48 kHz           late      a frame that is sent twice
gappy             a short gap, a longer one, a jump       changing  a newer epoch, an older one, a new rate
pausing           on after a pause, in the same epoch     (others)  bytes that are no frame
stereo            floats, two channels
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from confluent_kafka import KafkaError, Message, Producer
from numpy.typing import NDArray

from producers.sources.scene import Scene, SceneSettings
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.frame import AudioFrame, Encoding
from schemas.identity import epoch_text, new_epoch
from schemas.sensor import Presence, SensorState
from tests.chaos.evidence import ROLES, Broken, Commit, Evidence, Offsets, Round, Rules, Stored
from tests.chaos.judge.topic import read_topics
from tests.integration.harness import CODEC, Programs, Tenant, timelines, unended, wait_until

PARTITIONS = 2
RATE_HZ, STUDIO_HZ = 16_000, 48_000
IDLE_S, MARGIN_S = 1.0, 0.5
NOW_US = 1_790_000_000_000_000
RULES = Rules(idle_s=IDLE_S, margin_s=MARGIN_S)
SETTINGS: dict[str, object] = {"detect__idle_s": IDLE_S, "detect__margin_s": MARGIN_S}
AT_ONCE: dict[str, int] = {"linger.ms": 1000, "batch.size": 1_000_000}
"""What is appended together bears nearly one time, however busy the machine is."""
TURN_TENTHS = 13
WITHIN_S = 150.0
TENTH = 10
"""Frames are a tenth of a second long."""

Pcm = NDArray[np.int16]
Since = Mapping[str, Offsets]
SAID = ("detections", "coverage", "dead_letters")


@dataclass(slots=True)
class Log:
    """Appends to a tenant's frames topic, and notes what was acknowledged and what was committed."""

    tenant: Tenant
    stored: list[Stored] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    ends: dict[tuple[str, str], int] = field(default_factory=dict)
    _producer: Producer = field(init=False)

    def __post_init__(self) -> None:
        self._producer = Producer({**self.tenant.client, "enable.idempotence": True, **AT_ONCE})

    def frame(self, sensor: str, frame: AudioFrame) -> None:
        """Append a frame."""

        def note(place: tuple[int, int]) -> None:
            sent = sensor, frame.epoch.hex(), frame.first_sample, frame.samples
            self.stored.append(Stored(*sent, *place))

        self._append(sensor, sensor.encode(), CODEC.encode(frame), note)

    def frames(self, sensor: str, frames: Iterator[AudioFrame]) -> None:
        """Append frames that all count."""
        for frame in frames:
            self.frame(sensor, frame)
            self.ends[sensor, epoch_text(frame.epoch)] = frame.end_sample

    def garbage(self, beside: str, key: bytes | None, value: bytes | None) -> None:
        """Append what is no frame, to the partition of a sensor."""
        self._append(beside, key, value, lambda place: self.broken.append(Broken(*place, key, value)))

    def flush(self) -> None:
        """Wait until all is acknowledged."""
        assert self._producer.flush(60) == 0

    def look(self) -> int:
        """Note what is committed; return how often something was."""
        committed = self.tenant.committed(self.tenant.name)
        at_ms = time.time_ns() // 1_000_000
        self.commits += [Commit(at_ms, number, offset) for number, offset in committed.items() if offset >= 0]
        return len(self.commits)

    def is_said(self, since: Since) -> bool:
        """Say whether all sound has been accounted for since then, and no detection goes on."""
        self.look()
        topics = names(self.tenant)
        found = read_topics(self.tenant.servers, {topics[r]: since[r] for r in (*SAID, "sensors")})
        last = {r.key: CODEC.decode(SensorState, r.value or b"") for r in found[topics["sensors"]].records}
        if any(state.state is not Presence.SILENT for state in last.values()):
            return False
        heard, covered, letters = ([r.value for r in found[topics[role]].records] for role in SAID)
        said = timelines(CODEC.decode(Coverage, value) for value in covered)
        if any(said.get(of, [(0, 0)])[-1][1] < end for of, end in self.ends.items()):
            return False
        return not unended(CODEC.decode(Detection, v) for v in heard) and len(letters) >= len(self.broken)

    def _append(
        self, beside: str, key: bytes | None, value: bytes | None, note: Callable[[tuple[int, int]], None]
    ) -> None:
        def noted(error: KafkaError | None, message: Message) -> None:
            assert error is None
            note((message.partition() or 0, message.offset() or 0))

        partition, topic = len(beside) % PARTITIONS, self.tenant.topics.frames
        self._producer.produce(topic, value, key, partition=partition, on_delivery=noted)


def sound(rate_hz: int = RATE_HZ) -> Pcm:
    """Return a scene with sirens, loud and quiet by turns: the quick model hears much in it."""
    scene = np.concatenate(list(Scene(SceneSettings(sample_rate_hz=rate_hz)).blocks()))[:, 0].astype(float)
    turn = np.arange(len(scene)) * 10 // (TURN_TENTHS * rate_hz) % 2
    loud: Pcm = (scene * np.where(turn, 600, 12_000) / np.abs(scene).max()).astype(np.int16)
    return loud


def frames(
    epoch: bytes, pcm: Pcm, start_s: float, end_s: float, rate_hz: int = RATE_HZ
) -> Iterator[AudioFrame]:
    """Cut a part of a sound into frames of a tenth of a second."""
    step = rate_hz // TENTH
    for first in range(round(start_s * rate_hz), round(end_s * rate_hz), step):
        captured_us = NOW_US + (first + step) * 1_000_000 // rate_hz + first % 7
        data = pcm[first : first + step].astype("<i2").tobytes()
        yield AudioFrame(epoch, first, step, captured_us, rate_hz, 1, Encoding.PCM_S16LE, data)


def play(tenant: Tenant, programs: Programs, model: Path) -> Evidence:
    """Fill a log, let two workers follow each other on it, have a fresh group read it again."""
    log, begin = Log(tenant), _ends(tenant)
    scene, pausing = sound(), new_epoch()
    first = programs.work(tenant, model, **SETTINGS)
    first.ready()
    _append_all(log, scene, pausing)
    wait_until(lambda: log.look() > 0, "something is committed")
    first.terminate()
    programs.work(tenant, model, **SETTINGS)
    log.frames("pausing", frames(pausing, scene, 5.0, 9.0))
    log.flush()
    wait_until(lambda: log.is_said(begin), "all is said", WITHIN_S)
    fresh = _ends(tenant)
    group = f"{tenant.name}-fresh"
    programs.work(tenant, model, **SETTINGS, worker__group=group).ready()
    wait_until(lambda: log.is_said(fresh), "a fresh group has said it again", WITHIN_S)
    programs.close()
    where = Round(
        servers=tenant.servers,
        group=tenant.name,
        tenant=tenant.name,
        topics=names(tenant),
        begin=begin,
        frames_end=fresh["frames"],
        model=str(model),
        fresh={role: fresh[role] for role in (*SAID, "sensors")},
        rules=RULES,
    )
    return Evidence(where, tuple(log.stored), tuple(log.broken), tuple(log.commits))


def names(tenant: Tenant) -> dict[str, str]:
    """Return the names of a tenant's topics by role."""
    return {role: getattr(tenant.topics, role) for role in ROLES}


def _ends(tenant: Tenant) -> Since:
    return {role: tenant.ends(topic) for role, topic in names(tenant).items()}


def _append_all(log: Log, scene: Pcm, pausing: bytes) -> None:
    gappy, late, older, newer = (new_epoch() for _ in range(4))
    studio = sound(STUDIO_HZ)
    log.frames("steady", frames(new_epoch(), scene, 0, 12))
    log.frames("studio", frames(new_epoch(), studio, 0, 8, STUDIO_HZ))
    log.frames("stereo", map(_in_stereo, frames(new_epoch(), scene, 2, 6)))
    for start_s, end_s in ((0, 4), (4.1, 6), (8, 9.5), (22, 26)):
        log.frames("gappy", frames(gappy, scene, start_s, end_s))
    log.frames("late", frames(late, scene, 3.1, 6.2))
    log.frame("late", next(frames(late, scene, 4.1, 5)))
    log.frames("pausing", frames(pausing, scene, 0, 3))
    log.frames("changing", frames(older, scene, 0, 2))
    log.frames("changing", frames(newer, scene, 1, 4))
    log.frame("changing", next(frames(older, scene, 2, 3)))
    log.frame("changing", replace(next(frames(newer, scene, 4, 5)), sample_rate_hz=8000))
    good = CODEC.encode(next(frames(new_epoch(), scene, 0, 1)))
    for key, value in ((b"steady", good[:-1]), (b"late", None), (None, good), (b"gappy", b"\xc3\x01")):
        log.garbage("steady", key, value)
    log.garbage("late", b"steady", b"\x00\x00\x00\x00\x07garbage")
    log.flush()


def _in_stereo(frame: AudioFrame) -> AudioFrame:
    left = np.frombuffer(frame.data, "<i2").astype("<f4") / 32_768
    both = np.stack([left, left * np.float32(0.7)], axis=1).astype("<f4")
    return replace(frame, channels=2, encoding=Encoding.PCM_F32LE, data=both.tobytes())
