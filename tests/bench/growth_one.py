"""One worker and more and more sensors, or more and more sound: memory a sensor, start-up, catching up."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from infra.local.kafka import KafkaServer
from models.catalogue import find
from producers.fleet import FleetReport, FleetSettings
from schemas.model import read_spec
from tests.bench.fleet_run import (
    PARTITIONS,
    SHIPPED,
    forget,
    report_of,
    scored,
    start_fleet,
    windows_of,
)
from tests.integration.harness import Offsets, Programs, Tenant, Worker, wait_until

WITHIN_S = 900.0
SETTLES_S = 5.0
STAYS_LIVE_S = 3600.0
"""Some partitions are read to their end long before others: no sensor is to be closed meanwhile."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A worker's resident memory before and after it heard so many sensors, all of them live at the end."""

    sensors: int
    before_bytes: int
    after_bytes: int

    @property
    def each_bytes(self) -> float:
        """What it has more, for each sensor."""
        return (self.after_bytes - self.before_bytes) / self.sensors


@dataclass(frozen=True, slots=True)
class Started:
    """Seconds from the start of a worker's process, in the middle of a live fleet."""

    ready_s: float
    scored_s: float
    """To a first window that is scored."""
    said_s: float
    """To a first output in the log."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """How long a worker took for sound that waited in the log, from its first frame on."""

    sensors: int
    sound_s: float
    windows: int
    frames: int
    elapsed_s: float
    resident_bytes: int

    @property
    def times_real_time(self) -> float:
        """How much faster than the sound all its sensors were heard."""
        return self.sound_s / self.elapsed_s


class OneWorker:
    """Measures one worker at a time, each with topics of its own."""

    def __init__(self, kafka: KafkaServer, programs: Programs) -> None:
        self._servers, self._programs, self._model = kafka.bootstrap_servers, programs, find(SHIPPED)

    def memory(self, sensors: int, sound_s: float) -> Memory:
        """Let a worker hear sound that comes as fast as it can be stored."""
        tenant = self._tenant(f"memory-{sensors}")
        worker = self._programs.work(tenant, self._model, detect__idle_s=STAYS_LIVE_S)
        worker.ready()
        before_bytes = _resident_bytes(worker)
        report = self._stored(tenant, sensors, sound_s)
        windows = windows_of(read_spec(self._model), report)
        wait_until(lambda: scored(worker) >= windows, f"{windows} windows", WITHIN_S)
        wait_until(lambda: worker.metrics()["sensors_live"] == sensors, f"{sensors} sensors are live")
        found = Memory(sensors, before_bytes, _resident_bytes(worker))
        assert scored(worker) == windows
        worker.terminate()
        forget(tenant)
        return found

    def start_up(self, sensors: int, frame_ms: int, turns: int) -> list[Started]:
        """Start workers of new groups, one after another, while a fleet plays in real time."""
        tenant = self._tenant("start-up")
        settings = FleetSettings(sensors=sensors, frame_ms=frame_ms)
        fleet = start_fleet(self._programs, tenant, settings, None)
        frames = sensors * SETTLES_S * 1000 / frame_ms
        wait_until(lambda: sum(tenant.ends(tenant.topics.frames).values()) > frames, "sensors are live")
        found = [self._start(tenant, f"{tenant.name}-{turn}") for turn in range(turns)]
        fleet.terminate()
        report = report_of(fleet, WITHIN_S)
        assert report.acknowledged == report.frames_sent
        forget(tenant)
        return found

    def catch_up(self, sensors: int, sound_s: float) -> CaughtUp:
        """Let a worker hear sound that has long been stored."""
        tenant = self._tenant("catch-up")
        report = self._stored(tenant, sensors, sound_s)
        windows = windows_of(read_spec(self._model), report)
        worker = self._programs.work(tenant, self._model)
        wait_until(lambda: worker.metrics()["frames_total"] > 0, "a first frame")
        since_s = time.monotonic()
        wait_until(lambda: scored(worker) >= windows, f"{windows} windows", WITHIN_S)
        elapsed_s = time.monotonic() - since_s
        resident_bytes = _resident_bytes(worker)
        assert scored(worker) == windows
        worker.terminate()
        forget(tenant)
        return CaughtUp(sensors, sound_s, windows, report.acknowledged, elapsed_s, resident_bytes)

    def _start(self, tenant: Tenant, group: str) -> Started:
        topics = (tenant.topics.detections, tenant.topics.coverage, tenant.topics.sensors)
        ends = {topic: tenant.ends(topic) for topic in topics}
        begun_s, begun_ms = time.monotonic(), time.time() * 1000
        settings = {"worker.group": group, "worker.begin_at": "latest"}
        worker = self._programs.work(tenant, self._model, **settings)
        worker.ready()
        ready_s = time.monotonic() - begun_s
        wait_until(lambda: scored(worker) > 0, "a first window")
        scored_s = time.monotonic() - begun_s
        wait_until(partial(_said_ms, tenant, ends), "a first output")
        first_ms = min(_said_ms(tenant, ends))
        worker.terminate()
        return Started(ready_s, scored_s, (first_ms - begun_ms) / 1000)

    def _tenant(self, name: str) -> Tenant:
        return Tenant(self._servers, name).create(PARTITIONS)

    def _stored(self, tenant: Tenant, sensors: int, sound_s: float) -> FleetReport:
        settings = FleetSettings(sensors=sensors, seconds=sound_s, speed=None)
        report = report_of(start_fleet(self._programs, tenant, settings, None), WITHIN_S)
        assert report.acknowledged == report.frames_sent == sensors * round(sound_s * 50)
        return report


def _said_ms(tenant: Tenant, since: Mapping[str, Offsets]) -> list[int]:
    return [record.appended_ms for topic, ends in since.items() for record in tenant.read(topic, ends)]


def _resident_bytes(worker: Worker) -> int:
    return int(worker.usage.memory_info().rss)
