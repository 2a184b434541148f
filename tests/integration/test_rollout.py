"""A rollout under load, workers killed around it: one switch a sensor, and every sample accounted for."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from producers.clips import ClipPool
from producers.fleet import FleetReport, FleetSettings
from schemas.coverage import Outcome
from tests.integration.commands import WELL, WRONG_SETTINGS, run, settings_of
from tests.integration.harness import (
    IDLE_AND_MARGIN_S,
    Programs,
    Tenant,
    play,
    timelines,
    unended,
    wait_until,
)
from tests.integration.quick_model import HOP_SAMPLES, write_quick_model
from tests.integration.tritons import scored_by, tritons
from tests.integration.undisturbed import Said, accounted_for, all_is_said, first_samples, stored, undisturbed

PARTITIONS, SENSORS, SECONDS = 6, 12, 42.0
BEGUN_S, IN_S, AROUND_S = 4.0, 14.0, 1.0
"""Sound in the log when the rollout is announced, when it begins, and how far from that kills are."""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a model that hear different things."""
    folder = tmp_path_factory.mktemp("catalogue")
    write_quick_model(folder / "quick" / "1")
    write_quick_model(folder / "quick" / "2", version="2", loud_at=1600.0)
    return folder


@dataclass(frozen=True, slots=True)
class Case:
    """One log with a rollout in it; what disturbed workers said of it, and an undisturbed one."""

    tenant: Tenant
    report: FleetReport
    where: dict[str, object]
    """What its operator's commands are told."""
    at_ms: int
    disturbed: Said
    undisturbed: Said

    def switches(self) -> dict[str, int]:
        """Return, by sensor, the sample at which the rollout begins."""
        return first_samples(self.tenant, self.at_ms)


@pytest.fixture(scope="module", params=["onnx", "triton"])
def case(
    request: pytest.FixtureRequest,
    kafka: KafkaServer,
    catalogue: Path,
    recordings: ClipPool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Case]:
    folder, own = tmp_path_factory.mktemp("rollout"), dict[str, object](model__catalogue=catalogue)
    tenant, programs = Tenant(kafka.bootstrap_servers, f"rollout-{request.param}"), Programs(folder)
    tenant.create(PARTITIONS)
    with ExitStack() as started:
        started.callback(programs.close)
        if request.param == "triton":
            request.getfixturevalue("triton_installation")
            servers = started.enter_context(tritons(folder / "repository", catalogue / "quick" / "1", 2))
            own |= scored_by(servers)
            _write_version_2(folder / "repository", catalogue)
        yield _case(tenant, programs, own, recordings)


def _write_version_2(repository: Path, catalogue: Path) -> None:
    """Put the new version beside the old one; the servers do not look until they are told."""
    version_2 = str(catalogue / "quick" / "2")
    done = run({}, "model", "repository", "--out", str(repository), version_2)
    assert done.code == WELL, done.said


def _case(tenant: Tenant, programs: Programs, own: dict[str, object], recordings: ClipPool) -> Case:
    catalogue = Path(str(own["model__catalogue"]))
    model = catalogue / "quick" / "1"
    where = {**settings_of(tenant, model), **{key.replace("__", "."): told for key, told in own.items()}}
    first, second = programs.work(tenant, model, **own), programs.work(tenant, model, **own)
    first.ready()
    second.ready()
    playing = play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS), recordings)
    frames = SENSORS * BEGUN_S * 50
    wait_until(lambda: playing.publisher.counts.acknowledged >= frames, f"{BEGUN_S:g} s of sound")
    at_s = _roll_out(where, "--in", str(IN_S))
    for moment_s, worker in ((at_s - AROUND_S, first), (at_s + AROUND_S, second)):
        wait_until(lambda moment_s=moment_s: time.time() >= moment_s, "the time to kill")  # type: ignore[misc]
        worker.process.kill()
        if worker is first:
            assert time.time() < at_s, "the machine is too slow to kill it in time"
        programs.work(tenant, model, **own)
    report = playing.finish()
    wait_until(lambda: all_is_said(tenant, report), "all runs are closed", IDLE_AND_MARGIN_S + 60)
    disturbed = Said.of(tenant)
    never = undisturbed(tenant, programs, model, report, **own)
    return Case(tenant, report, where, round(at_s * 1000), disturbed, never)


def _roll_out(where: dict[str, object], *more: str) -> float:
    """Announce version 2; return from when on it counts."""
    done = run(where, "model", "rollout", "quick", "2", "--json", *more)
    assert done.code == WELL, done.said
    (line,) = done.lines
    assert (line["mode"], line["model"], line["candidate"]) == ("SWITCH", "quick/2", None)
    return datetime.fromisoformat(line["from"]).timestamp()


@pytest.mark.timeout(600)
def test_killed_workers_say_together_what_a_fresh_group_says_of_the_same_log(case: Case) -> None:
    disturbed, undisturbed = set(case.disturbed.detections), set(case.undisturbed.detections)
    assert len(undisturbed) == len(case.undisturbed.detections) > 10 * SENSORS
    assert (undisturbed - disturbed, disturbed - undisturbed) == (set(), set())
    assert unended(case.disturbed.detections) == set()


def test_every_sample_is_accounted_for_before_the_switch_and_after_it(case: Case) -> None:
    assert accounted_for(case.disturbed.coverage) == stored(case.report)
    assert timelines(case.disturbed.coverage) == timelines(case.undisturbed.coverage)


def test_each_sensor_switches_at_its_first_frame_appended_from_that_time_on_and_never_goes_back(
    case: Case,
) -> None:
    switches = case.switches()
    assert len(switches) == SENSORS
    old, new = (
        {one.decision_digest for one in case.disturbed.detections if one.model_version == version}
        for version in ("1", "2")
    )
    assert len(old) == len(new) == 1
    for one in case.disturbed.coverage:
        at = switches[one.sensor or ""]
        before = one.decision_digest in old
        assert (one.end_sample or 0) <= at if before else (one.start_sample or 0) >= at, one
    for found in case.disturbed.detections:
        at = switches[found.sensor]
        assert found.end_sample <= at if found.model_version == "1" else found.start_sample >= at, found


def test_no_more_than_two_hops_of_a_sensor_are_not_scored_for_the_switch(case: Case) -> None:
    switches = case.switches()
    for (sensor, _), timeline in timelines(case.disturbed.coverage).items():
        at = switches[sensor]
        around = [end - start for start, end, how in timeline if start <= at <= end and how is Outcome.SHORT]
        assert sum(around) < 2 * HOP_SAMPLES


def test_a_rollout_that_begins_too_soon_or_of_an_unknown_model_is_refused(case: Case) -> None:
    for arguments, said in (
        (("quick", "2", "--in", "11"), "--in is 11.0; accepted: at least 12"),
        (("quick", "3"), "model.path is 'quick/3'"),
        (("quick", "1", "--share", "1"), "--share is 1.0"),
        (("quick", "1", "--share", "0.5", "--shadow"), "nothing beside --shadow"),
        (("quick", "2", "--share", "0.5"), "another model than quick/2, which counts already"),
    ):
        done = run(case.where, "model", "rollout", *arguments)
        assert (done.code, said in done.said) == (WRONG_SETTINGS, True), done.said


def test_what_counted_when_is_listed(case: Case) -> None:
    (listed,) = run(case.where, "model", "rollouts", "--json").lines
    assert (listed["model"], listed["mode"]) == ("quick/2", "SWITCH")
    assert datetime.fromisoformat(listed["from"]).timestamp() * 1000 == case.at_ms


def test_a_rollout_that_is_cancelled_in_time_never_counts(
    kafka: KafkaServer, catalogue: Path, topic_prefix: str
) -> None:
    tenant = Tenant(kafka.bootstrap_servers, topic_prefix).create(1)
    where = {**settings_of(tenant, catalogue / "quick" / "1"), "model.catalogue": catalogue}
    at_s = _roll_out(where, "--in", "600")
    (listed,) = run(where, "model", "rollouts", "--json").lines
    assert (listed["model"], listed["counts"]) == ("quick/2", "later")
    refused = run(where, "model", "rollout", "quick", "2", "--in", "20")
    assert (refused.code, "model cancel" in refused.said) == (WRONG_SETTINGS, True)
    (said,) = run(where, "model", "cancel", "--json").lines
    assert (said["mode"], said["model"]) == ("CANCEL", None)
    assert datetime.fromisoformat(said["from"]).timestamp() == at_s
    assert run(where, "model", "rollouts", "--json").lines == []
    assert "no rollout is about to begin" in run(where, "model", "cancel").out.decode()
    assert _roll_out(where, "--in", "20") < at_s
