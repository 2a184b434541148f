"""Recorded sound is heard again as it was live: whole, by sensor, by range, by any clock, at any speed.

`EARWITNESS_REPLAY_SENSORS=50 EARWITNESS_REPLAY_SECONDS=120 EARWITNESS_REPLAY_SPEED=1` gives the full size.
"""

import json
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import duckdb
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from earwitness.analysis.lookup import upserted
from earwitness.analysis.wanted import utc_text
from infra.local.kafka import KafkaServer
from producers.clips import ClipPool
from producers.fleet import FleetSettings
from schemas.coverage import Outcome
from schemas.detection import Detection
from schemas.topics import partition_of
from tests.integration.harness import (
    CODEC,
    DEADLINE_S,
    IDLE_AND_MARGIN_S,
    RATE_HZ,
    Programs,
    Tenant,
    by_id,
    command,
    play,
    timelines,
    variables,
    wait_until,
)
from tests.integration.planted import Planted, square
from tests.processors.tiny_model import HOP, write_model

SENSORS = int(os.environ.get("EARWITNESS_REPLAY_SENSORS", "12"))
SECONDS = float(os.environ.get("EARWITNESS_REPLAY_SECONDS", "24"))
SPEED = float(os.environ.get("EARWITNESS_REPLAY_SPEED", "8"))
PARTITIONS = 4
RUN_S = DEADLINE_S + 2 * SECONDS
HOUR_US = 3_600_000_000
RANGES = 8
AHEAD = "ahead"
"""A sensor whose clock is an hour ahead."""
LOW, MIDDLE, HIGH = 6_554, 16_384, 29_491
"""Peaks that score 0.2, 0.5 and 0.9."""
PLANTED = (
    (10, 0),
    (5, LOW),
    (10, 0),
    (7, MIDDLE),
    (13, 0),
    (7, HIGH),
    (13, 0),
    (3, MIDDLE),
    (4, HIGH),
    (3, MIDDLE),
    (20, 0),
    (10, MIDDLE),  # from hop 95 on: a segment ends at 100, and it goes on in the next
    (15, 0),
)
"""For how many hops, and how loud."""
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker has heard live, and where."""

    tenant: Tenant
    model: Path
    detections: dict[str, Detection]

    def replay(self, *arguments: str) -> dict[str, Detection]:
        """Run the command; return the detections that it prints, as a consumer holds them."""
        return _as_detections(self.run("replay", "--json", *arguments).splitlines())

    def run(self, *arguments: str) -> str:
        """Run any command; return what it prints to standard output."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tried(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run any command, whatever comes of it."""
        told = {
            "kafka.bootstrap_servers": self.tenant.servers,
            "topics.tenants": f'["{self.tenant.name}"]',
            "model.path": self.model,
        }
        environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", **variables(told)}
        return subprocess.run(
            command(*arguments), env=environment, capture_output=True, text=True, timeout=RUN_S
        )

    def of(self, pattern: str, begin_us: int = 0, end_us: int = 1 << 62) -> dict[str, Detection]:
        """Return what the live run has of some sensors in a range of their time."""
        return {
            found.id: found
            for found in self.detections.values()
            if fnmatchcase(found.sensor, pattern) and found.start_us < end_us and found.end_us > begin_us
        }


def _as_detections(lines: list[str]) -> dict[str, Detection]:
    said = (Detection.from_wire({n: json.loads(line)[n] for n in Detection.__slots__}) for line in lines)
    return {found.id: found for found in upserted(said)}


@pytest.fixture(scope="module")
def heard(
    kafka: KafkaServer, quick_model: Path, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Heard]:
    """A fleet in real time and a sensor whose clock is an hour ahead, heard by one worker to the end."""
    tenant = Tenant(kafka.bootstrap_servers, "replay").create(PARTITIONS)
    programs = Programs(tmp_path_factory.mktemp("replay"))
    worker = programs.work(tenant, quick_model)
    worker.ready()
    fleet = play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS), recordings)
    ahead = Planted(tenant, AHEAD, time.time_ns() // 1000 + HOUR_US)
    ahead.say(recordings.clips[0].samples)
    fleet.finish()
    within_s = IDLE_AND_MARGIN_S + DEADLINE_S
    wait_until(lambda: len(tenant.silent()) == SENSORS + 1, "all sensors are SILENT", within_s)
    assert worker.terminate() < DEADLINE_S
    found = by_id(tenant.detections())
    assert len(found) > 50
    yield Heard(tenant, quick_model, found)
    programs.close()


def test_the_whole_topic_replayed_gives_the_live_detections_field_by_field(heard: Heard) -> None:
    assert heard.replay() == heard.detections
    assert heard.replay("--jobs", "1") == heard.detections


def test_a_replay_at_a_multiple_of_real_time_gives_the_same_and_takes_its_time(heard: Heard) -> None:
    since_s = time.monotonic()
    assert heard.replay("--speed", f"{SPEED:g}") == heard.detections
    assert time.monotonic() - since_s > SECONDS / SPEED


@pytest.mark.parametrize("pattern", ["sensor-0003", "sensor-000*", AHEAD])
def test_a_replay_of_some_sensors_gives_what_was_heard_of_them(heard: Heard, pattern: str) -> None:
    assert heard.replay("--sensor", pattern) == heard.of(pattern)


@pytest.mark.parametrize("seed", range(RANGES))
def test_a_replay_of_a_range_gives_what_was_heard_in_it(heard: Heard, seed: int) -> None:
    r = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    pattern = r.choice(("sensor-0004", "sensor-00*", "*", AHEAD))
    somewhere = r.choice(sorted(heard.of(pattern).values(), key=lambda d: (d.sensor, d.start_us, d.label)))
    begin_us = somewhere.start_us + r.randint(-1_000_000, 2_000_000)
    end_us = begin_us + r.randint(1_100_000, 15_000_000)
    times = "--from", utc_text(begin_us), "--to", utc_text(end_us)
    assert heard.replay("--sensor", pattern, *times) == heard.of(pattern, begin_us, end_us)


def test_by_the_brokers_clock_a_sensor_an_hour_ahead_was_heard_now_and_by_its_own_in_an_hour(
    heard: Heard,
) -> None:
    of_it = heard.of(AHEAD)
    assert of_it
    assert heard.replay("--sensor", AHEAD, "--clock", "broker", "--from", "-10m") == of_it
    own = utc_text(min(d.start_us for d in of_it.values()))
    assert heard.replay("--sensor", AHEAD, "--from", own) == of_it
    refused = heard.tried("replay", "--sensor", AHEAD, "--from", "-10m", "--to", "now")
    assert refused.returncode == 2
    assert re.search(r"by its own clock, \+36\d\d\.\d s", refused.stderr), refused.stderr


def test_a_replay_to_a_topic_publishes_what_the_worker_did_to_the_sensors_own_partitions(
    heard: Heard,
) -> None:
    topic = f"{heard.tenant.name}.heard-again"
    heard.run("replay", "--to-topic", topic)
    records = heard.tenant.read(topic)
    assert by_id(CODEC.decode(Detection, record.value) for record in records) == heard.detections
    statements = {(d.id, d.state) for d in heard.tenant.detections()}
    assert {(d.id, d.state) for d in heard.tenant.decoded(Detection, topic)} == statements
    for record in records:
        assert record.key is not None
        assert record.partition == partition_of(record.key, PARTITIONS)
        assert dict(record.headers)["earwitness-scorer"]
    live = heard.tenant.topics.detections
    assert f"identical by id and every field: {len(heard.detections)}" in heard.run("diff", topic, live)
    assert heard.tried("replay", "--to-topic", live).returncode == 2


def test_scores_have_a_row_for_every_window_and_the_peaks_of_the_detections(
    heard: Heard, tmp_path: Path
) -> None:
    scores, out = tmp_path / "scores.parquet", tmp_path / "heard.jsonl"
    heard.run("replay", "--scores", str(scores), "--out", str(out), "--jobs", "3")
    assert _as_detections(out.read_text().splitlines()) == heard.detections
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".parquet"] == [scores.name]
    windows = {(row["sensor"], row["window"]): row for row in _rows(scores)}
    hop = 8000
    for (sensor, _), timeline in timelines(heard.tenant.coverage()).items():
        scored = sum(end - start for start, end, outcome in timeline if outcome is Outcome.SCORED)
        assert sum(key[0] == sensor for key in windows) == (scored - 2 * hop) // hop + 1
    for found in heard.detections.values():
        first = found.start_sample // hop
        heard_in = [windows[found.sensor, first + at][f"score_{found.label}"] for at in range(found.windows)]
        assert max(heard_in) == found.peak_score


def _rows(file: Path) -> list[dict[str, Any]]:
    table = duckdb.read_parquet(str(file))
    return [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]


@pytest.mark.parametrize("clock", ["sensor", "broker"])
def test_what_retention_has_removed_is_said_and_the_rest_is_heard(
    heard: Heard, recordings: ClipPool, clock: str
) -> None:
    tenant = Tenant(heard.tenant.servers, f"replay-cut-{clock}").create(1)
    sensor = Planted(tenant, "cut", time.time_ns() // 1000).say(recordings.clips[0].samples)
    sensor.cover(Outcome.SCORED)
    admin = AdminClient(dict(tenant.client))
    (removed,) = admin.delete_records([TopicPartition(tenant.topics.frames, 0, 100)]).values()
    removed.result(DEADLINE_S)
    done = Heard(tenant, heard.model, {}).tried("replay", "--clock", clock, "--from", "-10m")
    assert done.returncode == 0, done.stderr
    assert f" {sensor.next_sample / RATE_HZ - 2:.0f} s of sound" in done.stderr
    assert "100 records of the range have been removed by retention" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "yesterday"), "--from is 'yesterday'; accepted: a time with its zone"),
        (("--from", "2026-01-31T03:12:00"), "accepted: a time with its zone"),
        (("--from", "-1m", "--to", "-2m"), "accepted: a time after"),
        (("--speed", "fast"), "a number such as 1 or 20, or max"),
        (("--speed", "0"), "more than 0, or max"),
        (("--out", "heard.doc"), "ends in .jsonl"),
        (("--scores", "scores.csv"), "ends in .parquet"),
        (("--out", "/nowhere/heard.csv"), "a file in a folder that exists"),
        (("--clock", "wall"), "sensor, broker"),
        (("--jobs", "1000"), "0 to 256"),
        (("--sensor", "nobody", "--from", "-1h"), "no worker has heard it"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_nonsense_is_refused_politely(heard: Heard, arguments: tuple[str, ...], said: str) -> None:
    done = heard.tried("replay", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@dataclass(frozen=True, slots=True)
class TwoThresholds:
    """The same planted sound heard with a low threshold, in a file, and with a high one, in another."""

    heard: Heard
    sensor: Planted
    low: Path
    high: Path

    def differences(self, a: Path, b: Path) -> list[dict[str, Any]]:
        """Return what `diff` says of two files, line by line."""
        return [json.loads(line) for line in self.heard.run("diff", "--json", str(a), str(b)).splitlines()]


@pytest.fixture(scope="module")
def two_thresholds(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> TwoThresholds:
    """Sounds of which each threshold hears others; no worker has heard them."""
    folder = tmp_path_factory.mktemp("thresholds")
    write_model(folder / "tiny")
    tenant = Tenant(kafka.bootstrap_servers, "replay-planted").create(2)
    sensor = Planted(tenant, "hall", time.time_ns() // 1000)
    for hops, peak in PLANTED:
        sensor.say(square(hops * HOP / RATE_HZ, peak))
    Planted(tenant, "roof", time.time_ns() // 1000).say(square(1.0, 0)).say(square(0.5, HIGH)).say(
        square(1.0, 0)
    )
    heard = Heard(tenant, folder / "tiny", {})
    for threshold in (0.3, 0.8):
        told = "-s", f'model.thresholds={{"loud": {threshold}}}', "--out", str(folder / f"{threshold}.jsonl")
        heard.run("replay", "--clock", "broker", "--from", "-10m", *told)
    return TwoThresholds(heard, sensor, folder / "0.3.jsonl", folder / "0.8.jsonl")


def test_two_thresholds_differ_by_exactly_what_lies_between_them(two_thresholds: TwoThresholds) -> None:
    lines = two_thresholds.differences(two_thresholds.low, two_thresholds.high)
    told = [line for line in lines if "difference" in line]
    assert sorted((line["difference"], _span(line["a"]), _span(line["b"])) for line in told) == [
        ("edges", _window_span(65, 75), _window_span(68, 72)),
        ("only A", _window_span(25, 32), None),
        ("only A", _window_span(95, 105), None),
    ]
    assert {side["sensor"] for line in told for side in (line["a"], line["b"]) if side} == {"hall"}
    (tally,) = (line for line in lines if "label" in line)
    counts = {name: tally[name] for name in ("label", "alike", "edges", "fields", "only_a", "only_b")}
    assert counts == {"label": "loud", "alike": 2, "edges": 1, "fields": 0, "only_a": 2, "only_b": 0}
    (_, other_way) = (
        sorted(line["difference"] for line in two_thresholds.differences(*files) if "difference" in line)
        for files in ((two_thresholds.low,) * 2, (two_thresholds.high, two_thresholds.low))
    )
    assert other_way == ["edges", "only B", "only B"]


def test_a_detection_that_is_lost_and_one_that_is_altered_are_told(
    two_thresholds: TwoThresholds, tmp_path: Path
) -> None:
    heard = [json.loads(line) for line in two_thresholds.low.read_text().splitlines()]
    (lost,) = (
        found for found in heard if (found["start_sample"], found["end_sample"]) == _window_span(25, 32)
    )
    (altered,) = (
        found for found in heard if (found["start_sample"], found["end_sample"]) == _window_span(45, 52)
    )
    others = [
        {**found, "windows": found["windows"] + (found is altered)} for found in heard if found is not lost
    ]
    file = tmp_path / "later.jsonl"
    file.write_text("".join(json.dumps(found) + "\n" for found in others))
    *told, tally, identical = two_thresholds.differences(two_thresholds.low, file)
    assert [(line["difference"], line["a"]["ids"], line["fields"]) for line in told] == [
        ("only A", [lost["id"]], []),
        ("fields", [altered["id"]], ["windows"]),
    ]
    assert (tally["only_a"], tally["fields"], tally["only_b"], tally["edges"]) == (1, 1, 0, 0)
    assert identical == {"identical": len(heard) - 2}


def _span(sound: dict[str, Any] | None) -> tuple[int, int] | None:
    return None if sound is None else (sound["start_sample"], sound["end_sample"])


def _window_span(first_hop: int, end_hop: int) -> tuple[int, int]:
    """Return what the windows hold in which a sound of these hops is: a window is two hops."""
    return (first_hop - 1) * HOP, (end_hop + 1) * HOP


def test_a_topic_and_a_file_of_the_same_detections_do_not_differ(heard: Heard, tmp_path: Path) -> None:
    file = tmp_path / "live.jsonl"
    file.write_text("".join(json.dumps(asdict(d)) + "\n" for d in heard.detections.values()))
    lines = heard.run("diff", "--json", str(file), heard.tenant.topics.detections).splitlines()
    assert not [line for line in lines if "difference" in line]
    assert json.loads(lines[-1]) == {"identical": len(heard.detections)}


def test_sound_of_which_no_worker_has_spoken_yet_is_heard_too(heard: Heard, recordings: ClipPool) -> None:
    tenant = Tenant(heard.tenant.servers, "replay-behind").create(1)
    sensor = Planted(tenant, "behind", time.time_ns() // 1000)
    for clip in recordings.clips[:4]:
        sensor.say(clip.samples)
    sensor.cover(Outcome.SCORED, 0, 2 * RATE_HZ)
    behind = Heard(tenant, heard.model, {})
    everything = behind.replay()
    assert len(everything) > 3
    times = "--from", utc_text(sensor.begin_us), "--to", utc_text(sensor.utc(sensor.next_sample))
    assert behind.replay("--sensor", "behind", *times) == everything
    assert behind.replay(*times) == everything


def test_a_name_that_looks_like_a_glob_means_the_sensor_of_that_name_too(
    heard: Heard, recordings: ClipPool
) -> None:
    tenant = Tenant(heard.tenant.servers, "replay-globs").create(2)
    for name in ("hall[1]", "hall2"):
        Planted(tenant, name, time.time_ns() // 1000).say(recordings.clips[0].samples)
    globs = Heard(tenant, heard.model, {})
    assert {d.sensor for d in globs.replay("--sensor", "hall[1]").values()} == {"hall[1]"}
    assert {d.sensor for d in globs.replay("--sensor", "hall*").values()} == {"hall[1]", "hall2"}


def test_a_replay_never_writes_to_what_runs_live_of_any_tenant(heard: Heard) -> None:
    tenants = "-s", f'topics.tenants=["{heard.tenant.name}", "other"]'
    for topic in (heard.tenant.topics.frames, "other.audio.frames", "somebody.audio.coverage"):
        refused = heard.tried("replay", *tenants, "--to-topic", topic)
        assert refused.returncode == 2
        assert "--to-topic is" in refused.stderr


def test_a_sensor_is_found_where_it_was_before_partitions_were_added(
    heard: Heard, recordings: ClipPool, programs: Programs
) -> None:
    tenant = Tenant(heard.tenant.servers, "replay-grown").create(1)
    worker = programs.work(tenant, heard.model)
    worker.ready()
    begin_us = time.time_ns() // 1000
    names = [f"sensor-{number}" for number in range(4)]
    for name in names:
        Planted(tenant, name, begin_us).say(recordings.clips[0].samples)
    wait_until(lambda: len(tenant.silent()) == len(names), "all are SILENT")
    worker.terminate()
    admin = AdminClient(dict(tenant.client))
    grown = [NewPartitions(topic, 5) for topic in tenant.topics.every]
    for added in admin.create_partitions(grown).values():
        added.result(DEADLINE_S)
    after = Heard(tenant, heard.model, by_id(tenant.detections()))
    times = "--from", utc_text(begin_us - 1_000_000), "--to", utc_text(begin_us + 60_000_000)
    for name in names:
        assert after.of(name)
        assert after.replay("--sensor", name, *times) == after.of(name)
