"""Mutated records through a real worker: a frame or a dead letter with its reason, and nobody else minds.

`EARWITNESS_FUZZ_RECORDS=100000 python -m pytest tests/fuzz/test_fuzz_worker.py -s` prints a larger table.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from schemas.detection import Detection
from tests.fuzz.judge import Verdict
from tests.fuzz.run import (
    GOOD_SENSORS,
    PARTITIONS,
    READ_WITHIN_S,
    Outcome,
    Run,
    copy_good,
    good_coverage,
    good_detections,
)
from tests.integration.commands import settings_of
from tests.integration.harness import Programs, Tenant, Timeline, timelines, wait_until
from tests.integration.quick_model import write_quick_model

RECORDS = int(os.environ.get("EARWITNESS_FUZZ_RECORDS", "2000"))
MOST_GROWTH_MB = 400
"""Forty-eight sensors, some of 384 kHz, with a hundred windows in the longest of frames; a leak is more."""
READERS = (
    ("dead-letters", "list", "--json"),
    ("sensors", "--json"),
    ("doctor", "--json"),
    ("replay", "--json", "--jobs", "1"),
    ("timeline", "--sensor", "fuzz-1", "--from", "-10m"),
)
ENDS_WELL = {0, 1, 3}
"""Well, broken, warnings: what a command may say of such a topic. 2 is wrong usage, others a crash."""
pytestmark = pytest.mark.timeout(600 + RECORDS // 20)


@dataclass(frozen=True, slots=True)
class Case:
    """What a worker said beside mutants, and what one said of the good sensors alone."""

    tenant: Tenant
    model: Path
    beside: Outcome
    detections: dict[str, Detection]
    heard: dict[tuple[str, str], Timeline]


@pytest.fixture(scope="module")
def case(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    model = write_quick_model(tmp_path_factory.mktemp("model") / "quick")
    tenant = Tenant(kafka.bootstrap_servers, "fuzz").create(PARTITIONS)
    alone = Tenant(kafka.bootstrap_servers, "fuzz-alone").create(PARTITIONS)
    programs = Programs(tmp_path_factory.mktemp("fuzz"))
    try:
        beside = Run.begin(tenant, programs, model).go(RECORDS)
        _print(beside)
        yield _case(tenant, alone, programs, model, beside)
    finally:
        programs.close()


def _case(tenant: Tenant, alone: Tenant, programs: Programs, model: Path, beside: Outcome) -> Case:
    copy_good(tenant, alone)
    worker = programs.work(alone, model)
    wait_until(lambda: len(alone.silent()) == GOOD_SENSORS, "the good sensors were heard alone")
    worker.terminate()
    detections, heard = good_detections(alone), timelines(good_coverage(alone))
    return Case(tenant, model, beside, detections, heard)


def _print(found: Outcome) -> None:
    reasons = Counter(told.exception for told in found.letters.values())
    print(
        f"\n{sum(found.kinds.values())} mutants in {found.seconds:.1f} s: {dict(found.kinds.most_common())}"
    )
    print("as judged:", dict(Counter(str(verdict) for verdict in found.verdicts.values())))
    for reason, count in reasons.most_common():
        print(f"{reason:24} {count:7}")
    print("worker, MB:", {name: round(mb) for name, mb in found.memory_mb.items()})
    print("good sensors, p50 ms:", {name: round(ms, 1) for name, ms in found.latency_ms.items()})


def test_every_mutant_is_a_frame_or_a_dead_letter_as_the_rules_say(case: Case) -> None:
    judged = case.beside.verdicts
    may_be = {place for place, verdict in judged.items() if verdict is Verdict.EITHER}
    broken = {place for place, verdict in judged.items() if verdict is Verdict.LETTER}
    assert len(judged) >= RECORDS
    assert case.beside.letters.keys() - may_be == broken
    assert len(broken) > RECORDS / 3
    assert case.beside.letters_appended == len(case.beside.letters)


def test_every_dead_letter_has_a_reason_and_the_bytes_of_its_place(case: Case) -> None:
    for place, told in case.beside.letters.items():
        assert (told.key, told.value) == case.beside.sent[place], place
        assert told.exception.endswith("Error")
        assert told.message


def test_the_worker_neither_ends_nor_starts_anew_nor_grows_beyond_bounds(case: Case) -> None:
    memory_mb = case.beside.memory_mb
    assert case.beside.exit_status == 0
    assert case.beside.assignments == PARTITIONS
    assert "Traceback" not in case.beside.log
    assert memory_mb["most"] - memory_mb["before"] < MOST_GROWTH_MB, memory_mb


def test_good_sensors_are_heard_as_if_there_were_no_mutants(case: Case) -> None:
    assert len(case.heard) == GOOD_SENSORS
    assert case.beside.heard == case.heard
    assert len(case.detections) > GOOD_SENSORS
    assert _without_place(case.beside.detections) == _without_place(case.detections)


def _without_place(detections: dict[str, Detection]) -> dict[str, Detection]:
    nowhere = {"topic": "", "first_offset": 0, "last_offset": 0}
    return {id_: replace(detection, **nowhere) for id_, detection in detections.items()}  # type: ignore[arg-type]


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
def test_whoever_reads_such_a_topic_gets_to_its_end(
    case: Case, words: tuple[str, ...], tmp_path: Path
) -> None:
    programs = Programs(tmp_path)
    try:
        reading = programs.run(words, settings_of(case.tenant, case.model))
        assert reading.process.wait(READ_WITHIN_S)
        assert reading.process.exit_status in ENDS_WELL, reading.log[-4000:]
        assert "Traceback" not in reading.log
    finally:
        programs.close()


def test_watching_from_the_start_survives(case: Case, tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    try:
        where = settings_of(case.tenant, case.model)
        last = max(case.beside.detections.values(), key=lambda found: found.start_us)
        ways = (("watch", "--json", "--earliest"), last.id), (("watch", "--earliest"), last.sensor)
        started = [(programs.run(words, where), said) for words, said in ways]
        for watching, said in started:
            watching.said(said)
            watching.terminate()
            assert "Traceback" not in watching.log
    finally:
        programs.close()
