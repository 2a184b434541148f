"""The whole path with recorded sound on a real broker: nothing that was acknowledged goes unaccounted for.

`EARWITNESS_PATH_SENSORS=100 EARWITNESS_PATH_SECONDS=120 pytest tests/integration/test_path.py -s` prints the
figures at full size. Sensors, broker and worker share the machine's cores.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from infra.local.kafka import KafkaServer
from models.catalogue import find, names
from processors.ledger import LATENCY_HEADER
from producers.clips import ClipPool
from producers.fleet import FleetReport, FleetSettings
from producers.publisher import Counts
from schemas.coverage import Coverage
from schemas.detection import Detection, DetectionState
from schemas.sensor import SensorState
from tests.integration.harness import (
    CODEC,
    DEADLINE_S,
    IDLE_AND_MARGIN_S,
    Appended,
    Playing,
    Programs,
    Tenant,
    covered,
    play,
    timelines,
    unended,
    wait_until,
)

SENSORS = int(os.environ.get("EARWITNESS_PATH_SENSORS", "20"))
SECONDS = float(os.environ.get("EARWITNESS_PATH_SECONDS", "20"))
FRAME_MS = 20
SHIPPED = "earwitness-small/1"
STAGES = ("captured", "appended", "fed", "batched", "scored", "sent", "published")
PERCENTS = (50, 90, 99)
CLOCK_TOLERANCE_US = 2000


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


@pytest.fixture(scope="module")
def walk(
    kafka: KafkaServer, quick_model: Path, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    """A fleet in real time, heard by one worker until everything is closed and published."""
    tenant = Tenant(kafka.bootstrap_servers, "path").create()
    programs = Programs(tmp_path_factory.mktemp("path"))
    model = find(SHIPPED) if SHIPPED in names() else quick_model
    try:
        yield _walk(tenant, programs, model, recordings)
    finally:
        programs.close()


def _walk(tenant: Tenant, programs: Programs, model: Path, recordings: ClipPool) -> Walk:
    worker = programs.work(tenant, model)
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
    _show(walk, fleet, worker_cpu=cpu / report.elapsed_s, model=model)
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


@pytest.mark.timeout(900)
def test_every_frame_is_acknowledged_and_every_record_is_read(walk: Walk) -> None:
    frames = walk.frames
    assert frames.acknowledged == SENSORS * round(SECONDS * 1000 / FRAME_MS)
    assert (frames.failed, frames.buffered, frames.refused) == (0, 0, 0)
    assert walk.metrics["frames_total"] == walk.appended_records  # frames and ticks


def test_coverage_accounts_for_every_sample_that_was_acknowledged(walk: Walk) -> None:
    said = {sensor: covered(timeline) for (sensor, _), timeline in timelines(walk.coverage).items()}
    assert said == {sensor: [(0, samples)] for sensor, samples in walk.samples_acknowledged.items()}


def test_every_detection_that_becomes_active_ends(walk: Walk) -> None:
    assert walk.detections
    assert unended(walk.detections) == set()


def test_a_detection_lies_in_what_its_sensor_sent_and_names_its_frames(walk: Walk) -> None:
    for found in walk.detections:
        assert 0 <= found.start_sample < found.end_sample <= walk.samples_acknowledged[found.sensor]
        assert found.first_offset <= found.last_offset
        assert found.start_us < found.end_us


def test_a_detection_was_appended_fed_batched_scored_and_sent_in_this_order(walk: Walk) -> None:
    ledgers = _ledgers(walk.heard)
    assert ledgers
    for readings in ledgers:
        # The broker's times are whole milliseconds, and its clock is read at another moment than ours.
        for earlier, later in pairwise(readings[1:-1]):
            assert later - earlier >= -CLOCK_TOLERANCE_US, dict(zip(STAGES, readings, strict=True))


def _ledgers(heard: Iterable[Appended]) -> list[list[int]]:
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


def _show(walk: Walk, fleet: Playing, worker_cpu: float, model: Path) -> None:
    table = Table("", *(f"p{percent}" for percent in PERCENTS), box=None)
    ledgers = np.array(_ledgers(walk.heard), float) / 1000
    if len(ledgers):
        _add(table, "captured -> in the log, ms", ledgers[:, -1] - ledgers[:, 0])
        for at, (earlier, later) in enumerate(pairwise(STAGES)):
            _add(table, f"  {earlier} -> {later}", ledgers[:, at + 1] - ledgers[:, at])
    late = [fleet.late_ms(percent / 100) for percent in PERCENTS]
    table.add_row("sensors: frames late, ms", *(f"{late_ms:.1f}" for late_ms in late))
    for name, value in _counts(walk, worker_cpu):
        table.add_row(name, value)
    print(_title(model))
    Console(width=120).print(table)


def _title(model: Path) -> str:
    return (
        f"{SENSORS} sensors, {SECONDS:g} s, frames of {FRAME_MS} ms, model {model.parent.name}/{model.name}"
    )


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
