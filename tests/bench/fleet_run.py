"""A fleet, a worker and a broker, each in a process of its own -> what they cost, and whether all was heard.

The fleet is `earwitness simulate` playing recorded sound in real time where there is some beside the
repository, the synthetic scene otherwise.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json import loads
from pathlib import Path

import psutil
from confluent_kafka.admin import AdminClient

from infra.local.kafka import KafkaNode, KafkaServer
from producers.fleet import FleetReport, FleetSettings
from producers.sources.files import files_in
from schemas.model import ModelSpec
from tests.conftest import SHARED_DATA
from tests.integration.harness import RATE_HZ, Program, Programs, Tenant, Worker, wait_until

SHIPPED = "earwitness-small/2"
PARTITIONS = 8
EVERY_NTH_RECORDING = 8
FLEET_LINGER_MS = 5
"""One producer sends for the whole fleet: with less, the broker is busy with requests of one frame each."""
LAG_LIMIT_S = 1.0
"""A worker whose last record is older than that does not keep up."""


def sounds_in(folder: Path) -> Path | None:
    """Link every eighth recording of each kind into a folder, and return it; None without recordings."""
    recorded = SHARED_DATA / "esc10"
    if not recorded.is_dir():
        return None
    for file in files_in(recorded)[::EVERY_NTH_RECORDING]:
        link = folder / file.relative_to(recorded)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return folder


def start_fleet(programs: Programs, tenant: Tenant, fleet: FleetSettings, sounds: Path | None) -> Program:
    """Start `earwitness simulate`; it prints its report when its seconds are over."""
    told: dict[str, object] = {
        "sensors": fleet.sensors,
        "seconds": fleet.seconds,
        "frame-ms": fleet.frame_ms,
        "phases": fleet.phases,
        "speed": fleet.speed or 0,
        "pattern": fleet.pattern,
        "sounds": sounds,
    }
    arguments = [f"--{name}={value}" for name, value in told.items() if value is not None]
    where = {
        "kafka.bootstrap_servers": tenant.servers,
        "topics.tenants": f'["{tenant.name}"]',
        "publisher.linger_ms": FLEET_LINGER_MS,
    }
    return programs.run(["simulate", "--json", *arguments], where)


def report_of(fleet: Program, within_s: float) -> FleetReport:
    """Wait until a fleet has ended, and return what it reported."""
    assert fleet.process.wait(within_s), f"the fleet still plays after {within_s:g} s"
    found = re.search(r"^\{.*\}$", fleet.log, re.MULTILINE)
    assert found, f"the fleet failed:\n{fleet.log}"
    return FleetReport(**loads(found.group()))


def windows_of(spec: ModelSpec, report: FleetReport) -> int:
    """Return how many windows the stored sound of a fleet without gaps has."""
    assert spec.sample_rate_hz == RATE_HZ
    beyond = [samples - spec.window_samples for samples in report.samples_acknowledged.values()]
    return sum(1 + more // spec.hop_samples for more in beyond if more >= 0)


def scored(worker: Worker) -> int:
    """Return how many windows a worker has scored."""
    return int(worker.metrics().get("windows_total{SCORED}", 0))


def lag_s(worker: Worker) -> float:
    """Return the age of the last record read, of the partition that is furthest behind."""
    return max(worker.counts("earwitness_position_lag_seconds", "partition").values(), default=0.0)


def comes_true(condition: Callable[[], object], within_s: float) -> bool:
    """Say whether a condition, looked at again and again, holds within a time."""
    try:
        wait_until(condition, "", within_s)
    except AssertionError:
        return False
    return True


def forget(tenant: Tenant) -> None:
    """Remove a tenant's topics: a bench of many runs must not fill the disk."""
    admin = AdminClient(tenant.client)
    for done in admin.delete_topics(list(tenant.topics.every)).values():
        done.result()


# -- cost ---------------------------------------------------------------------------------------------------


def processes(worker: Worker, fleet: Program, kafka: KafkaServer) -> dict[str, psutil.Process]:
    """Return who takes part, by name; a broker in a container is not among them."""
    found = {"worker": worker.usage, "fleet": fleet.usage}
    if isinstance(kafka, KafkaNode):
        found["broker"] = psutil.Process(kafka.pid)
    return found


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor time of every process so far, at a time of day and by a monotonic clock."""

    at_us: int
    at_s: float
    cpu_s: Mapping[str, float]

    @classmethod
    def now(cls, of: Mapping[str, psutil.Process]) -> "Spent":
        """Read the clocks."""
        cpu_s = {name: sum(process.cpu_times()[:2]) for name, process in of.items()}
        return cls(time.time_ns() // 1000, time.monotonic(), cpu_s)

    def cores(self, until: "Spent") -> dict[str, float]:
        """Return how many cores each process used from here until then."""
        length_s = until.at_s - self.at_s
        return {name: (until.cpu_s[name] - spent_s) / length_s for name, spent_s in self.cpu_s.items()}
