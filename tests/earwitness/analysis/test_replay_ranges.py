"""Whatever range of whichever sensors is replayed: inside it all is as if the whole log had been heard.

The random logs have gaps, jumps, pauses, epochs, late frames, changes of rate, heads that retention has cut
and clocks that step back; some have rollouts, which change what decides. `EARWITNESS_TEST_LOGS` sets how many
are read; each is named by its seed.
"""

import os
import random
from collections.abc import Sequence
from typing import cast

import pytest

from earwitness.analysis.lookup import Lookup
from earwitness.analysis.plan import InRange, Plan, plan
from earwitness.analysis.wanted import TimeBase, Wanted
from processors.batch import BatchSettings
from processors.course import Course, Stage
from processors.decision import Decision
from processors.log import LogReader, Record
from processors.partition import Start
from processors.pipeline import Pipeline
from processors.replay import Replayer, deciding, lead_s, settled_s, start_of, tail_s
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.errors import ConfigurationError
from schemas.topics import Topics
from tests.earwitness.analysis.memory_log import MemoryLog
from tests.processors.logs import BEGIN_MS, CODEC, Entry, make_decision, make_log, score, seeded
from tests.processors.test_course import make_stages

LOGS = int(os.environ.get("EARWITNESS_TEST_LOGS", "100"))
LOGS_A_TEST = 10
RANGES = 6
TOPICS = Topics()
KEY = (TOPICS.frames, 0)
Said = Detection | Coverage


@pytest.fixture(autouse=True)
def _logs_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The room that is left for late frames would hold the whole of these logs."""
    monkeypatch.setattr("earwitness.analysis.plan.LATE_S", 0.0)


def log_of(entries: Sequence[Entry]) -> list[Record]:
    """Return a log as it is read."""
    return [
        Record(*KEY, entry.offset, entry.timestamp, entry.key, entry.value, tuple(entry.headers))
        for entry in entries
    ]


def hear(
    decision: Decision, course: Course, records: Sequence[Record], start: Start, wanted: Wanted
) -> list[Said]:
    """Return the detections and coverage of some records, with nothing closed but by the log itself."""
    pipeline = Pipeline(decision, CODEC, BatchSettings(max_windows=7, max_wait_ms=0))
    pipeline.set_course(TOPICS.frames, course)
    replayer = Replayer(
        pipeline, CODEC, lambda _, pcm: score(pcm), lambda key: wanted.names(str(key, "utf-8", "replace"))
    )
    outputs = replayer.run({KEY: start}, records)
    return [output.record for output in outputs if isinstance(output.record, Said)]


def coverage_topic(said: Sequence[Said], last_ms: int) -> list[Record]:
    """Return what a worker has published about the whole log."""
    records = [one for one in said if isinstance(one, Coverage) and one.sensor is not None]
    return [
        Record(TOPICS.coverage, 0, at, last_ms, str(one.sensor).encode(), CODEC.encode(one), ())
        for at, one in enumerate(records)
    ]


def draw(r: random.Random, said: Sequence[Said]) -> Wanted:
    """Draw some sensors and a range of their time, or of the broker's."""
    heard = [one for one in said if isinstance(one, Coverage) and one.start_us is not None]
    one = r.choice(heard)
    begin_us = (one.start_us or 0) + r.randint(-60_000, 60_000)
    end_us = begin_us + r.randint(1, 400_000)
    sensors = r.choice(((str(one.sensor),), (str(one.sensor),), ()))
    ends = r.choice(((begin_us, end_us), (begin_us, end_us), (begin_us, None), (None, end_us)))
    clock = r.choice((TimeBase.SENSOR, TimeBase.SENSOR, TimeBase.BROKER))
    return Wanted(sensors, ends[0], ends[1], clock)


def in_range(planned: Plan, said: Sequence[Said]) -> set[Detection]:
    """Return what is told of the detections in the range.

    As a set of statements, not by id: a sensor that jumps back says the same id again.
    """
    told = InRange(planned)
    meant = [d for d in said if isinstance(d, Detection) and planned.wanted.names(d.sensor)]
    return {d for statement in meant for d in told.feed(statement)} | set(told.rest())


def differences(seed: int, *, rollouts: bool = False) -> list[str]:
    """Replay some ranges of the log with this seed; say what is not as when the whole log is heard."""
    r = seeded(seed)
    decision = make_decision(r)
    entries = make_log(r)
    log = log_of(entries)
    course = Course(decision, make_stages(r, decision, entries) if rollouts else ())
    first = log[0].offset
    whole = hear(decision, course, log, Start(first, first, cut=first > 0), Wanted())
    said = coverage_topic(whole, log[-1].timestamp)
    topics = {TOPICS.frames: log, TOPICS.coverage: said, TOPICS.sensors: list[Record]()}
    reader = cast(LogReader, MemoryLog(topics))
    lookup = Lookup(reader, CODEC, TOPICS)
    wrong = []
    for _ in range(RANGES):
        wanted = draw(r, whole)
        try:
            planned = plan(lookup, course, wanted)
        except ConfigurationError:
            wrong += [f"{wanted}: {one}" for one in whole if _is_sound_in(wanted, one)]
            continue
        expected = in_range(planned, whole)
        got = in_range(planned, _replayed(reader, decision, planned))
        wrong += [f"{wanted}: {d}" for d in expected ^ got]
    return wrong


def _is_sound_in(wanted: Wanted, said: Said) -> bool:
    """Say whether coverage has sound in a range of the sensors' time."""
    if not isinstance(said, Coverage) or said.start_us is None or said.end_us is None:
        return False
    own = wanted.clock is TimeBase.SENSOR and wanted.overlaps(said.start_us, said.end_us)
    return own and wanted.names(str(said.sensor))


def _course_of(planned: Plan) -> Course:
    return planned.course


def _replayed(reader: LogReader, decision: Decision, planned: Plan) -> list[Said]:
    said: list[Said] = []
    for stretch in planned.stretches:
        start = start_of(reader, stretch, decision.rules)
        records = list(reader.read(stretch.topic, {0: (start.scan_from, stretch.end)}))
        said += hear(decision, _course_of(planned), records, start, planned.wanted)
    return said


@pytest.mark.parametrize("first_seed", range(0, LOGS, LOGS_A_TEST))
def test_in_a_range_all_is_as_when_the_whole_log_is_heard(first_seed: int) -> None:
    for seed in range(first_seed, min(LOGS, first_seed + LOGS_A_TEST)):
        assert differences(seed) == [], f"seed {seed}"


@pytest.mark.parametrize("first_seed", range(0, LOGS, LOGS_A_TEST))
def test_with_rollouts_in_a_range_all_is_as_when_the_whole_log_is_heard(first_seed: int) -> None:
    for seed in range(first_seed, min(LOGS, first_seed + LOGS_A_TEST)):
        assert differences(seed, rollouts=True) == [], f"seed {seed}"


def test_a_replay_that_does_not_follow_rollouts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = "tests.earwitness.analysis.test_replay_ranges._course_of"
    monkeypatch.setattr(alone, lambda planned: Course(planned.course.since(-1)[0].decision))
    assert any(differences(seed, rollouts=True) for seed in range(20))


def test_the_longest_of_all_that_may_decide_sets_how_much_more_than_the_range_is_heard() -> None:
    r = seeded(1)
    decision = make_decision(r, plain=True)
    spec = decision.spec.model_copy(update={"hop_samples": 16, "n": 9})
    slow = Decision(spec, decision.rules)
    course = Course(decision, [Stage(BEGIN_MS, decision, slow, 0.1)])
    assert deciding(course) == (decision, slow)
    for length_s in (lead_s, tail_s, settled_s):
        assert length_s(course) == length_s(Course(slow)) > length_s(Course(decision))


@pytest.mark.parametrize("edges", [("lead_s",), ("tail_s", "settled_s")], ids=" and ".join)
def test_without_a_lead_or_a_tail_the_edges_are_wrong(
    edges: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for edge in edges:
        monkeypatch.setattr(f"earwitness.analysis.plan.{edge}", lambda _: 0.0)
    assert any(differences(seed) for seed in range(60))
