"""Why a sound was not a detection: planted cases, and the reason that each of them has."""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from earwitness.analysis.wanted import utc_text
from infra.local.kafka import KafkaServer
from schemas.coverage import Outcome
from tests.integration.harness import (
    DEADLINE_S,
    RATE_HZ,
    Programs,
    Tenant,
    command,
    variables,
    wait_until,
)
from tests.integration.planted import Planted, square
from tests.processors.tiny_model import WINDOW, write_model

SENSOR, DEAF = "roof", "cellar"
QUIET, HALF, LOUD = 3000, 12_000, 30_000
"""Peaks: a window scores its peak over full scale as `loud`, whose threshold is 0.5."""
PARTITIONS = 2
#          0 s        2 s         4 s          5 s     6 s           8 s    10 s
# sound    quiet      half        LOUD 0.1 s   quiet   LOUD 2 s      lost   quiet 2 s
BELOW_S, ONCE_S, HEARD_S, LOST_S, LAST_S = 3.0, 4.05, 7.0, 9.0, 11.0
pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True, slots=True)
class Case:
    """What is planted, and who may ask about it."""

    tenant: Tenant
    model: Path
    sensor: Planted

    def ask(self, at_s: float, *arguments: str, sensor: str = SENSOR) -> list[dict[str, Any]]:
        """Return all findings about a moment, the deciding one first."""
        at = utc_text(self.sensor.utc(round(at_s * RATE_HZ)))
        told = {
            "kafka.bootstrap_servers": self.tenant.servers,
            "topics.tenants": f'["{self.tenant.name}"]',
            "model.path": self.model,
        }
        done = subprocess.run(
            command("explain", "--json", "--sensor", sensor, "--at", at, *arguments),
            env={"PATH": "/usr/bin:/bin", **variables(told)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def case(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """A sensor whose sound is known sample by sample, heard in 2 of 3 windows that do not overlap."""
    home = tmp_path_factory.mktemp("explain")
    write_model(home / "model", m=2, n=3, hop_samples=WINDOW, thresholds={"loud": 0.5, "high": 0.9})
    tenant = Tenant(kafka.bootstrap_servers, "explain").create(PARTITIONS)
    programs = Programs(home)
    worker = programs.work(tenant, home / "model")
    worker.ready()
    sensor = Planted(tenant, SENSOR, time.time_ns() // 1000 - 12_000_000)
    sensor.say(square(2, QUIET)).say(square(2, HALF)).say(square(0.1, LOUD)).say(square(1.9, QUIET))
    sensor.say(square(2, LOUD)).lose(2 * RATE_HZ).say(square(2, QUIET))
    wait_until(lambda: len(tenant.silent()) == 1, "the sensor is SILENT")
    Planted(tenant, DEAF, sensor.begin_us).say(square(0.05, QUIET))  # less than a window
    wait_until(lambda: len(tenant.silent()) == 2, "the other is SILENT, too")
    assert worker.terminate() < DEADLINE_S
    yield Case(tenant, home / "model", sensor)
    programs.close()


def test_a_sound_below_the_threshold_is_said_to_be_so_and_by_how_much(case: Case) -> None:
    (found,) = case.ask(BELOW_S, "--label", "loud")
    assert found["reason"] == "below threshold"
    assert found["facts"]["score"] == pytest.approx(HALF / 32_768, abs=1e-4)
    assert found["facts"]["by"] == pytest.approx(0.5 - HALF / 32_768, abs=1e-4)
    assert "below its threshold, 0.5" in found["text"]


def test_a_sound_in_too_few_windows_is_said_to_be(case: Case) -> None:
    found = case.ask(ONCE_S, "--label", "loud")[0]
    assert found["reason"] == "m of n not reached"
    assert [found["facts"][name] for name in ("reached", "m", "n")] == [1, 2, 3]


def test_a_sound_that_was_detected_is_said_to_be(case: Case) -> None:
    found = case.ask(HEARD_S)[0]
    assert found["reason"] == "detected"
    assert found["facts"]["id"] in {d.id for d in case.tenant.detections()}


def test_a_sound_that_was_heard_as_something_else_names_what(case: Case) -> None:
    first, second = case.ask(HEARD_S, "--label", "high")
    assert (first["reason"], first["facts"]["label"]) == ("another label", "loud")
    assert second["reason"] == "below threshold"


def test_lost_frames_are_a_gap_and_how_much_is_missing_is_told(case: Case) -> None:
    found = case.ask(LOST_S, "--label", "loud")[0]
    assert found["reason"] == "gap"
    assert found["facts"]["missing_samples"] > 0


def test_where_nothing_was_appended_the_sound_before_is_named(case: Case) -> None:
    (found,) = case.ask(60.0, "--label", "loud")
    assert found["reason"] == "no frames"
    ends_us = case.sensor.utc(case.sensor.next_sample)
    assert found["facts"]["sound_before_us"] == pytest.approx(ends_us, abs=100)  # a sample is 62 µs


def test_a_sensor_that_nobody_knows_sent_nothing(case: Case) -> None:
    (found,) = case.ask(LAST_S, sensor="attic")
    assert (found["reason"], found["facts"]["sound_before_us"]) == ("no frames", None)


def test_what_is_less_than_a_window_is_short(case: Case) -> None:
    assert [found["reason"] for found in case.ask(0.01, sensor=DEAF)] == ["short"]


def test_frames_that_are_less_than_a_window_of_the_model_that_is_asked_are_not_said_to_be_gone(
    case: Case,
) -> None:
    planted = Planted(case.tenant, "brief", time.time_ns() // 1000).say(square(0.05, LOUD))
    planted.cover(Outcome.SCORED)  # as a model of shorter windows would
    (found,) = Case(case.tenant, case.model, planted).ask(0.01, sensor="brief")
    assert (found["reason"], "less than a window of tiny/1" in found["text"]) == ("short", True)


def test_what_one_epoch_has_reached_does_not_count_in_the_next(case: Case) -> None:
    window_s = WINDOW / RATE_HZ
    first = Planted(case.tenant, "twice", time.time_ns() // 1000)
    first.say(square(2 * window_s, QUIET)).say(square(window_s, LOUD)).cover(Outcome.SCORED)
    second = Planted(case.tenant, "twice", first.utc(first.next_sample))
    second.say(square(window_s, LOUD)).say(square(2 * window_s, QUIET)).cover(Outcome.SCORED)
    found = Case(case.tenant, case.model, second).ask(window_s / 2, "--label", "loud", sensor="twice")
    assert [finding["reason"] for finding in found] == ["m of n not reached"]
    assert found[0]["facts"]["reached"] == 1


def test_a_part_of_the_time_without_frames_is_told_too(case: Case) -> None:
    planted = Planted(case.tenant, "part", time.time_ns() // 1000).say(square(2, QUIET))
    planted.cover(Outcome.SCORED)
    asked = Case(case.tenant, case.model, planted)
    found = asked.ask(1.0, "--label", "loud", "--for", "3", sensor="part")
    assert [finding["reason"] for finding in found] == ["below threshold", "no frames"]
    ends_us = planted.utc(planted.next_sample)
    assert found[1]["facts"]["sound_before_us"] == pytest.approx(ends_us, abs=100)


def test_frames_that_nobody_has_read_are_not_heard(case: Case) -> None:
    unread = Planted(case.tenant, "unread", time.time_ns() // 1000).say(square(1, LOUD))
    elsewhere = Case(case.tenant, case.model, unread)
    found = elsewhere.ask(0.5, sensor="unread")[0]
    assert (found["reason"], found["facts"]["frames"]) == ("not heard", 50)


def test_what_a_worker_shed_is_said_to_be_shed_and_what_it_would_have_been(case: Case) -> None:
    """Planted as coverage: the sound is there, and was skipped."""
    planted = Planted(case.tenant, "busy", time.time_ns() // 1000).say(square(2, LOUD))
    planted.cover(Outcome.SHED)
    found = Case(case.tenant, case.model, planted).ask(1.0, "--label", "loud", sensor="busy")
    assert [finding["reason"] for finding in found] == ["shed", "not published"]


def test_what_failed_once_and_was_scored_by_a_re_run_with_other_cuts_was_scored(case: Case) -> None:
    planted = Planted(case.tenant, "again", time.time_ns() // 1000).say(square(4, QUIET))
    planted.cover(Outcome.FAILED, 16_000, 24_000)
    planted.cover(Outcome.SCORED, 0, 20_000)
    planted.cover(Outcome.SCORED, 20_000, 64_000)
    asked = Case(case.tenant, case.model, planted)
    assert [f["reason"] for f in asked.ask(1.2, "--label", "loud", sensor="again")] == ["below threshold"]
    assert [f["reason"] for f in case.ask(BELOW_S, "--label", "loud")] == ["below threshold"]


def test_what_another_model_detected_does_not_answer_for_this_one(case: Case) -> None:
    said = case.ask(HEARD_S, "--label", "loud", "-s", 'model.thresholds={"loud": 0.95}')
    assert [finding["reason"] for finding in said] == ["detected by another decision", "below threshold"]
    assert said[0]["facts"]["decision_digest"] == case.tenant.detections()[0].decision_digest


def test_a_sensor_whose_clock_was_in_another_time_zone_is_found_and_so_is_what_it_heard(case: Case) -> None:
    """Nothing of its state tells of it: it has been put right since."""
    planted = Planted(case.tenant, "zone", time.time_ns() // 1000 + 3_600_000_000).say(square(2, LOUD))
    planted.cover(Outcome.SCORED)
    found = Case(case.tenant, case.model, planted).ask(1.0, "--label", "loud", sensor="zone")
    assert [finding["reason"] for finding in found] == ["not published"]


def test_what_is_known_is_told_where_the_frames_are_gone(case: Case) -> None:
    tenant = Tenant(case.tenant.servers, "explain-gone").create(1)
    planted = Planted(tenant, "gone", time.time_ns() // 1000).say(square(2, LOUD))
    planted.cover(Outcome.GAP)
    admin = AdminClient(dict(tenant.client))
    partition = TopicPartition(tenant.topics.frames, 0, -1)  # all that there is
    (removed,) = admin.delete_records([partition]).values()
    removed.result(DEADLINE_S)
    found = Case(tenant, case.model, planted).ask(1.0, "--label", "loud", sensor="gone")
    assert [finding["reason"] for finding in found] == ["gap", "expired"]


def test_a_name_that_looks_like_a_glob_is_a_name(case: Case) -> None:
    planted = Planted(case.tenant, "hall[1]", time.time_ns() // 1000).say(square(1, QUIET))
    planted.cover(Outcome.SCORED)
    found = Case(case.tenant, case.model, planted).ask(0.5, "--label", "loud", sensor="hall[1]")
    assert [finding["reason"] for finding in found] == ["below threshold"]


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        (("--sensor", "roof", "--at", "now", "--label", "bark"), "one of the model's: loud, high"),
        (("--sensor", "\udcff", "--at", "now"), "printable UTF-8"),
        (("--sensor", "roof", "--at", "noon"), "a time with its zone"),
        (("--sensor", "roof", "--at", "now", "--for", "0"), "more than 0"),
    ],
    ids=["label", "name", "time", "length"],
)
def test_nonsense_is_refused_politely(case: Case, arguments: tuple[str, ...], accepted: str) -> None:
    settings = {"kafka.bootstrap_servers": case.tenant.servers, "model.path": case.model}
    done = subprocess.run(
        command("explain", *arguments),
        env={"PATH": "/usr/bin:/bin", **variables(settings)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 2
    assert accepted in done.stderr
