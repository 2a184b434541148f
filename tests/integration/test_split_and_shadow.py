"""A model in the shadow of another, then on a share of the sensors: who is heard by which."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from producers.clips import ClipPool
from producers.fleet import FleetReport, FleetSettings
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection
from tests.integration.commands import WELL, run, settings_of
from tests.integration.harness import IDLE_AND_MARGIN_S, Programs, Tenant, play, unended, wait_until
from tests.integration.quick_model import write_quick_model
from tests.integration.undisturbed import Said, all_is_said, first_samples, undisturbed

PARTITIONS, SENSORS, SECONDS = 4, 16, 50.0
SHADOW_IN_S, BETWEEN_S, SHARE = 14.0, 22.0, 0.5
HOP_S = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """One log with a shadow from `shadow_ms` and a split from `split_ms`, and all that was said of it."""

    tenant: Tenant
    report: FleetReport
    shadow_ms: int
    split_ms: int
    said: Said
    undisturbed: Said
    shadow: Said
    shadow_published: dict[str, float]
    """By topic, how many records the shadow's worker says that it has published."""


@pytest.fixture(scope="module")
def case(
    kafka: KafkaServer, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    catalogue = tmp_path_factory.mktemp("catalogue")
    write_quick_model(catalogue / "quick" / "1")
    write_quick_model(catalogue / "quick" / "2", version="2", loud_at=1600.0)
    tenant = Tenant(kafka.bootstrap_servers, "split").create(PARTITIONS)
    programs = Programs(tmp_path_factory.mktemp("split"))
    try:
        yield _case(tenant, programs, catalogue, recordings)
    finally:
        programs.close()


def _case(tenant: Tenant, programs: Programs, catalogue: Path, recordings: ClipPool) -> Case:
    model, own = catalogue / "quick" / "1", {"model__catalogue": catalogue}
    live = programs.work(tenant, model, **own)
    shadow = programs.work(tenant, model, topics__shadow=True, worker__group="split-shadow", **own)
    live.ready()
    shadow.ready()
    playing = play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS), recordings)
    shadow_s = _announce(tenant, catalogue, "--shadow", "--in", str(SHADOW_IN_S))
    left_s = shadow_s + BETWEEN_S - time.time()
    split_s = _announce(tenant, catalogue, "--share", str(SHARE), "--in", f"{left_s:.3f}")
    report = playing.finish()
    wait_until(lambda: all_is_said(tenant, report), "all runs are closed", IDLE_AND_MARGIN_S + 60)
    wait_until(lambda: not unended(_shadow(tenant).detections), "the shadow has ended")
    said = Said.of(tenant)
    published = shadow.counts("earwitness_shadow_published_total", "topic")
    never = undisturbed(tenant, programs, model, report, **own)
    at_ms = round(shadow_s * 1000), round(split_s * 1000)
    return Case(tenant, report, *at_ms, said, never, _shadow(tenant), published)


def _shadow(tenant: Tenant) -> Said:
    detections, coverage = tenant.topics.shadows
    return Said(tenant.decoded(Detection, detections), tenant.decoded(Coverage, coverage))


def _announce(tenant: Tenant, catalogue: Path, *how: str) -> float:
    where = {**settings_of(tenant, catalogue / "quick" / "1"), "model.catalogue": catalogue}
    done = run(where, "model", "rollout", "quick", "2", "--json", *how)
    assert done.code == WELL, done.said
    (line,) = done.lines
    assert (line["model"], line["candidate"]) == ("quick/1", "quick/2")
    return datetime.fromisoformat(line["from"]).timestamp()


@pytest.mark.timeout(600)
def test_a_fresh_group_says_the_same_of_the_same_log(case: Case) -> None:
    said, again = set(case.said.detections), set(case.undisturbed.detections)
    assert len(again) > 5 * SENSORS
    assert (again - said, said - again) == (set(), set())


def test_the_share_is_heard_by_the_candidate_from_the_split_on_and_the_others_never(case: Case) -> None:
    at = first_samples(case.tenant, case.split_ms)
    chosen = {name for name in at if int(hashlib.sha256(name.encode()).hexdigest()[:13], 16) / 16**13 < SHARE}
    assert 0 < len(chosen) < SENSORS
    for found in case.said.detections:
        by_candidate = found.sensor in chosen and found.start_sample >= at[found.sensor]
        assert found.model_version == ("2" if by_candidate else "1"), found
    assert {found.sensor for found in case.said.detections if found.model_version == "2"} == chosen


def test_the_shadow_hears_every_sensor_from_its_time_to_the_split_and_says_so_apart(case: Case) -> None:
    begin, end = first_samples(case.tenant, case.shadow_ms), first_samples(case.tenant, case.split_ms)
    assert {found.sensor for found in case.shadow.coverage} == set(begin)
    assert {found.model_version for found in case.shadow.detections} == {"2"}
    assert {found.sensor for found in case.shadow.detections} == set(begin)
    for name in begin:
        of_it = [one for one in case.shadow.coverage if one.sensor == name]
        assert min(one.start_sample or 0 for one in of_it) == begin[name]
        assert max(one.end_sample or 0 for one in of_it) == end[name]
        scored = sum(
            (one.end_sample or 0) - (one.start_sample or 0) for one in of_it if one.outcome is Outcome.SCORED
        )
        assert scored >= end[name] - begin[name] - 2 * HOP_S * 16_000


def test_the_shadow_says_nothing_of_who_is_there_and_does_not_cut_what_the_model_hears(case: Case) -> None:
    at = first_samples(case.tenant, case.shadow_ms)
    over = [d for d in case.said.coverage if (d.start_sample or 0) < at[d.sensor or ""] < (d.end_sample or 0)]
    assert {one.sensor for one in over} == set(at)
    published = {name for name, count in case.shadow_published.items() if count}
    assert published == set(case.tenant.topics.shadows)
