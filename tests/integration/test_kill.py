"""Workers killed and stopped under load: what they said together is what one says who was never disturbed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from producers.clips import ClipPool
from producers.fleet import FleetReport, FleetSettings
from schemas.detection import DetectionState
from tests.integration.harness import (
    IDLE_AND_MARGIN_S,
    Playing,
    Programs,
    Tenant,
    play,
    timelines,
    unended,
    wait_until,
)
from tests.integration.undisturbed import Said, accounted_for, all_is_said, stored, undisturbed

PARTITIONS, SENSORS, SECONDS = 8, 20, 48.0
KILL_AFTER_S, STOP_AFTER_S = 8.0, 26.0
"""Sound in the log by then; the second is soon after somebody has taken the first one's partitions over."""
STOP_WITHIN_S = 10.0
FRAME_MS = 20


@dataclass(frozen=True, slots=True)
class Case:
    """One log, and what was said of it by disturbed workers and by an undisturbed one."""

    report: FleetReport
    disturbed: Said
    undisturbed: Said
    stopped_in_s: float
    stopped_with: int | None
    committed: dict[int, int]
    ends: dict[int, int]


@pytest.fixture(scope="module")
def case(
    kafka: KafkaServer, quick_model: Path, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    tenant = Tenant(kafka.bootstrap_servers, "kill").create(PARTITIONS)
    programs = Programs(tmp_path_factory.mktemp("kill"))
    try:
        yield _case(tenant, programs, quick_model, recordings)
    finally:
        programs.close()


def _case(tenant: Tenant, programs: Programs, model: Path, recordings: ClipPool) -> Case:
    first, second = programs.work(tenant, model), programs.work(tenant, model)
    first.ready()
    second.ready()
    playing = play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS, frame_ms=FRAME_MS), recordings)
    _reach(playing, KILL_AFTER_S)
    first.process.kill()
    programs.work(tenant, model)
    _reach(playing, STOP_AFTER_S)
    stopped_in_s = second.terminate()
    last = programs.work(tenant, model)
    report = playing.finish()
    wait_until(lambda: all_is_said(tenant, report), "all runs are closed", IDLE_AND_MARGIN_S + 60)
    assert last.assignments > 0, "the replacement was never given a partition"
    committed, ends = tenant.committed(tenant.name), tenant.ends(tenant.topics.frames)
    disturbed = Said.of(tenant)
    never = undisturbed(tenant, programs, model, report)
    return Case(report, disturbed, never, stopped_in_s, second.process.exit_status, committed, ends)


def _reach(playing: Playing, sound_s: float) -> None:
    """Wait until so much sound of every sensor is in the log."""
    frames = SENSORS * sound_s * 1000 / FRAME_MS
    wait_until(lambda: playing.publisher.counts.acknowledged >= frames, f"{sound_s:g} s of sound", SECONDS)


@pytest.mark.timeout(600)
def test_killed_and_stopped_workers_say_together_what_a_fresh_group_says(case: Case) -> None:
    disturbed, undisturbed = set(case.disturbed.detections), set(case.undisturbed.detections)
    assert len(undisturbed) == len(case.undisturbed.detections) > 20 * SENSORS
    missing, extra = undisturbed - disturbed, disturbed - undisturbed
    assert (missing, extra) == (set(), set())


def test_each_state_of_each_detection_is_stated_with_one_value(case: Case) -> None:
    for state in DetectionState:
        statements = {found for found in case.disturbed.detections if found.state is state}
        assert len(statements) == len({found.id for found in statements})


def test_every_detection_that_became_active_has_ended(case: Case) -> None:
    assert unended(case.disturbed.detections) == set()


def test_coverage_says_the_same_of_every_sample(case: Case) -> None:
    assert timelines(case.disturbed.coverage) == timelines(case.undisturbed.coverage)
    assert accounted_for(case.disturbed.coverage) == stored(case.report)


def test_the_kill_made_somebody_say_things_twice(case: Case) -> None:
    """Otherwise the test would prove nothing: the killed worker had said things above its mark."""
    said = case.disturbed.coverage + case.disturbed.detections
    again = case.undisturbed.coverage + case.undisturbed.detections
    assert len(said) > len(again)


def test_what_is_committed_is_in_the_log(case: Case) -> None:
    for partition, offset in case.committed.items():
        assert 0 <= offset <= case.ends[partition]


def test_a_worker_that_is_asked_to_stop_does_so_soon_and_in_order(case: Case) -> None:
    assert case.stopped_with == 0
    assert case.stopped_in_s < STOP_WITHIN_S
