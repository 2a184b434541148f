"""Sensors that stop and return, and a scorer that cannot keep up: nothing is left open, nothing is lost."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from infra.local.kafka import KafkaServer
from producers.clips import Clip, ClipPool
from producers.fleet import FleetReport, FleetSettings
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection, DetectionState
from schemas.sensor import Presence, SensorState
from tests.integration.harness import (
    CODEC,
    IDLE_AND_MARGIN_S,
    RATE_HZ,
    Programs,
    Tenant,
    covered,
    play,
    timelines,
    unended,
    wait_until,
)
from tests.integration.quick_model import write_busy_model

SOON_S = 3.0
STAYS_S = (4.0, 3.0)
PARTITIONS = 4
MANY, SECONDS, SPEED = 10, 80.0, 20.0
WINDOW_S = 0.01
"""A scorer bears 100 windows a second at most, a quarter of what MANY send at SPEED."""
BACKLOG_WINDOWS, BATCH_WINDOWS = 16, 8
CATCH_UP_S = 120.0
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Silence:
    """What was said of a sensor, alone on its topic, that stopped, returned, and stopped for good."""

    reports: list[FleetReport]
    states: list[tuple[SensorState, int]]
    """States and the milliseconds when they were appended."""
    detections: list[Detection]
    coverage: list[Coverage]

    @property
    def silences(self) -> list[tuple[SensorState, int]]:
        return [(state, at_ms) for state, at_ms in self.states if state.state is Presence.SILENT]


@pytest.fixture(scope="module")
def silence(kafka: KafkaServer, quick_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Silence:
    tenant = Tenant(kafka.bootstrap_servers, "quiet").create(partitions=1)
    programs = Programs(tmp_path_factory.mktemp("quiet"))
    try:
        worker = programs.work(tenant, quick_model)
        worker.ready()
        reports = [_stay_a_while(tenant, seconds) for seconds in STAYS_S]
        worker.terminate()
        assert worker.process.exit_status == 0
    finally:
        programs.close()
    return Silence(reports, _states(tenant), tenant.detections(), tenant.coverage())


def _stay_a_while(tenant: Tenant, seconds: float) -> FleetReport:
    """Play a tone that never stops being loud, and wait until its end has been noticed."""
    tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    pool = ClipPool([Clip("tone", "loud", tone.astype(np.int16))], RATE_HZ)
    before = len(_silent_epochs(tenant))
    report = play(tenant, FleetSettings(sensors=1, seconds=seconds, pattern="lone-{}"), pool).finish()
    wait_until(lambda: len(_silent_epochs(tenant)) > before, "SILENT", IDLE_AND_MARGIN_S + 30)
    return report


def _silent_epochs(tenant: Tenant) -> set[str]:
    return {state.epoch for state in tenant.states() if state.state is Presence.SILENT}


def _states(tenant: Tenant) -> list[tuple[SensorState, int]]:
    records = tenant.read(tenant.topics.sensors)
    return [(CODEC.decode(SensorState, record.value), record.appended_ms) for record in records]


def test_a_sensor_that_stops_is_soon_said_to_be_silent_though_nothing_else_is_appended(
    silence: Silence,
) -> None:
    assert [state.end_sample for state, _ in silence.silences] == [int(s * RATE_HZ) for s in STAYS_S]
    for state, at_ms in silence.silences:
        assert state.since_us == state.appended_at_us
        silent_for_s = (at_ms * 1000 - state.appended_at_us) / 1e6
        assert IDLE_AND_MARGIN_S < silent_for_s < IDLE_AND_MARGIN_S + SOON_S


def test_what_a_stopped_sensor_was_heard_saying_ends_with_its_last_window(silence: Silence) -> None:
    assert unended(silence.detections) == set()
    loud = [d for d in silence.detections if d.label == "loud" and d.state is DetectionState.ENDED]
    assert [found.end_sample for found in loud] == [int(seconds * RATE_HZ) for seconds in STAYS_S]


def test_a_sensor_that_returns_is_live_again_in_a_run_of_its_own(silence: Silence) -> None:
    said = [state.state for state, _ in silence.states]
    changes = [now for before, now in zip([None, *said], said, strict=False) if now is not before]
    assert changes == [Presence.LIVE, Presence.SILENT, Presence.LIVE, Presence.SILENT]
    epochs = [state.epoch for state, _ in silence.silences]
    assert epochs == sorted(set(epochs))
    assert {epoch: covered(stretches) for (_, epoch), stretches in timelines(silence.coverage).items()} == {
        epoch: [(0, int(seconds * RATE_HZ))] for epoch, seconds in zip(epochs, STAYS_S, strict=True)
    }


def test_a_slow_scorer_loses_nothing_and_stays_in_its_group(
    tenant: Tenant, programs: Programs, recordings: ClipPool, tmp_path: Path
) -> None:
    tenant.create(PARTITIONS)
    slow = write_busy_model(tmp_path / "slow", WINDOW_S)
    backlog = {"batch__max_windows": BATCH_WINDOWS, "batch__max_backlog_windows": BACKLOG_WINDOWS}
    worker = programs.work(tenant, slow, **backlog)
    worker.ready()
    playing = play(tenant, FleetSettings(sensors=MANY, seconds=SECONDS, speed=SPEED), recordings)
    wait_until(lambda: worker.metrics()["partitions_held"] == PARTITIONS, "reading is held")
    report = playing.finish()
    wait_until(lambda: worker.metrics()["position_lag_records"] > 0, "lag is seen", SOON_S)
    wait_until(lambda: len(tenant.silent()) == MANY, "all is made up for", CATCH_UP_S)
    metrics = worker.metrics()
    worker.terminate()

    assert worker.process.exit_status == 0
    scored = {sensor: [(0, n, Outcome.SCORED)] for sensor, n in report.samples_acknowledged.items()}
    assert {sensor: stretches for (sensor, _), stretches in timelines(tenant.coverage()).items()} == scored
    assert metrics["windows_total{SCORED}"] == MANY * (2 * SECONDS - 1)
    assert worker.assignments == PARTITIONS, "it was given its partitions more than once"
