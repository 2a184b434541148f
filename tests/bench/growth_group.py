"""Two workers that share a fleet: one is killed, joins, or leaves; what the log says of the time it took.

    kill                              first output          all sensors have      nothing
      │   session times out, others    │  of its partitions    a new window       is late
      ▼   join anew, look who is live  ▼                          ▼                  ▼
    ──┴────────────────────────────────┴──────────────────────────┴──────────────────┴──► append time

Everything is read from the outputs: the append time of detections and coverage, and how long after its last
sample each was appended. Coverage of a sensor comes every five seconds, detections whenever something sounds.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from infra.local.kafka import KafkaServer
from models.catalogue import find
from producers.fleet import FleetReport, FleetSettings
from schemas.coverage import Coverage
from schemas.detection import Detection, DetectionState
from schemas.topics import partition_of
from tests.bench.fleet_run import (
    PARTITIONS,
    SHIPPED,
    comes_true,
    forget,
    lag_s,
    report_of,
    start_fleet,
)
from tests.integration.harness import CODEC, Program, Programs, Tenant, Worker, wait_until
from tests.integration.undisturbed import accounted_for, stored

SETTLES_S, STAYS_S = 12.0, 4.0
LATE_MS = 1000.0
"""What is appended later than that after its last sample shows that somebody is still catching up."""
RECOVERS_S, CLOSES_S = 180.0, 60.0
BROKER_FINISHES_MS = 500
"""What the killed worker had handed to its kernel may be appended until so long afterwards."""


@dataclass(frozen=True, slots=True)
class Said:
    """An output: when it was appended, whose it is, and where the sound that it speaks of ends."""

    appended_ms: int
    partition: int
    sensor: str
    end_us: int

    @property
    def late_ms(self) -> float:
        """How long after its last sample it was appended, by the sensor's clock and the broker's."""
        return self.appended_ms - self.end_us / 1000


@dataclass(frozen=True, slots=True)
class FailedOver:
    """Seconds from kill -9 until the successor said anything of the partitions of the killed one, until it
    had said something new of each of their sensors, and until nothing that it said was late any more.

    The last is None where it did not come to that while the fleet played.
    """

    sensors: int
    frame_ms: int
    first_s: float
    every_sensor_s: float
    caught_up_s: float | None
    covered: bool


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """How late outputs were in the steady state, and at worst while a second worker joined, and left."""

    sensors: int
    frame_ms: int
    steady_ms: float
    joined_s: float
    """From the start of its process until it reads, as one of two."""
    joining_ms: float
    left_s: float
    """From the signal to the end of its process."""
    leaving_ms: float
    alone: bool
    """Whether one worker bears the load alone."""
    covered: bool


class Group:
    """Measures groups of two workers, each with topics of its own."""

    def __init__(self, kafka: KafkaServer, programs: Programs, sounds: Path | None) -> None:
        self._servers, self._programs, self._sounds = kafka.bootstrap_servers, programs, sounds
        self._model, self._numbers = find(SHIPPED), count(1)

    def fail_over(self, sensors: int, frame_ms: int) -> FailedOver:
        """Kill one of two workers under load."""
        tenant = self._tenant("failover")
        victim, heir = self._work(tenant), self._work(tenant)
        _share(victim, heir)
        fleet = self._play(tenant, sensors, frame_ms)
        _plays_on(fleet, SETTLES_S)
        lost = _partitions(victim)
        assert 0 < len(lost) < PARTITIONS
        victim.process.kill()
        killed_ms = time.time() * 1000
        in_time = comes_true(partial(_settled, heir, fleet), RECOVERS_S)
        stopped_ms, report = _stopped(fleet)
        covered = comes_true(partial(_accounted, tenant, report), RECOVERS_S + CLOSES_S)
        heir.terminate()
        said = [s for s in _said(tenant) if s.partition in lost and s.appended_ms < stopped_ms]
        assert {s.sensor for s in said} == {n for n in report.samples_acknowledged if _partition(n) in lost}
        forget(tenant)
        first_s, every_sensor_s, caught_up_s = _recovered_s(said, killed_ms)
        return FailedOver(
            sensors=sensors,
            frame_ms=frame_ms,
            first_s=first_s,
            every_sensor_s=every_sensor_s,
            caught_up_s=caught_up_s if in_time else None,
            covered=covered,
        )

    def rebalance(self, sensors: int, frame_ms: int) -> Rebalanced:
        """Let a second worker join, and leave again, under load."""
        tenant = self._tenant("rebalance")
        stays = self._work(tenant)
        stays.ready()
        fleet = self._play(tenant, sensors, frame_ms)
        _plays_on(fleet, SETTLES_S)
        steady_ms = time.time() * 1000
        _plays_on(fleet, SETTLES_S)
        joins_ms, joins_s = time.time() * 1000, time.monotonic()
        joins = self._work(tenant)
        _share(stays, joins)
        wait_until(lambda: joins.metrics()["frames_total"] > 0, "the new one reads")
        joined_s = time.monotonic() - joins_s
        _plays_on(fleet, SETTLES_S)
        leaves_ms = time.time() * 1000
        left_s = joins.terminate()
        alone = comes_true(partial(_settled, stays, fleet), RECOVERS_S)
        stopped_ms, report = _stopped(fleet)
        covered = comes_true(partial(_accounted, tenant, report), RECOVERS_S + CLOSES_S)
        stays.terminate()
        said = list(_news(_said(tenant)))
        forget(tenant)
        return Rebalanced(
            sensors=sensors,
            frame_ms=frame_ms,
            steady_ms=_latest_ms(said, steady_ms, joins_ms),
            joined_s=joined_s,
            joining_ms=_latest_ms(said, joins_ms, leaves_ms),
            left_s=left_s,
            leaving_ms=_latest_ms(said, leaves_ms, stopped_ms),
            alone=alone,
            covered=covered,
        )

    def _tenant(self, name: str) -> Tenant:
        return Tenant(self._servers, f"{name}-{next(self._numbers)}").create(PARTITIONS)

    def _work(self, tenant: Tenant) -> Worker:
        return self._programs.work(tenant, self._model)

    def _play(self, tenant: Tenant, sensors: int, frame_ms: int) -> Program:
        settings = FleetSettings(sensors=sensors, frame_ms=frame_ms)
        fleet = start_fleet(self._programs, tenant, settings, self._sounds)
        wait_until(lambda: sum(tenant.ends(tenant.topics.frames).values()) > sensors, "all sensors play")
        return fleet


def _share(*workers: Worker) -> None:
    """Wait until each has partitions, and together all of them."""
    for worker in workers:
        worker.ready()
    all_share = len(workers) * [PARTITIONS // len(workers)]
    wait_until(lambda: [w.metrics()["partitions_assigned"] for w in workers] == all_share, "all take part")


def _partition(sensor: str) -> int:
    return partition_of(sensor.encode(), PARTITIONS)


def _partitions(worker: Worker) -> set[int]:
    """Return the numbers of the partitions that a worker reads."""
    named = worker.counts("earwitness_position_lag_records", "partition")
    return {int(name.rpartition("[")[2].rstrip("]")) for name in named}


def _plays_on(fleet: Program, for_s: float) -> None:
    assert not fleet.process.wait(for_s), f"the fleet has ended:\n{fleet.log}"


def _settled(worker: Worker, fleet: Program) -> bool:
    """Say whether a worker reads everything, and goes on to be in time."""
    if len(_partitions(worker)) < PARTITIONS or lag_s(worker) * 1000 > LATE_MS:
        return False
    _plays_on(fleet, STAYS_S)
    return lag_s(worker) * 1000 <= LATE_MS


def _stopped(fleet: Program) -> tuple[float, FleetReport]:
    """End a fleet; return when, in milliseconds since 1970, and what it reported."""
    stopped_ms = time.time() * 1000
    fleet.terminate()
    report = report_of(fleet, CLOSES_S)
    assert not report.failed
    return stopped_ms, report


def _accounted(tenant: Tenant, report: FleetReport) -> bool:
    return accounted_for(tenant.coverage()) == stored(report)


def _said(tenant: Tenant) -> list[Said]:
    """Return what was said of windows, by detections that begin and by coverage, as it was appended."""
    said = list[Said]()
    for record in tenant.read(tenant.topics.detections):
        found = CODEC.decode(Detection, record.value)
        if found.state is DetectionState.ACTIVE:
            said.append(Said(record.appended_ms, record.partition, found.sensor, found.end_us))
    for record in tenant.read(tenant.topics.coverage):
        heard = CODEC.decode(Coverage, record.value)
        if heard.sensor is not None and heard.end_us is not None:
            said.append(Said(record.appended_ms, record.partition, heard.sensor, heard.end_us))
    return sorted(said, key=lambda one: one.appended_ms)


def _recovered_s(said: list[Said], killed_ms: float) -> tuple[float, float, float]:
    """Return the seconds from a kill to a first word, to news of every sensor, and to the last late news."""
    after_ms = [s.appended_ms for s in said if s.appended_ms > killed_ms + BROKER_FINISHES_MS]
    news = [s for s in _news(said) if s.appended_ms > killed_ms + BROKER_FINISHES_MS]
    first_ms = {s.sensor: s.appended_ms for s in reversed(news)}
    late_ms = [s.appended_ms for s in news if s.late_ms > LATE_MS]
    first, every, last = min(after_ms), max(first_ms.values()), max(late_ms, default=min(after_ms))
    return (first - killed_ms) / 1000, (every - killed_ms) / 1000, (last - killed_ms) / 1000


def _news(said: Iterable[Said]) -> Iterator[Said]:
    """Yield what speaks of sound beyond what was spoken of before: whoever takes over repeats things."""
    spoken_us = dict[str, int]()
    for one in said:
        if one.end_us > spoken_us.get(one.sensor, 0):
            spoken_us[one.sensor] = one.end_us
            yield one


def _latest_ms(said: Iterable[Said], since_ms: float, until_ms: float) -> float:
    """Return how late the latest of what was appended in a time was."""
    return max(s.late_ms for s in said if since_ms <= s.appended_ms < until_ms)
