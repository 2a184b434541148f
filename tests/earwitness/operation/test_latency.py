"""How long each stage took against its target: which is over, who is slowest, what a clock adds."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from confluent_kafka import Producer

from earwitness.analysis.wanted import Wanted
from earwitness.operation.health import Severity
from earwitness.operation.latency import (
    Ledger,
    Timed,
    figures,
    ledger_lines,
    over,
    read_ledger,
)
from earwitness.operation.waterfall import BAR_CELLS, waterfall
from earwitness.watch import Published
from processors.log import LogReader
from schemas.codec import Codec
from schemas.detection import DetectionState
from schemas.latency import LATENCY_HEADER, READINGS, TARGETS_MS, Readings
from tests.processors.shell import DEADLINE_S, TOPICS, broker_with_topics
from tests.processors.test_publish import ACTIVE

BEGIN_US = ACTIVE.end_us
QUICK_MS = tuple(TARGETS_MS.values())


def took(*lengths_ms: float) -> Readings:
    """Return readings of stages that took so long."""
    at_us = [BEGIN_US + round(1000 * ms) for ms in accumulate(lengths_ms, initial=0.0)]
    return Readings(dict(zip(READINGS, at_us, strict=True)))


def slow_in(stage: str, more_ms: float) -> Readings:
    """Return readings of which one stage took longer than its target, and all others as long."""
    return took(*(ms + (more_ms if name == stage else 0) for name, ms in TARGETS_MS.items()))


def timed(readings: Readings, sensor: str = "roof") -> Timed:
    found = replace(ACTIVE, sensor=sensor)
    return Timed(Published(found, readings.at_us["published"] // 1000, 7, "tiny", readings), readings)


def ledger(*found: Readings) -> Ledger:
    return Ledger([timed(one) for one in found], missing=0, foreign=0)


def test_what_takes_as_long_as_it_may_is_within_its_target() -> None:
    found = figures([timed(took(*QUICK_MS))])
    assert [one.stage for one in found] == [*TARGETS_MS, "total"]
    assert [one.level for one in found] == [Severity.OK] * 10
    assert over(found) == []


def test_the_stage_whose_middle_is_over_is_named_worst_first_and_is_a_warning() -> None:
    found = figures(timed(took(4, 8, 0.5, 0.5, 5, 7, 0.5, 0.5, 2)) for _ in range(3))
    assert [one.stage for one in over(found)] == ["fetched", "scored"]
    levels = {one.stage: one.level for one in found}
    assert {stage for stage, level in levels.items() if level is Severity.WARN} == {"fetched", "scored"}
    assert levels["total"] is Severity.OK


def test_a_total_that_is_over_in_the_middle_or_for_one_in_a_hundred_is_broken() -> None:
    *_, middle = figures([timed(slow_in("scored", 4.0))])
    *_, tail = figures([timed(took(*QUICK_MS))] * 90 + [timed(slow_in("scored", 50.0))] * 10)
    assert (middle.p50_ms, middle.level) == (31.0, Severity.BROKEN)
    assert (tail.p50_ms, tail.p99_ms, tail.level) == (27.0, 77.0, Severity.BROKEN)


def test_quantiles_are_those_of_all_detections() -> None:
    found = figures(timed(slow_in("sent", ms)) for ms in range(101))
    (sent,) = [one for one in found if one.stage == "sent"]
    assert (sent.count, sent.p50_ms, sent.p90_ms, sent.p99_ms, sent.max_ms) == (101, 50.5, 90.5, 99.5, 100.5)


def test_a_reading_that_nobody_took_joins_two_stages_and_their_targets() -> None:
    at_us = dict(took(*QUICK_MS).at_us)
    for name in ("fetched", "decoded", "windowed"):
        del at_us[name]
    found = figures([timed(Readings(at_us))])
    (batched,) = [one for one in found if one.stage == "batched"]
    assert (batched.before, batched.p50_ms, batched.target_ms) == ("appended", 12.0, 12.0)


def test_stages_stand_in_their_order_though_the_first_header_lacks_some() -> None:
    whole = took(*QUICK_MS)
    read_late = {
        name: at for name, at in whole.at_us.items() if name not in ("fetched", "decoded", "windowed")
    }
    found = figures([timed(Readings(read_late)), timed(whole)])
    joined = [("appended", "batched"), ("windowed", "batched")]
    ways = list(pairwise(READINGS))
    assert [(one.before, one.stage) for one in found[:-1]] == [*ways[:4], *joined, *ways[5:]]


def test_the_slowest_come_first_and_name_what_is_to_blame() -> None:
    all_of_them = ledger(took(*QUICK_MS), slow_in("scored", 90), slow_in("fetched", 40), slow_in("sent", 60))
    assert [one.as_json()["blame"] for one in all_of_them.slowest(2)] == ["scored", "sent"]
    assert all_of_them.blamed() == {"scored": 1, "sent": 1, "fetched": 1}


def test_a_sensors_clock_is_estimated_by_its_quickest_detection_the_farthest_off_first() -> None:
    near = [timed(slow_in("appended", ms), "near") for ms in (9.0, 1.0, 4.0)]
    ahead = [timed(slow_in("appended", ms), "ahead") for ms in (-3004.0, -2004.0)]
    offsets = Ledger([*near, *ahead], 0, 0).offsets_ms()
    assert list(offsets.items()) == [("ahead", -3000.0), ("near", 5.0)]


def test_json_is_one_object_a_line_of_every_kind() -> None:
    slow = ledger(took(*QUICK_MS), slow_in("scored", 90))
    lines = [json.loads(line) for line in ledger_lines(slow, slowest=1)]
    kinds = [line["kind"] for line in lines]
    assert kinds == [*["stage"] * 9, "total", "sensor", "detection", "slow", "left_out"]
    (detection,) = [line for line in lines if line["kind"] == "detection"]
    assert detection["total_ms"] == sum(detection["stages_ms"].values()) == 117.0
    assert lines[-2] == {"kind": "slow", "over_ms": 60.0, "blame": {"scored": 1}}


# -- reading ------------------------------------------------------------------------------------------------


def append(
    broker: str,
    found: Sequence[tuple[str, DetectionState, bytes | None]],
    at_ms: int = BEGIN_US // 1000 + 27,
) -> None:
    """Append detections of sensors, each with what its header says: 27 ms after their windows' end."""
    producer = Producer({"bootstrap.servers": broker, "log_level": 0})
    for sensor, state, header in found:
        headers: list[tuple[str, str | bytes | None]] = [] if header is None else [(LATENCY_HEADER, header)]
        value = Codec().encode(replace(ACTIVE, sensor=sensor, state=state))
        producer.produce(TOPICS.detections, value, sensor.encode(), 1, timestamp=at_ms, headers=headers)
    assert producer.flush(DEADLINE_S) == 0


def test_detections_that_begin_are_read_and_those_without_a_header_of_ours_are_counted() -> None:
    ours = took(*QUICK_MS)
    header = Readings({name: at for name, at in ours.at_us.items() if name != "published"}).to_wire()
    active, ended = DetectionState.ACTIVE, DetectionState.ENDED
    said = [
        ("hall-1", active, header),
        ("hall-1", ended, header),
        ("hall-2", active, header),
        ("hall-2", active, None),
        ("hall-2", active, b"soon"),
        ("hall-2", active, b""),
        ("roof", active, header),
    ]
    with broker_with_topics() as broker, LogReader({"bootstrap.servers": broker}) as reader:
        append(broker, said)
        found = read_ledger(reader, TOPICS.detections, Codec(), Wanted(("hall-*",)))
    assert [one.published.detection.sensor for one in found.timed] == ["hall-1", "hall-2"]
    assert [one.readings for one in found.timed] == [ours, ours]
    assert (found.missing, found.foreign) == (1, 2)


@pytest.mark.parametrize("at_ms", [1 << 60, -1], ids=["past all calendars", "before 1970"])
def test_an_append_time_that_makes_no_sense_is_read_as_it_is(at_ms: int) -> None:
    header = Readings({"captured": BEGIN_US, "appended": BEGIN_US, "sent": BEGIN_US}).to_wire()
    with broker_with_topics() as broker, LogReader({"bootstrap.servers": broker}) as reader:
        append(broker, [("roof", DetectionState.ACTIVE, header)], at_ms)
        found = read_ledger(reader, TOPICS.detections, Codec(), Wanted())
    assert [one.published.appended_ms for one in found.timed] == [at_ms]
    total, *_ = [json.loads(line) for line in ledger_lines(found, slowest=1) if '"total"' in line]
    assert total["max_ms"] == at_ms - BEGIN_US / 1000


# -- the waterfall ------------------------------------------------------------------------------------------


def test_the_bar_is_as_long_as_the_whole_and_its_parts_as_the_stages() -> None:
    # appended, fetched, batched and scored are as 1 : 2 : 1 : 4; the others take no time
    drawn = waterfall(took(12, 24, 0, 0, 12, 48, 0, 0, 0)).plain
    bar, total, *_ = drawn.split()
    eighth = BAR_CELLS // 8
    assert bar == "░" * eighth + "▒" * 2 * eighth + "▓" * eighth + "█" * 4 * eighth
    assert total == "96.0"


def test_a_stage_that_a_clock_makes_negative_is_said_and_has_no_cells() -> None:
    drawn = waterfall(slow_in("appended", -3004.0)).plain
    assert "appended (with the sensor's clock offset) -3000.0" in drawn
    assert " -2977.0 ms:" in drawn
    assert len(drawn.split()[0]) == BAR_CELLS


@pytest.mark.parametrize("stage", TARGETS_MS)
def test_the_stage_to_blame_is_bold(stage: str) -> None:
    drawn = waterfall(slow_in(stage, 9.0))
    (bold,) = [drawn.plain[span.start : span.end] for span in drawn.spans if "bold" in str(span.style)]
    assert stage in bold
