"""Workers frozen past their session, and let go on: others have their partitions by then; nobody is confused.

    sound     ──────────────────────────────────────────────►
    zombie    reads ── frozen ───────── joins anew ─────────────── has all partitions ──►
    other     reads ─────── has all partitions ─┴─ gives back ── told to end, frozen ── ends

What the group has committed is sampled all the time by a consumer of the test's own.
"""

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.local.kafka import KafkaServer
from producers.clips import ClipPool
from producers.fleet import FleetReport, FleetSettings
from schemas.coverage import Coverage
from schemas.detection import DetectionState
from schemas.frame import AudioFrame
from tests.integration.harness import (
    CODEC,
    IDLE_AND_MARGIN_S,
    POLL_S,
    Playing,
    Programs,
    Tenant,
    Worker,
    play,
    timelines,
    unended,
    wait_until,
)
from tests.integration.undisturbed import Said, accounted_for, all_is_said, stored, undisturbed

PARTITIONS, SENSORS, SECONDS, SPEED, FRAME_MS = 4, 16, 64.0, 4.0, 60
FREEZE_AFTER_S, WITHIN_S = 16.0, 30.0
STOOD_STILL = r"stood still for (\d+\.\d) s"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a group had committed at a time, in milliseconds since 1970, or a little later."""

    at_ms: float
    committed: dict[int, int]


class Sampler:
    """Asks again and again what a group has committed, in a thread of its own."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant, self._stop = tenant, Event()
        self.samples: list[Sample] = []
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[Sample]:
        """Return all samples."""
        self._stop.set()
        self._thread.join()
        return self.samples

    def _run(self) -> None:
        consumer = Consumer({**self._tenant.client, "group.id": self._tenant.name})
        asked = [TopicPartition(self._tenant.topics.frames, number) for number in range(PARTITIONS)]
        while not self._stop.wait(POLL_S):
            found = {p.partition: p.offset for p in consumer.committed(asked, WITHIN_S) if p.offset >= 0}
            self.samples.append(Sample(time.time() * 1000, found))
        consumer.close()


@dataclass(frozen=True, slots=True)
class Case:
    """One log, what was said of it while a worker was a zombie, and what an undisturbed group says."""

    tenant: Tenant
    report: FleetReport
    disturbed: Said
    undisturbed: Said
    samples: list[Sample]
    zombie: Worker
    leaver: Worker
    """Told to end, and frozen before it could."""
    frozen_ms: tuple[float, float]
    """When the zombie was frozen, and thawed."""


@pytest.fixture(scope="module")
def case(
    kafka: KafkaServer, quick_model: Path, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    tenant = Tenant(kafka.bootstrap_servers, "zombie").create(PARTITIONS)
    programs = Programs(tmp_path_factory.mktemp("zombie"))
    try:
        yield _case(tenant, programs, quick_model, recordings)
    finally:
        programs.close()


def _case(tenant: Tenant, programs: Programs, model: Path, recordings: ClipPool) -> Case:
    zombie, other = programs.work(tenant, model), programs.work(tenant, model)
    wait_until(lambda: _hold(zombie) == _hold(other) == PARTITIONS / 2, "both take part")
    sampler, settings = (
        Sampler(tenant),
        FleetSettings(SENSORS, frame_ms=FRAME_MS, seconds=SECONDS, speed=SPEED),
    )
    playing = play(tenant, settings, recordings)
    _reach(playing, FREEZE_AFTER_S)
    frozen_ms, before = time.time() * 1000, tenant.committed(tenant.name)
    os.kill(zombie.process.pid, signal.SIGSTOP)
    wait_until(lambda: _all_further(tenant, before), "the other one has gone on with all of them", WITHIN_S)
    thawed_ms = time.time() * 1000
    os.kill(zombie.process.pid, signal.SIGCONT)
    report = playing.finish()
    _told_to_end_and_frozen(other)
    wait_until(lambda: _hold(zombie) == PARTITIONS, "the zombie of before has all partitions", WITHIN_S)
    os.kill(other.process.pid, signal.SIGCONT)
    wait_until(lambda: all_is_said(tenant, report), "all runs are closed", IDLE_AND_MARGIN_S + WITHIN_S)
    assert other.process.wait(WITHIN_S), "it does not end"
    samples, disturbed = sampler.stop(), Said.of(tenant)
    never = undisturbed(tenant, programs, model, report)
    frozen = (frozen_ms, thawed_ms)
    return Case(tenant, report, disturbed, never, samples, zombie, other, frozen)


def _told_to_end_and_frozen(worker: Worker) -> None:
    os.kill(worker.process.pid, signal.SIGSTOP)
    os.kill(worker.process.pid, signal.SIGTERM)  # waits until it goes on, and is then the first that it hears


def _hold(worker: Worker) -> float:
    worker.ready()
    return worker.metrics()["partitions_assigned"]


def _reach(playing: Playing, sound_s: float) -> None:
    frames = SENSORS * sound_s * 1000 / FRAME_MS
    wait_until(lambda: playing.publisher.counts.acknowledged >= frames, f"{sound_s:g} s of sound", SECONDS)


def _all_further(tenant: Tenant, before: dict[int, int]) -> bool:
    now = tenant.committed(tenant.name)
    return all(now[number] > offset for number, offset in before.items())


@pytest.mark.timeout(600)
def test_a_zombie_says_once_that_it_stood_still_and_joins_anew(case: Case) -> None:
    frozen_s = (case.frozen_ms[1] - case.frozen_ms[0]) / 1000
    (said,) = re.findall(STOOD_STILL, case.zombie.log)
    assert float(said) == pytest.approx(frozen_s, abs=1.0)
    assert "Traceback" not in case.zombie.log
    assert case.zombie.process.exit_status is None or case.zombie.process.exit_status == 0


def test_what_is_committed_never_goes_back_and_never_passes_what_nobody_has_said_yet(case: Case) -> None:
    needed = _Needed(case.tenant)
    assert len(case.samples) > 50
    for earlier, later in pairwise(case.samples):
        for partition, offset in earlier.committed.items():
            assert later.committed[partition] >= offset
    first_ms = {mark: one.at_ms for one in reversed(case.samples) for mark in one.committed.items()}
    for (partition, offset), at_ms in first_ms.items():
        assert needed.unsaid_below(partition, offset, at_ms) == []


def test_with_zombies_workers_say_together_what_a_fresh_group_says(case: Case) -> None:
    disturbed, undisturbed = set(case.disturbed.detections), set(case.undisturbed.detections)
    assert len(undisturbed) == len(case.undisturbed.detections) > 10 * SENSORS
    missing, extra = undisturbed - disturbed, disturbed - undisturbed
    assert (missing, extra) == (set(), set())
    assert unended(case.disturbed.detections) == set()
    assert timelines(case.disturbed.coverage) == timelines(case.undisturbed.coverage)
    assert accounted_for(case.disturbed.coverage) == stored(case.report)


def test_each_state_of_each_detection_has_one_value_also_where_a_zombie_says_it(case: Case) -> None:
    for state in DetectionState:
        statements = {found for found in case.disturbed.detections if found.state is state}
        assert len(statements) == len({found.id for found in statements})


def test_the_last_word_on_each_sensor_is_that_it_is_silent(case: Case) -> None:
    assert len(case.tenant.silent()) == SENSORS


def test_a_worker_frozen_as_it_was_told_to_end_lets_go_and_ends_in_order(case: Case) -> None:
    assert case.leaver.process.exit_status == 0
    assert re.search(STOOD_STILL, case.leaver.log)
    assert "Traceback" not in case.leaver.log


class _Needed:
    """What must not be committed yet: frames of which coverage had not spoken by some time."""

    def __init__(self, tenant: Tenant) -> None:
        self._frames: dict[int, list[tuple[int, str, int]]] = {number: [] for number in range(PARTITIONS)}
        self._said: dict[str, list[tuple[int, int, int]]] = {}
        for record in tenant.read(tenant.topics.frames):
            if record.key is not None:
                frame = CODEC.decode(AudioFrame, record.value)
                at = record.offset, record.key.decode(), frame.first_sample + frame.samples
                self._frames[record.partition].append(at)
        for record in tenant.read(tenant.topics.coverage):
            said = CODEC.decode(Coverage, record.value)
            assert said.sensor is not None
            assert said.start_sample is not None
            assert said.end_sample is not None
            stretch = record.appended_ms, said.start_sample, said.end_sample
            self._said.setdefault(said.sensor, []).append(stretch)

    def unsaid_below(self, partition: int, offset: int, at_ms: float) -> list[tuple[str, int, int]]:
        """Return the sensors of which not all below an offset was said: until where it was, and is stored."""
        ends = {sensor: end for at, sensor, end in self._frames[partition] if at < offset}
        said = {sensor: self._said_until(sensor, at_ms) for sensor in ends}
        return [(sensor, said[sensor], end) for sensor, end in ends.items() if said[sensor] < end]

    def _said_until(self, sensor: str, at_ms: float) -> int:
        """Return up to which sample all is spoken of by records appended by a time."""
        until = 0
        for start, end in sorted((start, end) for ms, start, end in self._said[sensor] if ms <= at_ms):
            until = max(until, end) if start <= until else until
        return until
