"""Rollouts: which decision counts is a function of the log, whoever is killed when."""

import os
import random
from dataclasses import replace

import pytest

from processors.admission import Sensor
from processors.course import Course, Stage
from processors.decision import Decision
from processors.partition import Partition
from processors.run import Opening
from schemas.rollout import bucket_of
from tests.processors.logs import BEGIN_MS, Entry, make_decision, make_log, seeded
from tests.processors.mutations import Mutant
from tests.processors.oracle import Rolled, oracle
from tests.processors.worker import Workers, judge, scan_from

LOGS = int(os.environ.get("EARWITNESS_TEST_LOGS", "100"))
LOGS_A_TEST = 10
MUTANT_LOGS = 60


def other(r: random.Random, decision: Decision) -> Decision:
    """Draw another model, with the same rules: those are the worker's."""
    drawn = make_decision(r).spec
    return Decision(drawn.model_copy(update={"version": str(r.randint(2, 9))}), decision.rules)


def make_stages(r: random.Random, decision: Decision, log: list[Entry]) -> list[Stage]:
    """Draw one to four rollouts in the time of a log: to all sensors, to a share of them, to nothing."""
    stages = []
    for _ in range(r.randint(1, 4)):
        at_ms = r.choice(log).timestamp + r.choice((0, 0, 1, 5))
        model = r.choice((decision, other(r, decision), other(r, decision), None))
        if r.random() < 0.4:
            stages.append(Stage(at_ms, model, r.choice((decision, other(r, decision))), r.random()))
        else:
            stages.append(Stage(at_ms, model))
    return sorted(stages, key=lambda stage: stage.at_ms)


def differences(seed: int, pipeline: type[Mutant] = Mutant) -> list[str]:
    """Read the log with this seed; return in what way the workers' words differ from the oracle's."""
    r = seeded(seed)
    decision, log = make_decision(r), make_log(r)
    stages = make_stages(r, decision, log)
    rolled: Rolled = [(s.at_ms, s.decision, s.candidate, s.share) for s in stages]
    reading = Workers(log, decision, r, pipeline, scan_from, Course(decision, stages)).run()
    return judge(log, oracle(log, decision, rolled), reading)


@pytest.mark.parametrize("first_seed", range(0, LOGS, LOGS_A_TEST))
def test_with_rollouts_the_union_of_what_killed_workers_say_is_what_an_observer_of_the_whole_log_says(
    first_seed: int,
) -> None:
    for seed in range(first_seed, min(LOGS, first_seed + LOGS_A_TEST)):
        assert differences(seed) == [], f"seed {seed}"


class _GoesBack(Partition):
    """Decides by the frame's own append time, though the clock may have stepped back."""

    def _decide(self, sensor: Sensor, now_ms: int, opening: Opening | None) -> Opening | None:
        sensor.latest_ms = now_ms
        return super()._decide(sensor, now_ms, opening)


class _GoesOn(Partition):
    """Lets a run go on under the decision that it began with."""

    def _decide(self, sensor: Sensor, now_ms: int, opening: Opening | None) -> Opening | None:
        before = sensor.decision
        super()._decide(sensor, now_ms, opening)
        if opening is None:
            sensor.decision = before
        return opening


class _HasNotSeen(Partition):
    """Takes a sensor over as if the switch had not been seen in the scan."""

    def _decide(self, sensor: Sensor, now_ms: int, opening: Opening | None) -> Opening | None:
        if sensor.run is None and self.position - 1 >= self._start:
            sensor.decision = self._decision
        return super()._decide(sensor, now_ms, opening)


@pytest.mark.parametrize("broken", [_GoesBack, _GoesOn, _HasNotSeen])
def test_a_worker_that_breaks_a_rule_of_rollouts_is_noticed_within_sixty_logs(
    broken: type[Partition],
) -> None:
    kind = type("Broken", (Mutant,), {"PARTITION": broken})
    assert any(differences(seed, kind) for seed in range(MUTANT_LOGS))


def test_of_two_rollouts_that_begin_at_once_the_one_written_last_counts() -> None:
    r = seeded(1)
    first = make_decision(r)
    one, two = other(r, first), other(r, first)
    course = Course(first, [Stage(BEGIN_MS, one), Stage(BEGIN_MS, two)])
    assert course.decision(0.5, BEGIN_MS - 1) is first
    assert course.decision(0.5, BEGIN_MS) is two


def test_a_share_that_grows_keeps_the_sensors_that_it_had() -> None:
    buckets = [bucket_of(f"sensor-{number}".encode()) for number in range(10_000)]
    r = seeded(2)
    model, candidate = make_decision(r), other(r, make_decision(r))
    small = Stage(0, model, candidate, 0.1)
    large = replace(small, share=0.3)
    chosen = {at for at, bucket in enumerate(buckets) if small.decision_for(bucket) is candidate}
    more = {at for at, bucket in enumerate(buckets) if large.decision_for(bucket) is candidate}
    assert chosen < more
    assert len(chosen) == pytest.approx(1000, abs=100)
    assert len(more) == pytest.approx(3000, abs=200)


def test_what_counts_since_a_time_is_the_stage_that_had_begun_and_those_that_follow() -> None:
    r = seeded(3)
    first = make_decision(r)
    stages = [Stage(BEGIN_MS + 10 * number, other(r, first)) for number in range(3)]
    course = Course(first, stages)
    assert [stage.decision for stage in course.since(BEGIN_MS - 1)] == [first, *(s.decision for s in stages)]
    assert list(course.since(BEGIN_MS + 10)) == stages[1:]
