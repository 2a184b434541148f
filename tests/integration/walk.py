"""A walk along the whole path: a fleet in real time, one worker, and where the time went."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from producers.clips import ClipPool
from producers.fleet import FleetReport, FleetSettings
from producers.publisher import Counts
from schemas.coverage import Coverage
from schemas.detection import Detection, DetectionState
from schemas.latency import LATENCY_HEADER, READINGS
from schemas.sensor import SensorState
from tests.integration.harness import (
    CODEC,
    DEADLINE_S,
    IDLE_AND_MARGIN_S,
    Appended,
    Playing,
    Programs,
    Tenant,
    play,
    wait_until,
)

SENSORS = int(os.environ.get("EARWITNESS_PATH_SENSORS", "20"))
SECONDS = float(os.environ.get("EARWITNESS_PATH_SECONDS", "20"))
FRAME_MS = 20
STAGES = READINGS
PERCENTS = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Walk:
    """What came of one walk along the path."""

    report: FleetReport
    frames: Counts
    heard: list[Appended]
    detections: list[Detection]
    coverage: list[Coverage]
    states: list[SensorState]
    appended_records: int
    metrics: dict[str, float]

    @property
    def samples_acknowledged(self) -> dict[str, int]:
        return dict(self.report.samples_acknowledged)


def walk_along(
    tenant: Tenant, programs: Programs, model: Path, recordings: ClipPool, **settings: object
) -> Walk:
    """Let a fleet play, heard by one worker until everything is closed and published; print the figures."""
    worker = programs.work(tenant, model, **settings)
    worker.ready()
    before = sum(worker.usage.cpu_times()[:2])
    fleet = play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS, frame_ms=FRAME_MS), recordings)
    report = fleet.finish()
    cpu = sum(worker.usage.cpu_times()[:2]) - before
    within_s = IDLE_AND_MARGIN_S + DEADLINE_S
    wait_until(lambda: len(tenant.silent()) == SENSORS, "all sensors are SILENT", within_s)
    metrics = worker.metrics()
    assert worker.terminate() < DEADLINE_S
    assert worker.process.exit_status == 0
    walk = _gathered(tenant, fleet, metrics)
    _show(walk, fleet, worker_cpu=cpu / report.elapsed_s, title=_title(model, settings))
    return walk


def _gathered(tenant: Tenant, fleet: Playing, metrics: dict[str, float]) -> Walk:
    heard = tenant.read(tenant.topics.detections)
    return Walk(
        report=fleet.finish(),
        frames=fleet.publisher.counts,
        heard=heard,
        detections=[CODEC.decode(Detection, record.value) for record in heard],
        coverage=tenant.coverage(),
        states=tenant.states(),
        appended_records=sum(tenant.ends(tenant.topics.frames).values()),
        metrics=metrics,
    )


def ledgers_of(heard: Iterable[Appended]) -> list[list[int]]:
    """Return, for every detection that begins, its readings in microseconds, in the order of STAGES."""
    ledgers = []
    for record in heard:
        written = dict(record.headers).get(LATENCY_HEADER)
        active = CODEC.decode(Detection, record.value).state is DetectionState.ACTIVE
        if active and written is not None:
            readings = json.loads(written)
            ledgers.append([*(readings[f"{stage}_us"] for stage in STAGES[:-1]), record.appended_ms * 1000])
    return ledgers


# -- the table ----------------------------------------------------------------------------------------------


def _show(walk: Walk, fleet: Playing, worker_cpu: float, title: str) -> None:
    table = Table("", *(f"p{percent}" for percent in PERCENTS), box=None)
    ledgers = np.array(ledgers_of(walk.heard), float) / 1000
    if len(ledgers):
        _add(table, "captured -> in the log, ms", ledgers[:, -1] - ledgers[:, 0])
        for at, (earlier, later) in enumerate(pairwise(STAGES)):
            _add(table, f"  {earlier} -> {later}", ledgers[:, at + 1] - ledgers[:, at])
    late = [fleet.late_ms(percent / 100) for percent in PERCENTS]
    table.add_row("sensors: frames late, ms", *(f"{late_ms:.1f}" for late_ms in late))
    for name, value in _counts(walk, worker_cpu):
        table.add_row(name, value)
    print(title)
    Console(width=120).print(table)


def _title(model: Path, settings: Mapping[str, object]) -> str:
    scored = settings.get("scorer__kind", "onnx")
    of = f"model {model.parent.name}/{model.name}, scored by {scored}"
    return f"{SENSORS} sensors, {SECONDS:g} s, frames of {FRAME_MS} ms, {of}"


def _add(table: Table, name: str, values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> None:
    table.add_row(name, *(f"{value:.1f}" for value in np.percentile(values, PERCENTS)))


def _counts(walk: Walk, worker_cpu: float) -> Sequence[tuple[str, str]]:
    metrics = walk.metrics
    begun = Counter(d.label for d in walk.detections if d.state is DetectionState.ACTIVE)
    return (
        ("frames acknowledged", str(walk.frames.acknowledged)),
        ("records read (and ticks)", f"{metrics['frames_total']:.0f}"),
        ("windows SCORED", f"{metrics.get('windows_total{SCORED}', 0):.0f}"),
        ("detections that began", str(sum(begun.values()))),
        *((f"  {label}", str(count)) for label, count in begun.most_common()),
        ("sensors: latest frame, ms", f"{walk.report.max_late_ms:.1f}"),
        ("worker: memory, MB", f"{metrics['process_resident_memory_bytes'] / 1e6:.0f}"),
        ("worker: CPU while they played, cores", f"{worker_cpu:.2f}"),
    )
