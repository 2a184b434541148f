"""A worker that writes JSON: the same log gives the same records as in Avro, and kcat shows them."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from infra.local.debian import find_program
from infra.local.kafka import KafkaServer
from producers.clips import ClipPool
from producers.fleet import FleetSettings
from schemas.codec import SINGLE_OBJECT
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.json_schema import published_schemas
from schemas.sensor import Presence, SensorState
from tests.integration.harness import (
    CODEC,
    DEADLINE_S,
    IDLE_AND_MARGIN_S,
    Appended,
    Programs,
    Tenant,
    by_id,
    play,
    timelines,
    unended,
    wait_until,
)

PARTITIONS, SENSORS, SECONDS = 4, 6, 16.0
KINDS: dict[str, Any] = {kind.NAME: kind for kind in (Detection, Coverage, SensorState)}
pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True, slots=True)
class Case:
    """One log, and what two workers of groups of their own wrote about it, by the record's name."""

    in_json: dict[str, list[Appended]]
    in_avro: dict[str, list[Appended]]
    shown: dict[str, list[str]]
    """What kcat printed while all was JSON."""

    def decoded(self, written: dict[str, list[Appended]], name: str) -> list[Any]:
        """Read records with a codec that nobody told what to expect."""
        return [CODEC.decode(KINDS[name], record.value) for record in written[name]]


@pytest.fixture(scope="module")
def case(
    kafka: KafkaServer, quick_model: Path, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    tenant = Tenant(kafka.bootstrap_servers, "json").create(PARTITIONS)
    programs = Programs(tmp_path_factory.mktemp("json"))
    try:
        play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS, speed=None), recordings).finish()
        yield _case(tenant, programs, quick_model)
    finally:
        programs.close()


def _case(tenant: Tenant, programs: Programs, model: Path) -> Case:
    topics = topics_of(tenant)
    _work(tenant, programs, model, "json")
    shown = {name: kcat(tenant, topic) for name, topic in topics.items()}
    ends = {topic: tenant.ends(topic) for topic in topics.values()}
    _work(tenant, programs, model, "avro")
    return Case(
        {name: _until(tenant.read(topic), ends[topic]) for name, topic in topics.items()},
        {name: tenant.read(topic, ends[topic]) for name, topic in topics.items()},
        shown,
    )


def _work(tenant: Tenant, programs: Programs, model: Path, form: str) -> None:
    """Have a worker of a new group read the log from its start until it says that all sensors are over."""
    since = tenant.ends(tenant.topics.sensors)
    worker = programs.work(tenant, model, output__format=form, worker__group=form)
    wait_until(lambda: _silent(tenant, since), "all sensors are SILENT", IDLE_AND_MARGIN_S + DEADLINE_S)
    worker.terminate()
    assert worker.process.exit_status == 0


def _silent(tenant: Tenant, since: dict[int, int]) -> bool:
    states = tenant.decoded(SensorState, tenant.topics.sensors, since)
    return len({s.sensor for s in states if s.state is Presence.SILENT}) == SENSORS


def _until(records: list[Appended], ends: dict[int, int]) -> list[Appended]:
    return [record for record in records if record.offset < ends[record.partition]]


def topics_of(tenant: Tenant) -> dict[str, str]:
    """Return the topic of each kind of record that may be JSON."""
    topics = tenant.topics
    return {"detection": topics.detections, "coverage": topics.coverage, "sensor_state": topics.sensors}


def kcat(tenant: Tenant, topic: str) -> list[str]:
    """Return the lines that kcat prints of a topic, without being told anything of it."""
    program = find_program("kcat")
    done = subprocess.run(
        program.command("-b", tenant.servers, "-C", "-t", topic, "-o", "beginning", "-e", "-q"),
        env={**os.environ, **program.environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", KINDS)
def test_kcat_shows_objects_that_the_published_schema_describes(case: Case, name: str) -> None:
    validator = Draft202012Validator(published_schemas()[name][-1])
    assert case.shown[name]
    for line in case.shown[name]:
        validator.validate(json.loads(line))


@pytest.mark.parametrize("name", KINDS)
def test_every_record_is_in_the_form_that_was_set_and_reads_without_being_told(case: Case, name: str) -> None:
    assert all((record.value or b"")[:1] == b"{" for record in case.in_json[name])
    assert all((record.value or b"")[:2] == SINGLE_OBJECT for record in case.in_avro[name])
    assert len(case.decoded(case.in_json, name)) == len(case.shown[name])


def test_the_same_log_gives_the_same_detections_in_both_forms(case: Case) -> None:
    in_json, in_avro = (case.decoded(written, "detection") for written in (case.in_json, case.in_avro))
    assert by_id(in_json) == by_id(in_avro)
    assert in_json
    assert unended(in_json) == set()


def test_the_same_log_gives_the_same_coverage_in_both_forms(case: Case) -> None:
    in_json, in_avro = (case.decoded(written, "coverage") for written in (case.in_json, case.in_avro))
    assert timelines(in_json) == timelines(in_avro)
    assert len(timelines(in_json)) == SENSORS


def test_the_same_log_leaves_the_same_states_of_sensors_in_both_forms(case: Case) -> None:
    last_json, last_avro = (
        {state.sensor: state for state in case.decoded(written, "sensor_state")}
        for written in (case.in_json, case.in_avro)
    )
    assert last_json == last_avro
    assert len(last_json) == SENSORS


@pytest.mark.parametrize("name", KINDS)
def test_keys_and_partitions_do_not_depend_on_the_form(case: Case, name: str) -> None:
    def places(written: dict[str, list[Appended]]) -> set[tuple[bytes | None, int]]:
        return {(record.key, record.partition) for record in written[name]}

    assert places(case.in_json) == places(case.in_avro)


def test_a_registry_that_does_not_answer_ends_a_worker_before_it_begins(
    tenant: Tenant, programs: Programs, quick_model: Path
) -> None:
    tenant.create(1)
    worker = programs.work(tenant, quick_model, registry__url="http://127.0.0.1:9")
    worker.said(r"earwitness: registry\.url is 'not usable'; accepted: a registry that answers and takes")
    wait_until(lambda: worker.process.exit_status == 2, "its exit code")
    assert "who is live from" not in worker.log
