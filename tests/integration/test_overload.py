"""A worker that sheds, with far more sensors than it can score, and then few: fair, exact, steady.

How late anything is, `make bench` measures.
"""

from collections import Counter
from pathlib import Path

import pytest

from producers.clips import ClipPool
from producers.fleet import FleetReport, FleetSettings
from schemas.coverage import Coverage, Outcome
from tests.integration.harness import RATE_HZ, Programs, Tenant, Timeline, Worker, play, timelines, wait_until
from tests.integration.quick_model import HOP_SAMPLES, write_busy_model
from tests.integration.undisturbed import accounted_for, stored

WINDOW_S = 0.028
"""A scorer bears 18 sensors, an eighth of MANY and nine times FEW."""
MANY, FEW, OVER_S, CALM_S = 140, 2, 20.0, 12.0
FRAME_MS, BATCH_WINDOWS = 100, 8
SETTLED_S = 6.0
"""So long into the calm what was left of the load is over on any machine."""
N = 3
PARTITIONS = 4


@pytest.fixture
def busy_model(tmp_path: Path) -> Path:
    return write_busy_model(tmp_path / "busy", WINDOW_S)


def said(tenant: Tenant, reports: list[FleetReport]) -> list[Coverage]:
    """Wait until all that was stored is accounted for, to the sample, and return the coverage."""
    expected = {sensor: stretch for report in reports for sensor, stretch in stored(report).items()}
    found: list[Coverage] = []

    def complete() -> bool:
        found[:] = tenant.coverage()
        return accounted_for(found) == expected

    wait_until(complete, "coverage of every sample that was sent")
    return found


def samples(timeline: Timeline, since_sample: int = 0) -> Counter[Outcome]:
    lengths = Counter[Outcome]()
    for start, end, outcome in timeline:
        lengths[outcome] += max(0, end - max(start, since_sample))
    return +lengths


def windows(worker: Worker, outcome: Outcome) -> float:
    return worker.metrics().get(f"windows_total{{{outcome}}}", 0)


@pytest.mark.timeout(300)
def test_a_worker_with_too_many_sensors_sheds_the_same_of_each_and_goes_on_when_there_are_fewer(
    tenant: Tenant, programs: Programs, recordings: ClipPool, busy_model: Path
) -> None:
    tenant.create(PARTITIONS)
    # Twice the deadline of the default: other tests run on the same cores.
    sheds = {"worker__overload": "shed", "worker__deadline_ms": 2000}
    worker = programs.work(tenant, busy_model, batch__max_windows=BATCH_WINDOWS, **sheds)
    worker.ready()
    worker.said("overload = shed: what cannot be heard within 2000 ms is skipped")
    over = play(tenant, FleetSettings(sensors=MANY, seconds=OVER_S, frame_ms=FRAME_MS), recordings).finish()
    assert windows(worker, Outcome.SHED) > 0
    assert worker.metrics()["partitions_held"] == 0
    few = FleetSettings(sensors=FEW, seconds=CALM_S, frame_ms=FRAME_MS, pattern="calm-{}")
    calm = play(tenant, few, recordings).finish()

    by_sensor = {sensor: of for (sensor, _), of in timelines(said(tenant, [over, calm])).items()}
    shed = [samples(by_sensor[sensor])[Outcome.SHED] // HOP_SAMPLES for sensor in over.samples_acknowledged]
    assert max(shed) - min(shed) <= 3 * N
    for sensor in over.samples_acknowledged:
        assert samples(by_sensor[sensor]).keys() <= {Outcome.SCORED, Outcome.SHED, Outcome.SHORT}
    for sensor in calm.samples_acknowledged:
        late = samples(by_sensor[sensor], round(SETTLED_S * RATE_HZ))
        assert late.keys() <= {Outcome.SCORED, Outcome.SHORT}
    assert worker.process.exit_status is None
    assert worker.assignments == PARTITIONS
    worker.terminate()
    assert worker.process.exit_status == 0
