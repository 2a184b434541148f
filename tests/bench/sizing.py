"""Measured costs -> how many partitions, workers and brokers, and how much storage, a fleet needs.

    python -m tests.bench.sizing FIGURES.json        # prints the tables as Markdown

FIGURES.json has the fields of `Costs`, all measured; `Limits` are choices and rules of thumb, printed too.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

from schemas.topics import Topics
from tests.bench.sheet import markdown_table

SENSORS = (1_000, 10_000, 100_000, 1_000_000)
SAMPLE_BYTES, RATE_HZ = 2, 16_000
TOPICS = len(Topics().every) - 1
"""Topics with the partition count of the frames topic: all but that of rollouts."""
DAY_S, HOUR_S = 86_400, 3600


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured, of sensors with 16 kHz mono int16; a core is one of the machine that measured."""

    worker_cpu_s_per_frame: float
    """Fetch, decode and window one frame."""
    worker_cpu_s_per_sensor_s: float
    """All else that a worker does for a second of a sensor's sound: score, decide, publish."""
    broker_cpu_s_per_frame: float
    """Append one frame and hand it out once, without replicas."""
    frame_overhead_bytes: float
    """In the log, beside the sound: Avro, key, headers, the frame's part of its record batch."""
    output_bytes_per_sensor_hour: float
    """In the log: coverage, sensor states and detections."""
    worker_bytes: float
    """Resident memory of a worker without sensors."""
    worker_bytes_per_sensor: float


@dataclass(frozen=True, slots=True)
class Shape:
    """How a sensor cuts and encodes its sound. `estimated`: nobody has measured this size."""

    name: str
    frame_ms: int
    size: float = 1.0
    estimated: bool = False

    @property
    def frames_per_s(self) -> float:
        """Frames of one sensor in a second."""
        return 1000 / self.frame_ms

    def frame_bytes(self, costs: Costs) -> float:
        """Return what one frame takes in the log and on the network."""
        return self.size * SAMPLE_BYTES * RATE_HZ * self.frame_ms / 1000 + costs.frame_overhead_bytes


SHAPES = (
    Shape("20 ms, PCM", 20),
    Shape("100 ms, PCM", 100),
    Shape("100 ms, FLAC at 0.55 (estimate)", 100, 0.55, estimated=True),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan may fill: choices of ours and rules of thumb, none of them measured here."""

    filled: float = 0.5
    """Of cores and network: the rest catches up what was missed while workers changed places."""
    disk_filled: float = 0.8
    replication: int = 3
    frames_kept_days: float = 1.0
    outputs_kept_days: float = 7.0
    partitions_per_worker: int = 4
    workers_per_group: int = 50
    broker_cores: int = 16
    broker_network_bytes_per_s: float = 10e9 / 8
    broker_disk_bytes: float = 20e12
    broker_partition_replicas: int = 4000
    broker_connections: int = 20_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fleet needs. Workers are processes of one core each; brokers, by what each thing asks for."""

    sensors: int
    frames_per_s: float
    frames_bytes_per_s: float
    workers: int
    worker_memory_bytes: float
    groups: int
    partitions: int
    frames_stored_bytes: float
    outputs_stored_bytes: float
    brokers_by: dict[str, int]

    @property
    def brokers(self) -> int:
        """As many as the scarcest thing asks for."""
        return max(self.brokers_by.values())

    @property
    def limited_by(self) -> str:
        """What asks for that many brokers."""
        return max(self.brokers_by, key=self.brokers_by.__getitem__)


def plan(sensors: int, shape: Shape, costs: Costs, limits: Limits) -> Plan:
    """Size a fleet.

    One worker more than the load fills: so the loss of one leaves the headroom to those that are left.
    """
    frames_per_s = sensors * shape.frames_per_s
    bytes_per_s = frames_per_s * shape.frame_bytes(costs)
    cores = frames_per_s * costs.worker_cpu_s_per_frame + sensors * costs.worker_cpu_s_per_sensor_s
    workers = ceil(cores / limits.filled) + 1
    partitions = workers * limits.partitions_per_worker
    frames_stored = bytes_per_s * limits.frames_kept_days * DAY_S * limits.replication
    output_bytes_per_s = sensors * costs.output_bytes_per_sensor_hour / HOUR_S
    outputs_stored = output_bytes_per_s * limits.outputs_kept_days * DAY_S * limits.replication
    return Plan(
        sensors=sensors,
        frames_per_s=frames_per_s,
        frames_bytes_per_s=bytes_per_s,
        workers=workers,
        worker_memory_bytes=costs.worker_bytes + sensors / workers * costs.worker_bytes_per_sensor,
        groups=ceil(workers / limits.workers_per_group),
        partitions=partitions,
        frames_stored_bytes=frames_stored,
        outputs_stored_bytes=outputs_stored,
        brokers_by={
            "replication": limits.replication,
            "cores": _brokers_by_cores(frames_per_s, costs, limits),
            "network": _brokers_by_network(bytes_per_s + output_bytes_per_s, limits),
            "disk": ceil((frames_stored + outputs_stored) / (limits.broker_disk_bytes * limits.disk_filled)),
            "partitions": ceil(partitions * TOPICS * limits.replication / limits.broker_partition_replicas),
            "connections": ceil((sensors + workers) / limits.broker_connections),
        },
    )


def _brokers_by_cores(frames_per_s: float, costs: Costs, limits: Limits) -> int:
    """Count a copy on a follower as dear as the append on the leader: too much rather than too little."""
    cores = frames_per_s * costs.broker_cpu_s_per_frame * limits.replication
    return ceil(cores / (limits.broker_cores * limits.filled))


def _brokers_by_network(bytes_per_s: float, limits: Limits) -> int:
    """Take what leaves brokers: to the followers, and to one reader. What comes in is no more than that."""
    leaving = bytes_per_s * limits.replication
    return ceil(leaving / (limits.broker_network_bytes_per_s * limits.filled))


def caught_up_s(unread_s: float, workers: int, filled: float) -> float | None:
    """Return how long those that are left need, once they read again; None where they never catch up.

    `filled`: how full each was before one was lost.
    """
    load = filled * workers / (workers - 1) if workers > 1 else 1.0
    return unread_s * load / (1 - load) if load < 1 else None


# -- the page -----------------------------------------------------------------------------------------------

HEADER = ("sensors", "frames/s", "MB/s in", "workers", "MB each", "groups", "partitions")
BROKERS = ("brokers", "limited by", "frames kept, TB", "outputs kept, TB")


def markdown(costs: Costs, limits: Limits) -> Iterator[str]:
    """Yield the paragraphs and tables of the page."""
    yield (
        f"Cores and network are filled to {limits.filled:.0%}, disks to {limits.disk_filled:.0%}; one worker "
        f"is to spare. A worker is a process with one core and {limits.partitions_per_worker} partitions, at "
        f"most {limits.workers_per_group} to a group (a tenant). Frames are kept for "
        f"{limits.frames_kept_days:g} days, the rest for {limits.outputs_kept_days:g}, "
        f"{limits.replication} replicas. A broker has {limits.broker_cores} cores, "
        f"{limits.broker_network_bytes_per_s * 8 / 1e9:g} Gbit/s, {limits.broker_disk_bytes / 1e12:g} TB, "
        f"and holds {limits.broker_partition_replicas:,} replicas of partitions ({TOPICS} topics) and "
        f"{limits.broker_connections:,} connections, one for each sensor."
    )
    for shape in SHAPES:
        yield f"**{shape.name}**, {shape.frame_bytes(costs):,.0f} bytes a frame in the log" + _caveat(shape)
        plans = [plan(sensors, shape, costs, limits) for sensors in SENSORS]
        yield markdown_table((*HEADER, *BROKERS), map(_row, plans))
    yield "Computed from: " + ", ".join(f"{name} {value:g}" for name, value in asdict(costs).items()) + "."


def _caveat(shape: Shape) -> str:
    return ": an estimate; the time to decode it is not in it." if shape.estimated else "."


def _row(found: Plan) -> tuple[str, ...]:
    return (
        f"{found.sensors:,}",
        f"{found.frames_per_s:,.0f}",
        f"{found.frames_bytes_per_s / 1e6:,.0f}",
        f"{found.workers:,}",
        f"{found.worker_memory_bytes / 1e6:,.0f}",
        f"{found.groups:,}",
        f"{found.partitions:,}",
        f"{found.brokers:,}",
        found.limited_by,
        f"{found.frames_stored_bytes / 1e12:,.1f}",
        f"{found.outputs_stored_bytes / 1e12:,.2f}",
    )


def main() -> None:
    """Print the page for a file of figures."""
    costs = Costs(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    print("\n\n".join(markdown(costs, Limits())))


if __name__ == "__main__":
    main()
