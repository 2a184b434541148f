"""Sensors with a window every 100 ms, a scorer that takes 10 ms for each, turns of 3: ten sensors fill it."""

import tracemalloc
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.batch import BatchSettings, Waiting
from processors.course import Course, Stage
from processors.partition import Start
from processors.pipeline import Pipeline
from processors.run import Feed
from processors.shed import SENSORS_KEPT, Turns
from schemas.coverage import Coverage, Outcome
from tests.processors.build import (
    BEGIN_MS,
    CODEC,
    KEY,
    Ear,
    covered,
    decide,
    detections,
    loudness,
    record,
    stream,
)

HOP_MS, SCORE_MS, TURN, BATCH = 100, 10, 3, 8
DEADLINE_MS = 250
PATIENCE_MS = DEADLINE_MS - BATCH * SCORE_MS
ROOM = 10_000
Item = tuple[int, int, int]
"""Sensor, number, when it was appended."""


def turns() -> Turns[Item]:
    return Turns(TURN, lambda item: (item[0], item[2]))


def wait(waiting: Turns[Item], *items: Item) -> None:
    for item in items:
        waiting.feed(Waiting(item, np.zeros(1, np.int16), item[2] / 1000))


def taken(waiting: Turns[Item], most: int = BATCH) -> list[tuple[int, int]]:
    return [x.item[:2] for x in waiting.take(most)]


@dataclass
class Scored:
    """What became of the windows of some sensors: a row of `#` and `.` for each."""

    rows: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    lost_at_ms: list[int] = field(default_factory=list)
    latest_ms: int = 0
    most_waited: int = 0

    def row(self, sensor: int) -> str:
        return "".join(self.rows[sensor][k] for k in sorted(self.rows[sensor]))

    @property
    def lost(self) -> list[int]:
        """How many windows of each sensor were shed."""
        return [self.row(sensor).count(".") for sensor in self.rows]

    @property
    def scored(self) -> int:
        return sum(self.row(sensor).count("#") for sensor in self.rows)


def worked(
    phases_ms: Sequence[int],
    loads: Sequence[tuple[int, int]],
    keep: int = ROOM,
    score_ms: int = SCORE_MS,
) -> Scored:
    """Work through the windows of sensors, one a hop from their phase on.

    `loads` are (how many of the sensors there are, for how many ms), one after another.
    """
    arriving: list[Item] = []
    begin_ms = 0
    for sensors, for_ms in loads:
        arriving += [
            (sensor, at_ms, at_ms)
            for sensor, phase_ms in enumerate(phases_ms[:sensors])
            for at_ms in range(begin_ms + phase_ms, begin_ms + for_ms, HOP_MS)
        ]
        begin_ms += for_ms
    arriving.sort(key=lambda item: item[2])
    waiting, found, scoring, free_ms, at = turns(), Scored(), list[Waiting[Item]](), 0, 0
    for now_ms in range(begin_ms + DEADLINE_MS):
        first = at
        while at < len(arriving) and arriving[at][2] <= now_ms:
            at += 1
        wait(waiting, *arriving[first:at])
        for sensor, number, _ in waiting.shed(now_ms - PATIENCE_MS, keep):
            found.rows[sensor][number] = "."
            found.lost_at_ms.append(now_ms)
        found.most_waited = max(found.most_waited, len(waiting))
        if now_ms >= free_ms:
            for done in scoring:
                found.rows[done.item[0]][done.item[1]] = "#"
                found.latest_ms = max(found.latest_ms, now_ms - done.item[2])
            scoring = waiting.take(BATCH)
            free_ms = now_ms + len(scoring) * score_ms
    return found


PHASES = st.lists(st.integers(0, HOP_MS - 1), min_size=40, max_size=40)


@given(PHASES, st.integers(1, 9))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_nothing_is_shed_while_all_can_be_scored_in_time(phases_ms: list[int], sensors: int) -> None:
    found = worked(phases_ms, [(sensors, 2000)])
    assert found.lost_at_ms == []
    assert found.latest_ms <= DEADLINE_MS


def test_a_burst_that_can_be_scored_in_time_is_not_shed() -> None:
    # 9 sensors in phase: 90 ms of work at once, every 100 ms
    assert worked([0] * 9, [(9, 2000)]).lost_at_ms == []


@given(PHASES, st.integers(15, 40), st.booleans())
@settings(derandomize=True, max_examples=40, deadline=None)
def test_under_too_much_load_all_sensors_lose_the_same_share_in_whole_turns_and_all_is_in_time(
    phases_ms: list[int], sensors: int, in_phase: bool
) -> None:
    length_ms = 6000
    found = worked([0] * 40 if in_phase else phases_ms, [(sensors, length_ms)])
    assert found.latest_ms <= DEADLINE_MS
    assert found.scored >= 0.97 * length_ms / SCORE_MS  # the scorer is never idle for want of a turn
    assert max(found.lost) - min(found.lost) <= 2 * TURN
    # The first turns begin when nothing is too old yet, and the last ones are cut off at the end.
    rows = [found.row(sensor)[2 * TURN : -2 * TURN].strip("#") for sensor in range(sensors)]
    heard = [len(list(of)) for row in rows for outcome, of in groupby(row) if outcome == "#"]
    broken = sum(length for length in heard if length < TURN)
    assert broken <= 0.1 * sum(heard)  # where a batch began more turns than could go on


@given(PHASES, st.booleans())
@settings(derandomize=True, max_examples=20, deadline=None)
def test_all_sensors_lose_the_same_share_where_a_batch_takes_longer_than_windows_may_wait(
    phases_ms: list[int], in_phase: bool
) -> None:
    found = worked([0] * 40 if in_phase else phases_ms, [(40, 20_000)], score_ms=60)
    assert max(found.lost) - min(found.lost) <= 2 * TURN


@given(PHASES, st.booleans())
@settings(derandomize=True, max_examples=20, deadline=None)
def test_at_twice_the_load_what_lasts_for_four_turns_reaches_its_threshold_in_two_of_three_windows(
    phases_ms: list[int], in_phase: bool
) -> None:
    found = worked([0] * 40 if in_phase else phases_ms, [(20, 6000)])
    for sensor in range(20):
        row = found.row(sensor)
        for begin in range(len(row) - 4 * TURN):
            lasts = row[begin : begin + 4 * TURN]
            assert any(lasts[k : k + 3].count("#") >= 2 for k in range(len(lasts)))


def test_when_the_load_falls_nothing_more_is_shed() -> None:
    found = worked([7 * n % HOP_MS for n in range(40)], [(30, 3000), (5, 3000)])
    assert found.lost_at_ms
    assert max(found.lost_at_ms) <= 3000 + 2 * PATIENCE_MS


def test_no_more_wait_than_there_is_room_for_and_the_oldest_go_first() -> None:
    found = worked([0] * 40, [(40, 2000)], keep=12)
    assert found.most_waited == 12
    assert found.scored >= 0.95 * 2000 / SCORE_MS
    waiting = turns()
    wait(waiting, (1, 0, 5), (2, 0, 3), (3, 0, 4), (1, 1, 6))
    assert [item[0] for item in waiting.shed(0, 2)] == [2, 3]
    assert len(waiting) == 2


def test_a_turn_goes_on_before_another_begins_and_then_it_is_last_in_line() -> None:
    waiting = turns()
    wait(waiting, *((sensor, k, 10 * k + sensor) for k in range(4) for sensor in (1, 2)))
    assert taken(waiting, 2) == [(1, 0), (1, 1)]
    assert taken(waiting, 2) == [(1, 2), (2, 0)]
    assert taken(waiting, 9) == [(2, 1), (2, 2), (1, 3), (2, 3)]
    assert len(waiting) == 0


def test_a_sensor_keeps_its_place_while_nothing_of_it_waits() -> None:
    waiting = turns()
    wait(waiting, *((sensor, 0, sensor) for sensor in (1, 2, 3)))
    assert [item[:2] for item in waiting.shed(3, ROOM)] == [(1, 0), (2, 0)]
    wait(waiting, *((3, k, k) for k in (4, 5, 6)))
    assert taken(waiting, 3) == [(3, 0), (3, 4), (3, 5)]
    wait(waiting, (2, 7, 7), (1, 8, 8))
    assert taken(waiting) == [(1, 8), (2, 7), (3, 6)]


def test_a_window_that_is_lost_to_a_turn_counts_for_it() -> None:
    waiting = turns()
    wait(waiting, (1, 0, 0), (2, 0, 5))
    assert taken(waiting, 1) == [(1, 0)]
    wait(waiting, (1, 1, 10), (1, 2, 11), (2, 1, 12))
    assert waiting.shed(12, ROOM) == [(2, 0, 5), (1, 1, 10), (1, 2, 11)]
    wait(waiting, (1, 3, 20))
    assert taken(waiting) == [(2, 1), (1, 3)]


def test_what_was_appended_first_is_the_oldest_whenever_it_came() -> None:
    waiting = turns()
    wait(waiting, (1, 0, 100), (2, 0, 50))
    assert (oldest := waiting.oldest) is not None
    assert oldest.item == (2, 0, 50)
    assert waiting.shed(60, ROOM) == [(2, 0, 50)]
    assert waiting.take(9)
    assert (waiting.oldest, len(waiting), waiting.take(9), waiting.shed(999, 0)) == (None, 0, [], [])


@pytest.mark.parametrize("sensors", [1, 7, 3 * SENSORS_KEPT])
def test_memory_stays_the_same_however_long_all_is_shed_and_whoever_comes_and_goes(sensors: int) -> None:
    waiting, sound = turns(), np.zeros(1, np.int16)

    def shed(first: int, end: int) -> None:
        for at in range(first, end):
            waiting.feed(Waiting((at // 7 % sensors, at, at), sound, 0.0))
            waiting.shed(at - 5, ROOM)
            if sensors > 7:
                waiting.take(1)

    shed(0, 20_000)
    tracemalloc.start()
    try:
        shed(20_000, 60_000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3_000_000


def test_reset_forgets_what_waits_and_whose_turn_it_is() -> None:
    waiting = turns()
    wait(waiting, (1, 0, 0), (1, 1, 1), (2, 0, 2))
    assert taken(waiting, 1) == [(1, 0)]
    waiting.reset()
    assert (len(waiting), waiting.oldest, waiting.take(9)) == (0, None, [])
    wait(waiting, (2, 1, 3), (1, 2, 3))
    assert taken(waiting) == [(2, 1), (1, 2)]


# -- in the pipeline ----------------------------------------------------------------------------------------


def test_what_is_shed_is_covered_as_shed_and_did_not_reach_its_threshold() -> None:
    # windows   0     1     2     3     4          of 8 samples every 4; all is loud, 2 of 3 must reach
    #           #     .     #     #     #          1 is shed
    # active                x     x     x
    pipeline = Pipeline(decide(m=2, n=3), CODEC, BatchSettings(max_windows=1, max_wait_ms=0), sheds=True)
    pipeline.assign({KEY: Start(0, 0)})
    entries, said = stream(0, 24, loud=True), []
    for at, entry in enumerate(entries):
        pipeline.feed(KEY, [entry], Feed(0.0))
        if at == 2:
            assert pipeline.shed(entry.timestamp + 1, -1.0) == 1
        while (batch := pipeline.take(0.0)) is not None:
            pipeline.scored(batch, loudness(batch.pcm), 0.0)
    pipeline.finish()
    said = [output.record for output in pipeline.outputs()]
    assert covered(said) == [(0, 8, "SCORED"), (8, 12, "SHED"), (12, 24, "SCORED")]
    assert {(x.start_sample, x.end_sample) for x in detections(said) if x.end_sample} >= {(8, 24)}


def test_what_was_shed_holds_the_mark_no_longer_than_what_was_scored() -> None:
    pipeline = Pipeline(decide(), CODEC, BatchSettings(max_windows=4, max_wait_ms=0), sheds=True)
    pipeline.assign({KEY: Start(0, 0)})
    pipeline.feed(KEY, stream(0, 44), Feed(0.0))
    assert pipeline.shed(BEGIN_MS + 1000, -1.0) == 10
    for output in pipeline.outputs():
        output.acknowledged()
    scored = Ear(decide())
    scored.hear(*stream(0, 44))
    scored.acknowledge()
    assert pipeline.backlog == 0
    assert pipeline.partitions[KEY].mark() == scored.mark() > 0


def test_a_batch_that_is_not_scored_is_given_up_and_what_comes_of_it_later_is_ignored() -> None:
    pipeline = Pipeline(decide(), CODEC, BatchSettings(max_windows=4, max_wait_ms=0), sheds=True)
    pipeline.assign({KEY: Start(0, 0)})
    pipeline.feed(KEY, stream(0, 12, loud=True), Feed(0.0))
    batch = pipeline.take(5.0)
    assert batch is not None
    assert pipeline.shed(0, 5.0) == 0
    assert pipeline.backlog == 2
    assert pipeline.shed(0, 5.1) == 0  # none of them waited
    assert pipeline.backlog == 0
    pipeline.scored(batch, loudness(batch.pcm), 6.0)
    pipeline.finish()
    said = [output.record for output in pipeline.outputs()]
    assert covered(said) == [(0, 12, "SHED")]
    assert detections(said) == []


def test_where_all_sensors_are_in_phase_there_is_room_for_one_window_of_each() -> None:
    batch = BatchSettings(max_windows=2, max_wait_ms=0, max_backlog_windows=2)
    pipeline = Pipeline(decide(), CODEC, batch, sheds=True)
    pipeline.assign({KEY: Start(0, 0)})
    entries = [
        record(5 * at + n, 4 * at + 4, 4 * at, 4 * at + 4, sensor=b"%d" % n)
        for at in (0, 1, 2)
        for n in range(5)
    ]
    pipeline.feed(KEY, entries[:10], Feed(0.0))
    assert (pipeline.shed(0, -1.0), pipeline.backlog) == (0, 5)
    pipeline.feed(KEY, entries[10:], Feed(0.0))
    assert (pipeline.shed(0, -1.0), pipeline.backlog) == (5, 5)


def test_two_decisions_lose_the_same_share() -> None:
    shares = {"old": 0.8, "new": 0.2}
    old, new = decide(threshold=0.5), decide(threshold=0.6)
    pipeline = Pipeline(old, CODEC, BatchSettings(max_windows=4, max_wait_ms=0), sheds=True)
    pipeline.set_course(KEY[0], Course(old, [Stage(0, old, new, shares["new"])]))
    pipeline.assign({KEY: Start(0, 0)})
    offset = 0
    for at in range(0, 400, 4):
        entries = [record(offset + n, at + 4, at, at + 4, sensor=b"%d" % n, loud=False) for n in range(40)]
        offset += 40
        pipeline.feed(KEY, entries, Feed(at / 1000))
        pipeline.shed(BEGIN_MS + at - 4, -1.0)
        for _ in range(5):  # 20 windows of 40
            batch = pipeline.take(at / 1000)
            if batch is not None:
                pipeline.scored(batch, loudness(batch.pcm), 0.0)
    pipeline.finish()
    samples: dict[str, dict[str, int]] = {digest: defaultdict(int) for digest in (old.digest, new.digest)}
    for output in pipeline.outputs():
        said = output.record
        if covered([said]):
            ((start, end, outcome),) = covered([said])
            samples[said.decision_digest][outcome] += (end or 0) - (start or 0)  # type: ignore[union-attr]
    heard = [of["SCORED"] / (of["SCORED"] + of["SHED"]) for of in samples.values()]
    assert len(heard) == 2
    assert max(heard) - min(heard) < 0.1


def test_at_twice_the_load_a_sound_that_lasts_is_detected_again_and_again_on_every_sensor() -> None:
    pipeline = Pipeline(decide(m=2, n=3), CODEC, BatchSettings(max_windows=5, max_wait_ms=0), sheds=True)
    pipeline.assign({KEY: Start(0, 0)})
    steps, sensors = 120, [f"{n}" for n in range(10)]
    for step in range(steps):
        at = 4 * step
        pipeline.feed(
            KEY,
            [
                record(10 * step + n, at + 4, at, at + 4, sensor=name.encode(), loud=True)
                for n, name in enumerate(sensors)
            ],
            Feed(at / 1000),
        )
        pipeline.shed(BEGIN_MS + at - 4, -1.0)
        batch = pipeline.take(at / 1000)  # 5 windows of 10
        if batch is not None:
            pipeline.scored(batch, loudness(batch.pcm), 0.0)
    pipeline.finish()
    said = [output.record for output in pipeline.outputs()]
    for sensor in sensors:
        own = [x for x in said if isinstance(x, Coverage) and x.sensor == sensor]
        assert len({x.start_sample for x in detections(said) if x.sensor == sensor}) >= steps // 6 - 5
        row = "".join(
            ("#" if x.outcome is Outcome.SCORED else ".")
            * (((x.end_sample or 0) - (x.start_sample or 0)) // 4)
            for x in own
        )
        assert 0.4 <= row.count("#") / steps <= 0.6
        turns_heard = [len(turn) for turn in row.split(".") if turn]
        assert sum(length for length in turns_heard if length >= 3) >= 0.8 * sum(turns_heard)


def test_turns_are_kept_where_most_sensors_have_nothing_waiting() -> None:
    # a window of one of them each ms, six for five that can be scored, each gone after a quarter of a hop
    sensors = SENSORS_KEPT + 200
    waiting, rows = turns(), defaultdict[int, dict[int, str]](dict)
    for now_ms in range(20 * sensors):
        wait(waiting, (now_ms % sensors, now_ms, now_ms))
        for sensor, number, _ in waiting.shed(now_ms - sensors / 4, ROOM):
            rows[sensor][number] = "."
        for sensor, number in taken(waiting, 1 if now_ms % 6 else 0):
            rows[sensor][number] = "#"
    lost = [list(row.values()).count(".") for row in rows.values()]
    assert len(lost) == sensors
    assert max(lost) - min(lost) <= 2 * TURN
