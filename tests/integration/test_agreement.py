"""What `earwitness model agreement` reports of planted detections and coverage, whose agreement is known."""

import shlex
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from earwitness.analysis.wanted import utc_text
from infra.local.kafka import KafkaServer
from processors.decision import Decision
from processors.rollouts import PARTITION
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection, DetectionState
from schemas.identity import detection_id, epoch_text
from schemas.model import read_spec
from schemas.rollout import LEAD_S, Mode, Rollout
from tests.integration.commands import WELL, WRONG_SETTINGS, Done, run, settings_of
from tests.integration.harness import CODEC, DEADLINE_S, RATE_HZ, Appended, Tenant, wait_until
from tests.integration.planted import FRAME_SAMPLES, Planted
from tests.integration.quick_model import write_quick_model

SECONDS, HOUR_US, SPARE_S = 20, 3_600_000_000, 2.0
SHARE = 0.4
pytestmark = pytest.mark.timeout(240)


@dataclass(slots=True)
class Plant:
    """A sensor with silence in the log, of which anything can be said."""

    sensor: Planted
    frames: list[Appended]

    @classmethod
    def of(cls, tenant: Tenant, name: str, off_us: int = 0) -> "Plant":
        """Append the sound of a sensor whose clock is off."""
        sensor = Planted(tenant, name, time.time_ns() // 1000 + off_us)
        sensor.say(np.zeros(SECONDS * RATE_HZ, np.int16))
        records = tenant.read(tenant.topics.frames)
        return cls(sensor, [record for record in records if record.key == name.encode()])

    def cover(self, topic: str, decision: Decision, *spans: tuple[int, int], how: str = "SCORED") -> None:
        """Say which seconds a decision listened to."""
        for begin_s, end_s in spans:
            first, last = self._offsets(begin_s, end_s)
            said = Coverage(
                sensor=self.sensor.sensor,
                epoch=epoch_text(self.sensor.epoch),
                start_sample=begin_s * RATE_HZ,
                end_sample=end_s * RATE_HZ,
                sample_rate_hz=RATE_HZ,
                start_us=self.sensor.utc(begin_s * RATE_HZ),
                end_us=self.sensor.utc(end_s * RATE_HZ),
                topic=self.sensor.tenant.topics.frames,
                partition=self.frames[0].partition,
                first_offset=first,
                last_offset=last,
                outcome=Outcome(how),
                missing_samples=0,
                decision_digest=decision.digest,
                level=None,
            )
            self._produce(topic, said)

    def hear(self, topic: str, decision: Decision, *spans: tuple[int, int], ended: bool = True) -> None:
        """Say in which seconds a decision heard `loud`."""
        for begin_s, end_s in spans:
            self._produce(topic, self._detection(decision, begin_s, end_s, ended=ended))

    def _detection(self, decision: Decision, begin_s: int, end_s: int, *, ended: bool) -> Detection:
        start, sensor, digest = begin_s * RATE_HZ, self.sensor.sensor, decision.digest
        first, last = self._offsets(begin_s, end_s)
        return Detection(
            id=detection_id(sensor, self.sensor.epoch, "loud", start, digest),
            sensor=sensor,
            label="loud",
            state=DetectionState.ENDED if ended else DetectionState.ACTIVE,
            epoch=epoch_text(self.sensor.epoch),
            start_sample=start,
            end_sample=end_s * RATE_HZ,
            sample_rate_hz=RATE_HZ,
            start_us=self.sensor.utc(start),
            end_us=self.sensor.utc(end_s * RATE_HZ),
            peak_score=0.9,
            windows=3,
            threshold=0.5,
            continued=False,
            missing_samples=0,
            model_name=decision.spec.name,
            model_version=decision.spec.version,
            decision_digest=digest,
            topic=self.sensor.tenant.topics.frames,
            partition=self.frames[0].partition,
            first_offset=first,
            last_offset=last,
        )

    def _offsets(self, begin_s: int, end_s: int) -> tuple[int, int]:
        first, last = (at * RATE_HZ // FRAME_SAMPLES for at in (begin_s, end_s))
        return self.frames[first].offset, self.frames[last - 1].offset

    def _produce(self, topic: str, said: Coverage | Detection) -> None:
        producer, partition = Producer(dict(self.sensor.tenant.client)), self.frames[0].partition
        producer.produce(topic, CODEC.encode(said), self.sensor.sensor.encode(), partition)
        assert producer.flush(DEADLINE_S) == 0


@dataclass(frozen=True, slots=True)
class Case:
    """Two tenants: in one the candidate is in the model's shadow, in the other it has a share."""

    catalogue: Path
    model: Decision
    candidate: Decision
    shadow: Tenant
    split: Tenant
    at_us: int

    def ask(self, tenant: Tenant, *arguments: str) -> Done:
        """Run any command."""
        own = settings_of(tenant, self.catalogue / "quick" / "1")
        return run({**own, "model.catalogue": self.catalogue}, *arguments)

    def report(self, tenant: Tenant, *arguments: str) -> dict[str, list[dict[str, Any]]]:
        """Return the lines of a report, by kind."""
        done = self.ask(tenant, "model", "agreement", "--json", *arguments)
        assert done.code == WELL, done.said
        found: dict[str, list[dict[str, Any]]] = {}
        for line in done.lines:
            found.setdefault(line.pop("kind"), []).append(line)
        return found


@pytest.fixture(scope="module")
def case(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Case:
    catalogue = tmp_path_factory.mktemp("catalogue")
    model, candidate = (
        Decision(read_spec(write_quick_model(catalogue / "quick" / version, version=version)))
        for version in ("1", "2")
    )
    shadow, split = (
        Tenant(kafka.bootstrap_servers, f"agreement-{name}").create(2) for name in ("shadow", "split")
    )
    at_us = time.time_ns() // 1000 + round((LEAD_S + SPARE_S) * 1e6)
    one, two = (decision.spec.model_dump_json() for decision in (model, candidate))
    rollout = Rollout(at_us, Mode.SHADOW, one, two, None)
    for tenant, announced in ((shadow, rollout), (split, replace(rollout, mode=Mode.SPLIT, share=SHARE))):
        producer = Producer(dict(tenant.client))
        producer.produce(tenant.topics.control, CODEC.encode(announced), uuid.uuid4().bytes, PARTITION)
        assert producer.flush(DEADLINE_S) == 0
    Plant.of(shadow, "early")
    wait_until(lambda: time.time_ns() // 1000 > at_us + 100_000, "the rollout has begun")
    made = Case(catalogue, model, candidate, shadow, split, at_us)
    plant_shadow(made)
    plant_split(made)
    return made


def plant_shadow(case: Case) -> None:
    #            0    2    4    5  6    8 9 10  12 13  15   17 18   20
    # hall  1    |=========================scored======================|   loud 2-8, 13-15
    #       2              |========scored=|GAP|====scored=============|   loud 5-9, 17-18
    # roof  1    |==scored====|
    #       2    |===scored============|
    ours, ours_covered = case.shadow.topics.detections, case.shadow.topics.coverage
    others, others_covered = case.shadow.topics.shadows
    hall = Plant.of(case.shadow, "hall")
    hall.cover(ours_covered, case.model, (0, 12), (10, 20))
    hall.cover(others_covered, case.candidate, (4, 10), (12, 20))
    hall.cover(others_covered, case.candidate, (10, 12), how="GAP")
    hall.hear(ours, case.model, (2, 7), ended=False)
    hall.hear(ours, case.model, (2, 6), (6, 8), (13, 15))
    hall.hear(ours, case.model, (2, 7), ended=False)  # somebody said it again
    hall.hear(ours, case.candidate, (4, 20))  # a decision that is not the model's
    hall.hear(others, case.candidate, (5, 9))
    hall.hear(others, case.candidate, (17, 18), ended=False)
    roof = Plant.of(case.shadow, "roof", HOUR_US)
    roof.cover(ours_covered, case.model, (0, 5))
    roof.cover(others_covered, case.candidate, (0, 10))
    roof.hear(others, case.candidate, (6, 8))  # while the model did not listen


def plant_split(case: Case) -> None:
    topics, sounds = case.split.topics, {"m1": 2, "m2": 1, "m3": 0, "c1": 1, "c2": 0}
    for name, count in sounds.items():
        decision = case.model if name.startswith("m") else case.candidate
        plant = Plant.of(case.split, name)
        plant.cover(topics.coverage, decision, (0, SECONDS))
        for number in range(count):
            plant.hear(topics.detections, decision, (5 * number, 5 * number + 2))
            plant.hear(topics.detections, decision, (5 * number + 2, 5 * number + 3))


def test_in_the_shadow_time_and_sounds_are_counted_where_both_listened(case: Case) -> None:
    report = case.report(case.shadow)
    (trial,), (listened,) = report["trial"], report["listened"]
    assert (trial["mode"], trial["model"], trial["candidate"]) == ("SHADOW", "quick/1", "quick/2")
    assert trial["begin_us"] == -(-case.at_us // 1000) * 1000
    figures = {"both_s": 19.0, "only_model_s": 6.0, "only_candidate_s": 5.0, "sensors": 2}
    assert listened == figures
    by_label = {line["label"]: line for line in report["label"]}
    assert by_label["loud"] == {
        "label": "loud",
        "both_s": 3.0,
        "only_model_s": 3.0,
        "only_candidate_s": 2.0,
        "neither_s": 11.0,
        "model_sounds": 2,
        "model_met": 1,
        "candidate_sounds": 2,
        "candidate_met": 1,
        "jaccard": pytest.approx(3 / 8),
        "kappa": pytest.approx(54 / 149),
    }
    assert by_label["bright"]["jaccard"] is None
    assert by_label["bright"]["neither_s"] == 19.0


def test_the_longest_disagreements_come_with_commands_that_work(case: Case, tmp_path: Path) -> None:
    found = case.report(case.shadow)["disagreement"]
    told = [(line["by"], line["sensor"], line["seconds"]) for line in found]
    assert told == [
        ("candidate", "hall", 1.0),
        ("candidate", "hall", 1.0),
        ("model", "hall", 2.0),
        ("model", "hall", 1.0),
    ]
    for line in (found[0], found[2]):
        explain, export = line["look"]
        program, *arguments = shlex.split(explain)
        assert program == "earwitness"
        assert ("--model quick/2" in explain) == (line["by"] == "model")
        done = case.ask(case.shadow, *arguments, "--json")
        assert done.code == WELL, done.said
        assert done.lines
        sound = tmp_path / f"{line['by']}.wav"
        exported = case.ask(case.shadow, *shlex.split(export)[1:-1], str(sound))
        assert exported.code == WELL, exported.said
        assert sound.stat().st_size > RATE_HZ


def test_sensors_and_examples_can_be_chosen(case: Case) -> None:
    report = case.report(case.shadow, "--sensor", "roof", "--examples", "0")
    assert report["listened"][0]["both_s"] == 5.0
    assert "disagreement" not in report
    later = utc_text(time.time_ns() // 1000)
    assert case.report(case.shadow, "--to", later)["listened"][0]["both_s"] == 19.0


def test_a_report_is_read_by_people_too(case: Case) -> None:
    done = case.ask(case.shadow, "model", "agreement")
    text = done.out.decode()
    assert done.code == WELL, done.said
    assert text.startswith("quick/2 beside quick/1, in its shadow, 20")
    assert "both listened to 19.0 s of 2 sensors; left out: 6.0 s that only the model listened to" in text
    assert "0.375" in text
    assert "0.362" in text


def test_of_a_split_each_arm_has_its_sensors_hours_and_rates(case: Case) -> None:
    report = case.report(case.split)
    assert (report["trial"][0]["mode"], report["trial"][0]["share"]) == ("SPLIT", SHARE)
    listened = report["listened"][0]
    assert {side: listened[side]["sensors"] for side in ("model", "candidate")} == {
        "model": 3,
        "candidate": 2,
    }
    assert listened["model"]["hours"] == pytest.approx(60 / 3600)
    assert listened["candidate"]["hours"] == pytest.approx(40 / 3600)
    (loud,) = (line for line in report["label"] if line["label"] == "loud")
    assert (loud["model"]["sounds"], loud["candidate"]["sounds"]) == (3, 1)
    per_hour, low, high = (loud["model"][name] for name in ("per_hour", "low", "high"))
    assert (per_hour, low, high) == pytest.approx((180.0, 180 * 0.20622, 180 * 2.92242), abs=1e-2)
    assert loud["candidate"]["per_hour"] == pytest.approx(90.0)
    assert loud["p"] > 0.05
    text = case.ask(case.split, "model", "agreement").out.decode()
    assert "model: 3 sensors, 0.02 h; candidate: 2 sensors, 0.01 h" in text
    assert "could be chance" in text


def test_a_time_without_a_trial_is_refused_and_told_what_there_is(case: Case) -> None:
    before = utc_text(case.at_us - 1_000_000)
    done = case.ask(case.shadow, "model", "agreement", "--to", before)
    assert done.code == WRONG_SETTINGS
    assert "a time with one trial: quick/2 beside quick/1, in its shadow" in done.said


def test_with_other_rules_than_the_workers_it_says_that_nobody_has_listened_by_them(case: Case) -> None:
    done = case.ask(case.shadow, "model", "agreement", "-s", "detect.idle_s=4")
    assert "both listened to 0.0 s of 0 sensors" in done.out.decode()
    for side in ("model", "candidate"):
        assert f"no coverage by the {side}'s decision" in done.out.decode()
