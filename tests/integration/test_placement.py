"""Where a sensor is heard: on one worker, under one partition number; who joins or leaves moves what it must.

    workers   1 and 2     3 joins     3 freezes     3 is back     1 leaves     4, 5 and 6 join
    hold      6 6         4 4 4       6 6           4 4 4           6 6          3 3 2 2 2

Sound is played while there are two; who holds what is what each worker says at /metrics.
"""

import os
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from producers.clips import ClipPool
from producers.fleet import FleetReport, FleetSettings
from tests.integration.harness import IDLE_AND_MARGIN_S, Appended, Programs, Tenant, Worker, play, wait_until
from tests.integration.undisturbed import all_is_said

PARTITIONS, SENSORS, SECONDS, SPEED = 12, 24, 8.0, 2.0
Holding = list[set[int]]
"""By worker, the partitions that it holds."""


@dataclass(frozen=True, slots=True)
class Case:
    """What two workers said of one log, and who held what as workers came and went."""

    tenant: Tenant
    report: FleetReport
    published: list[dict[str, float]]
    """By worker: by topic, how many records it says that it has published."""
    two: Holding
    joined: Holding
    frozen: Holding
    thawed: Holding
    left: Holding
    crowded: Holding


@pytest.fixture(scope="module")
def case(
    kafka: KafkaServer, quick_model: Path, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    tenant = Tenant(kafka.bootstrap_servers, "placement").create(PARTITIONS)
    programs = Programs(tmp_path_factory.mktemp("placement"))
    try:
        yield _case(tenant, programs, quick_model, recordings)
    finally:
        programs.close()


def _case(tenant: Tenant, programs: Programs, model: Path, recordings: ClipPool) -> Case:
    workers = [programs.work(tenant, model), programs.work(tenant, model)]
    two = _holding(workers)
    playing = play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS, speed=SPEED), recordings)
    report = playing.finish()
    wait_until(lambda: all_is_said(tenant, report), "all runs are closed", IDLE_AND_MARGIN_S + 60)
    published = [worker.counts("earwitness_published_total", "topic") for worker in workers]
    assert _holding(workers) == two, "they were disturbed"
    first, second, third = workers = [*workers, programs.work(tenant, model)]
    joined = _holding(workers)
    os.kill(third.process.pid, signal.SIGSTOP)
    frozen = _holding([first, second])
    os.kill(third.process.pid, signal.SIGCONT)
    thawed = _holding(workers)
    first.terminate()
    left = _holding([second, third])
    crowded = _holding([second, third, *(programs.work(tenant, model) for _ in range(3))])
    return Case(tenant, report, published, two, joined, frozen, thawed, left, crowded)


def _holding(workers: Sequence[Worker]) -> Holding:
    """Wait until these workers hold all partitions between them, and say who holds which."""
    found: Holding = []

    def all_held() -> bool:
        found[:] = [_held_by(worker) for worker in workers]
        return all(found) and sorted(n for held in found for n in held) == list(range(PARTITIONS))

    wait_until(all_held, f"{len(workers)} workers hold each partition once")
    return found


def _held_by(worker: Worker) -> set[int]:
    worker.ready()
    places = worker.counts("earwitness_position_lag_records", "partition")
    return {int(found[1]) for place in places if (found := re.search(r"\[(\d+)\]$", place))}


@pytest.mark.timeout(300)
def test_all_that_is_said_of_a_sensor_has_the_partition_number_of_its_frames(case: Case) -> None:
    topics = case.tenant.topics
    frames = _places(case.tenant.read(topics.frames))
    assert len(frames) == SENSORS
    assert {len(numbers) for numbers in frames.values()} == {1}
    for topic in (topics.coverage, topics.detections, topics.sensors):
        assert _places(case.tenant.read(topic)) == frames


def _places(records: Sequence[Appended]) -> dict[bytes, set[int]]:
    found: dict[bytes, set[int]] = {}
    for record in records:
        if record.key is not None:  # a tick has none
            found.setdefault(record.key, set()).add(record.partition)
    return found


def test_all_that_is_said_of_a_sensor_is_said_by_the_worker_that_reads_its_frames(case: Case) -> None:
    topics = case.tenant.topics
    for topic in (topics.coverage, topics.detections):
        records = case.tenant.read(topic)
        in_its_own = [sum(record.partition in held for record in records) for held in case.two]
        assert all(in_its_own)
        assert in_its_own == [said[topic] for said in case.published]


def test_a_worker_that_joins_gets_its_share_and_the_others_keep_the_rest(case: Case) -> None:
    assert _sizes(case.two) == [6, 6]
    assert _sizes(case.joined) == [4, 4, 4]
    assert _kept(case.two, case.joined) == [4, 4]


def test_a_worker_that_was_frozen_gets_its_share_of_what_others_have_taken_over(case: Case) -> None:
    assert _sizes(case.frozen) == [6, 6]
    assert _kept(case.joined, case.frozen) == [4, 4]
    assert _sizes(case.thawed) == [4, 4, 4]
    assert _kept(case.frozen, case.thawed) == [4, 4]


def test_those_that_stay_keep_all_that_they_had_and_share_what_is_left_behind(case: Case) -> None:
    assert _sizes(case.left) == [6, 6]
    assert _kept(case.thawed[1:], case.left) == [4, 4]


def test_where_partitions_do_not_divide_evenly_nobody_is_left_without(case: Case) -> None:
    """Faust's own rule would leave the fifth worker with none, or one with less than its share."""
    assert sorted(_sizes(case.crowded)) == [2, 2, 2, 3, 3]
    assert _kept(case.left, case.crowded) == _sizes(case.crowded)[:2]


def _sizes(holding: Holding) -> list[int]:
    return [len(held) for held in holding]


def _kept(before: Holding, after: Holding) -> list[int]:
    """Return how many of its partitions each worker still has, of those that were there before."""
    return [len(had & has) for had, has in zip(before, after, strict=False)]
