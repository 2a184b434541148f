"""Sound that was heard across rollouts is heard again as it was, by range, by sensor, by any clock."""

import json
import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from earwitness.analysis.lookup import upserted
from earwitness.analysis.wanted import utc_text
from infra.local.kafka import KafkaServer
from processors.log import LogReader
from processors.rollouts import PARTITION
from producers.clips import ClipPool
from producers.fleet import FleetSettings
from schemas.detection import Detection
from schemas.model import SPEC_FILE, ModelSpec, read_spec
from schemas.rollout import LEAD_S, Mode, Rollout
from tests.integration.commands import WELL, WRONG_SETTINGS, Done, run, settings_of
from tests.integration.harness import (
    CODEC,
    DEADLINE_S,
    IDLE_AND_MARGIN_S,
    Programs,
    Tenant,
    by_id,
    play,
    wait_until,
)
from tests.integration.planted import Planted
from tests.integration.quick_model import LABELS, write_quick_model

PARTITIONS, SENSORS, SECONDS = 3, 8, 32.0
SWITCH_S, SPLIT_S = LEAD_S + 2, LEAD_S + 10
"""How long after they are announced: version 2 counts, then version 1 for half of the sensors."""
RANGES = 6
NOISY = "noisy"
"""What version 2 calls `loud`."""
pytestmark = pytest.mark.timeout(300)


def announce(tenant: Tenant, *rollouts: Rollout) -> None:
    """Append rollouts to a control topic."""
    producer = Producer(dict(tenant.client))
    for rollout in rollouts:
        producer.produce(tenant.topics.control, CODEC.encode(rollout), uuid.uuid4().bytes, PARTITION)
    assert producer.flush(DEADLINE_S) == 0


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a model that hear different things, and call one of them by other names."""
    folder = tmp_path_factory.mktemp("catalogue")
    write_quick_model(folder / "quick" / "1")
    second = write_quick_model(folder / "quick" / "2", version="2", loud_at=1600.0)
    spec = read_spec(second).model_dump()
    changed = {
        "labels": (NOISY, *LABELS[1:]),
        "thresholds": {NOISY: 0.4, "bright": 0.3, "growing": 0.6},
        "m": 1,
    }
    (second / SPEC_FILE).write_text(ModelSpec.model_validate({**spec, **changed}).model_dump_json(), "utf-8")
    return folder


@dataclass(frozen=True, slots=True)
class Case:
    """What one worker said across two rollouts, and the command that listens again."""

    tenant: Tenant
    catalogue: Path
    detections: dict[str, Detection]
    switch_us: int
    split_us: int

    def run(self, *arguments: str) -> Done:
        """Run a command with the worker's own settings."""
        own = self.catalogue / "quick" / "1"
        return run({**settings_of(self.tenant, own), "model.catalogue": self.catalogue}, *arguments)

    def replay(self, *arguments: str) -> dict[str, Detection]:
        """Return the detections that a replay prints, as a consumer holds them."""
        done = self.run("replay", "--json", *arguments)
        assert done.code == WELL, done.said
        lines = ({name: line[name] for name in Detection.__slots__} for line in done.lines)
        return {found.id: found for found in upserted(map(Detection.from_wire, lines))}

    def between(self, begin_us: int, end_us: int, sensor: str | None = None) -> dict[str, Detection]:
        """Return what was heard in a range of the sensors' time."""
        return {
            found.id: found
            for found in self.detections.values()
            if sensor in (None, found.sensor) and found.start_us < end_us and found.end_us > begin_us
        }


@pytest.fixture(scope="module")
def case(
    kafka: KafkaServer, catalogue: Path, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    """A fleet in real time: version 1, then 2 for all, then 1 again for half of the sensors."""
    tenant = Tenant(kafka.bootstrap_servers, "replay-rollout").create(PARTITIONS)
    programs = Programs(tmp_path_factory.mktemp("replay-rollout"))
    worker = programs.work(tenant, catalogue / "quick" / "1", model__catalogue=catalogue)
    worker.ready()
    fleet = play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS), recordings)
    wait_until(lambda: fleet.publisher.counts.acknowledged > SENSORS * 50, "a second of sound")
    one, two = (read_spec(catalogue / "quick" / version).model_dump_json() for version in ("1", "2"))
    now_us = time.time_ns() // 1000
    switch_us, split_us = now_us + round(SWITCH_S * 1e6), now_us + round(SPLIT_S * 1e6)
    switch = Rollout(at_us=switch_us, mode=Mode.SWITCH, model=two, candidate=None, share=None)
    announce(tenant, switch, Rollout(at_us=split_us, mode=Mode.SPLIT, model=two, candidate=one, share=0.5))
    fleet.finish()
    wait_until(lambda: len(tenant.silent()) == SENSORS, "all are SILENT", IDLE_AND_MARGIN_S + DEADLINE_S)
    assert worker.terminate() < DEADLINE_S
    yield Case(tenant, catalogue, by_id(tenant.detections()), switch_us, split_us)
    programs.close()


def test_each_model_was_heard_and_in_the_end_both_at_once(case: Case) -> None:
    in_the_end = case.between(case.split_us + 3_000_000, 1 << 62)
    assert {found.model_version for found in in_the_end.values()} == {"1", "2"}
    of_each = {found.sensor: found.model_version for found in in_the_end.values()}
    assert all(of_each[found.sensor] == found.model_version for found in in_the_end.values())
    before = case.between(0, case.switch_us - 3_000_000)
    assert {found.model_version for found in before.values()} == {"1"}


def test_the_whole_log_heard_again_gives_the_live_detections_field_by_field(case: Case) -> None:
    assert case.replay() == case.detections
    assert case.replay("--jobs", "1") == case.detections
    assert case.replay("--clock", "broker", "--from", "-10m") == case.detections


@pytest.mark.parametrize("seed", range(RANGES))
def test_a_range_before_over_or_after_a_rollout_gives_what_was_heard_in_it(case: Case, seed: int) -> None:
    r = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    about_us = (case.switch_us - 6_000_000, case.switch_us, case.split_us)[seed % 3]
    begin_us = about_us - r.randint(0, 3_000_000)
    end_us = begin_us + r.randint(500_000, 6_000_000)
    times = "--from", utc_text(begin_us), "--to", utc_text(end_us)
    sensor = r.choice((None, "sensor-0002", "sensor-0005"))
    named = () if sensor is None else ("--sensor", sensor)
    assert case.replay(*times, *named) == case.between(begin_us, end_us, sensor)


def test_what_was_followed_is_said_apart_from_the_detections(case: Case) -> None:
    done = case.run("replay", "--json", "--jobs", "1")
    assert all(json.loads(line)["id"] for line in done.out.splitlines())
    switch, split = (utc_text(at_us)[:-4] + "Z" for at_us in (case.switch_us, case.split_us))
    told = f"follows 2 rollouts: quick/2 from {switch}; quick/2, quick/1 for 0.5 of the sensors, from {split}"
    assert told in done.said
    before = "--clock", "broker", "--from", "-10m", "--to", utc_text(case.switch_us - 9_000_000)
    early = case.run("replay", "--json", *before)
    assert "quick/2, quick/1" not in early.said


def test_a_model_that_is_asked_for_hears_all_of_it(case: Case) -> None:
    two = str(case.catalogue / "quick" / "2")
    for asked in (("--model", two), ("--model", "quick/2"), ("-s", "model.path=quick/2")):
        heard = case.replay(*asked)
        assert {found.model_version for found in heard.values()} == {"2"}
    done = case.run("replay", "--json", "--model", "quick/2")
    assert "hears all of it with quick/2, as asked; does not follow 2 rollouts: quick/2 from" in done.said
    assert case.replay("-s", f"model.catalogue={case.catalogue}") == case.detections


def test_a_rollout_to_a_model_that_is_not_there_names_it(case: Case, tmp_path: Path) -> None:
    done = case.run("replay", "--json", "--jobs", "1", "-s", f"model.catalogue={tmp_path}")
    assert done.code == WRONG_SETTINGS
    assert "quick/2" in done.said
    assert "Traceback" not in done.said


def test_scores_of_two_models_have_the_labels_of_both(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "scores.parquet"
    case.replay("--scores", str(file))
    rows: list[tuple[Any, ...]] = duckdb.execute(
        f"SELECT model, count(score_loud), count(score_{NOISY}), count(score_bright), count(*) "  # noqa: S608
        f"FROM '{file}' GROUP BY model ORDER BY model"
    ).fetchall()
    (one, loud, of_two, bright, windows), (two, of_one, noisy, _, _) = rows
    assert (one, two) == ("quick/1", "quick/2")
    assert loud == bright == windows > 0 == of_two == of_one
    assert noisy > 0


def test_detections_to_a_topic_are_those_of_the_worker(case: Case) -> None:
    topic = f"{case.tenant.name}.heard-again"
    assert case.run("replay", "--to-topic", topic).code == WELL
    records = case.tenant.read(topic)
    assert by_id(CODEC.decode(Detection, record.value) for record in records) == case.detections
    live = {dict(r.headers)["earwitness-scorer"] for r in case.tenant.read(case.tenant.topics.detections)}
    assert {dict(record.headers)["earwitness-scorer"] for record in records} == live


def test_why_a_sound_was_no_detection_is_said_of_the_model_that_counted(case: Case) -> None:
    def asked(at_us: int, label: str, *more: str) -> list[dict[str, Any]]:
        where = "--sensor", "sensor-0001", "--at", utc_text(at_us), "--label", label
        done = case.run("explain", "--json", *where, *more)
        assert done.code == WELL, done.said
        return done.lines

    before_us, after_us = case.switch_us - 3_000_000, case.switch_us + 3_000_000
    assert NOISY not in asked(before_us, "loud")[0]["text"]
    assert [one["reason"] for one in asked(before_us, NOISY)][-1] == "no such label"
    (unknown,) = (one for one in asked(after_us, "loud") if one["reason"] == "no such label")
    assert unknown["facts"] == {"label": "loud", "model": "quick/2"}
    with_one = asked(after_us, "loud", "--model", "quick/1")
    assert all(one["facts"].get("model", "quick/1") == "quick/1" for one in with_one)
    assert all(one["reason"] != "no such label" for one in with_one)


def test_a_cluster_of_before_there_were_rollouts_is_heard_again_as_ever(
    case: Case, recordings: ClipPool
) -> None:
    tenant = Tenant(case.tenant.servers, "replay-older").create(1)
    admin = AdminClient(dict(tenant.client))
    (deleted,) = admin.delete_topics([tenant.topics.control]).values()
    deleted.result(DEADLINE_S)
    with LogReader(tenant.client) as reader:
        wait_until(lambda: tenant.topics.control not in reader.topics(), "its control topic is gone")
    Planted(tenant, "old", time.time_ns() // 1000).say(recordings.clips[0].samples)
    older = Case(tenant, case.catalogue, {}, 0, 0)
    done = older.run("replay", "--json", "--clock", "broker", "--from", "-10m")
    assert done.code == WELL, done.said
    assert done.lines
    assert "rollout" not in done.said
