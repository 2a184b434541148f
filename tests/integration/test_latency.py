"""Where the time went, on real servers: the parts add up, and who was slow for a moment is named.

Triton   scores ─────────┃ frozen ┃───────── scores
sensors  play ───────────────────────────────────────
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from infra.local.triton_installation import TritonInstallation
from producers.clips import ClipPool
from producers.fleet import FleetSettings
from schemas.detection import Detection, DetectionState
from schemas.latency import LATENCY_HEADER, READINGS, Readings
from tests.integration.commands import BROKEN, Done, run, settings_of
from tests.integration.harness import (
    CODEC,
    DEADLINE_S,
    IDLE_AND_MARGIN_S,
    Appended,
    Programs,
    Tenant,
    play,
    wait_until,
)
from tests.integration.tritons import scored_by, tritons

SENSORS, SECONDS = 16, 14.0
CALM_WINDOWS, FROZEN_S = 40, 2.0
SLOWEST = 5
IN_PROCESS = READINGS[: READINGS.index("decided") + 1]
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Case:
    """What a worker published while its scorer stood still for a moment, and what it measured."""

    where: dict[str, object]
    heard: list[Appended]
    windows: float
    counts: dict[str, float]
    sums_s: dict[str, float]

    @property
    def begun(self) -> list[Appended]:
        """The detections that begin."""
        return [
            record
            for record in self.heard
            if CODEC.decode(Detection, record.value).state is DetectionState.ACTIVE
        ]


@pytest.fixture(scope="module")
def case(
    kafka: KafkaServer,
    triton_installation: TritonInstallation,
    quick_model: Path,
    recordings: ClipPool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("latency")
    tenant, programs = Tenant(kafka.bootstrap_servers, "latency").create(partitions=4), Programs(folder)
    try:
        with tritons(folder / "repository", quick_model, 1) as (triton,):
            # No call is cancelled: Triton 2.51 may stall after that, and here it is only to be slow.
            worker = programs.work(tenant, quick_model, **scored_by([triton], deadline_ms=20_000))
            worker.ready()
            playing = play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS), recordings)
            wait_until(
                lambda: worker.metrics().get("windows_total{SCORED}", 0) > CALM_WINDOWS, "windows are scored"
            )
            triton.freeze()
            wait_until(lambda: worker.metrics()["backlog_seconds"] > FROZEN_S, "windows wait for scores")
            triton.thaw()
            playing.finish()
            wait_until(
                lambda: len(tenant.silent()) == SENSORS, "all are SILENT", IDLE_AND_MARGIN_S + DEADLINE_S
            )
            histogram = "earwitness_latency_seconds"
            yield Case(
                where=settings_of(tenant, quick_model),
                heard=tenant.read(tenant.topics.detections),
                windows=worker.metrics()["windows_total{SCORED}"],
                counts=worker.counts(f"{histogram}_count", "stage"),
                sums_s=worker.counts(f"{histogram}_sum", "stage"),
            )
    finally:
        programs.close()


@pytest.fixture(scope="module")
def told(case: Case) -> Done:
    """What the command says of all of it."""
    return run(case.where, "latency", "--slowest", str(SLOWEST), "--json")


def test_the_parts_of_every_detection_add_up_and_none_is_missing(case: Case) -> None:
    ledgers = [dict(record.headers).get(LATENCY_HEADER) for record in case.begun]
    assert len(ledgers) > SLOWEST
    for written, record in zip(ledgers, case.begun, strict=True):
        assert written is not None
        readings = Readings.from_wire(written).published(record.appended_ms)
        assert tuple(readings.at_us) == READINGS
        lengths_us = {stage.name: stage.length_us for stage in readings.stages()}
        assert sum(lengths_us.values()) == readings.at_us["published"] - readings.at_us["captured"]
        ours = IN_PROCESS[IN_PROCESS.index("fetched") + 1 :]
        assert all(lengths_us[name] >= 0 for name in ours), lengths_us


def test_every_decided_window_is_measured_and_the_stages_add_up_to_the_total(case: Case) -> None:
    stages = [f"{before}_to_{name}" for before, name in pairwise(IN_PROCESS)]
    assert {stage: case.counts[stage] for stage in stages} == dict.fromkeys(stages, case.windows)
    total_s = case.sums_s["captured_to_decided"]
    assert sum(case.sums_s[stage] for stage in stages) == pytest.approx(
        total_s, rel=0, abs=1e-6 * case.windows
    )
    for stage in ("decided_to_sent", "sent_to_published", "captured_to_published"):
        assert case.counts[stage] == len(case.begun)


def test_of_the_slowest_detections_the_scorer_is_to_blame(told: Done) -> None:
    slowest = [line for line in told.lines if line["kind"] == "detection"]
    assert len(slowest) == SLOWEST
    for one in slowest:
        assert one["blame"] == "scored", one
        assert max(one["stages_ms"], key=one["stages_ms"].get) == "scored", one


def test_the_command_measures_every_detection_that_begins(case: Case, told: Done) -> None:
    assert told.code == BROKEN
    (total,) = [line for line in told.lines if line["kind"] == "total"]
    assert (total["count"], total["over"]) == (len(case.begun), True)
    stages = [line["stage"] for line in told.lines if line["kind"] == "stage"]
    assert stages == list(READINGS[1:])
    (left_out,) = [line for line in told.lines if line["kind"] == "left_out"]
    assert (left_out["missing"], left_out["foreign"]) == (0, 0)
    (slow,) = [line for line in told.lines if line["kind"] == "slow"]
    assert slow["blame"]["scored"] >= SLOWEST
    sensors = {CODEC.decode(Detection, record.value).sensor for record in case.begun}
    assert {line["sensor"] for line in told.lines if line["kind"] == "sensor"} == sensors


def test_people_are_told_the_same_and_that_clocks_are_in_it(case: Case) -> None:
    said = run(case.where, "latency", "--slowest", "1")
    text = said.out.decode()
    assert said.code == BROKEN
    assert "blame: scored" in text
    assert "with the sensors' clock offsets" in text
    assert "clocks are behind the broker's" in text


def test_a_range_without_detections_is_said_to_be_empty(case: Case) -> None:
    done = run(case.where, "latency", "--from", "2001-01-01T00:00:00Z", "--to", "2001-01-02T00:00:00Z")
    assert (done.code, done.out) == (BROKEN, b"")
    assert "no detection with a latency header in this range" in done.said
    nobody = run(case.where, "latency", "--sensor", "no-such-*", "--json")
    assert nobody.code == BROKEN
    assert [json.loads(line)["kind"] for line in nobody.out.splitlines()] == ["slow", "left_out"]


def test_whoever_watches_sees_a_waterfall_below_each_detection(case: Case, tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    try:
        watching = programs.run(["watch", "--latency", "--earliest"], case.where)
        watching.said(r" ms: \S appended \(with the sensor's clock offset\) .* scored [\d.]+ .* published")
    finally:
        programs.close()
