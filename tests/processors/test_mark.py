"""The mark, and taking over: window k of 8 samples every 4 lies in frames k and k + 1 of 4 samples."""

import pytest

from processors.partition import Start
from processors.run import Feed
from schemas.coverage import Coverage, Outcome
from schemas.detection import DetectionState
from tests.processors.build import (
    BEGIN_MS,
    Ear,
    briefly,
    covered,
    decide,
    detections,
    letters,
    record,
    states,
    stream,
    tick,
)
from tests.processors.logs import Entry

LIVE, SILENT = "LIVE", "SILENT"


def test_the_mark_is_the_position_while_nothing_runs() -> None:
    ear = Ear(decide())
    assert ear.mark() == 0
    ear.hear(tick(0, 0), tick(1, 1))
    assert ear.mark() == 2


def test_the_mark_keeps_n_windows_before_the_next_undecided_one() -> None:
    ear = Ear(decide(m=2, n=3))
    ear.hear(*stream(0, 44, 0))  # frames 0 … 10, so windows 0 … 9 are decided and coverage is flushed
    ear.acknowledge()
    assert ear.mark() == 10 - 3


def test_coverage_that_is_not_said_yet_holds_the_mark() -> None:
    ear = Ear(decide(m=2, n=3))
    ear.hear(*stream(0, 80, 0))  # windows 10 … 18 are covered and not said
    ear.acknowledge()
    assert ear.mark() == 10 - 3


def test_an_open_segment_holds_the_mark_at_its_first_window() -> None:
    ear = Ear(decide(m=2, n=3))
    ear.hear(*stream(0, 20, 0), *stream(20, 44, 5, loud=True))  # reached from window 4, active from 5
    ear.acknowledge()
    assert ear.mark() == 5 - 3


def test_an_output_holds_the_mark_until_it_is_acknowledged() -> None:
    ear = Ear(decide(m=2, n=3))
    ear.hear(*stream(0, 44, 0))
    assert ear.mark() == 0
    [*others, live] = ear.unacknowledged
    for output in others:
        output.acknowledged()
    assert ear.mark() == 9 - 3  # LIVE was said at window 9
    live.acknowledged()
    assert ear.mark() == 10 - 3


def test_a_window_that_is_not_scored_yet_holds_the_mark() -> None:
    ear = Ear(decide(m=2, n=3))
    ear.hear(*stream(0, 44, 0))
    ear.acknowledge()
    ear.pipeline.feed(("audio.frames", 3), stream(44, 444, 11), Feed(0.0))
    assert ear.mark() == 10 - 3


def test_a_dead_letter_holds_the_mark_at_its_own_offset() -> None:
    ear = Ear(decide())
    ear.hear(tick(0, 0), Entry(1, BEGIN_MS, b"s", b"no frame"), tick(2, 0))
    assert ear.mark() == 1
    ear.acknowledge()
    assert ear.mark() == 3


def test_a_closed_run_holds_the_mark_where_it_is_until_all_it_said_is_acknowledged() -> None:
    ear = Ear(decide())
    ear.hear(*stream(0, 44, 0))
    ear.acknowledge()
    before = ear.mark()
    ear.hear(*stream(44, 444, 11), tick(111, 1000), tick(112, 1001))
    [*others, silent] = ear.unacknowledged
    for output in others:
        output.acknowledged()
    assert ear.mark() == before
    silent.acknowledged()
    assert ear.mark() == 113


def test_what_the_scan_reads_is_known_and_not_said() -> None:
    ear = Ear(decide(), Start(start=6, scan_from=0))
    said = ear.hear(*stream(0, 16, 0, loud=True), Entry(4, BEGIN_MS + 16, b"s", b"no frame"))
    assert said == []
    assert ear.mark() == 6  # not 5, where it reads


def test_a_sensor_that_the_scan_saw_goes_on_without_being_announced() -> None:
    # windows 0 … 2 were said by another worker; activity is unknown until window 4 has been heard
    ear = Ear(decide(), Start(start=4, scan_from=0))
    said = ear.hear(*stream(0, 40, 0, loud=True))
    assert said == []
    assert briefly(ear.finish()) == ["SCORED", SILENT]


def test_what_begins_after_the_first_window_of_a_sensor_that_goes_on_is_said() -> None:
    # n = 1: window 4, of [16, 24), tells where it stands; window 5, of [20, 28), is loud enough
    ear = Ear(decide(), Start(start=4, scan_from=0))
    said = ear.hear(*stream(0, 24, 0), *stream(24, 40, 6, loud=True))
    assert [(x.state, x.start_sample) for x in detections(said)] == [(DetectionState.ACTIVE, 20)]


def test_a_sensor_that_the_scan_saw_is_judged_by_what_it_saw() -> None:
    ear = Ear(decide(), Start(start=2, scan_from=0))
    said = ear.hear(*stream(0, 8, 0), record(2, 12, 4, 8), record(3, 12, 0, 8, rate_hz=2000))
    assert [x.exception for x in letters(said)] == ["InvalidFrameError"]
    assert ear.pipeline.take_counts()["late"] == 1


def test_a_sensor_that_the_scan_did_not_see_opens_a_run() -> None:
    ear = Ear(decide(), Start(start=2, scan_from=0))
    said = ear.hear(*stream(0, 8, 0, sensor=b"other"), *stream(8, 16, 2, loud=True))
    assert briefly(said) == [LIVE, "ACTIVE"]


def test_the_scan_forgets_sensors_that_went_quiet() -> None:
    ear = Ear(decide(), Start(start=2, scan_from=0))
    said = ear.hear(record(0, 0, 0, 8), tick(1, 200), record(2, 201, 8, 16))
    assert briefly(said) == [LIVE]
    assert states(said)[0].since_us == (BEGIN_MS + 201) * 1000


def test_what_retention_removed_unread_is_expired_to_the_offset() -> None:
    ear = Ear(decide(), Start(start=70, scan_from=70, cut=True, expired_from=40))
    [said] = ear.said()
    assert isinstance(said, Coverage)
    assert (said.outcome, said.first_offset, said.last_offset) == (Outcome.EXPIRED, 40, 69)
    assert (said.sensor, said.epoch, said.start_sample, said.end_sample) == (None, None, None, None)
    assert ear.unacknowledged[0].key is None


def test_the_mark_waits_until_expired_is_acknowledged() -> None:
    ear = Ear(decide(), Start(start=70, scan_from=70, cut=True, expired_from=40))
    ear.said()
    ear.hear(tick(70, 0))
    assert ear.mark() == 40
    ear.acknowledge()
    assert ear.mark() == 71


@pytest.mark.parametrize(("at_ms", "known"), [(0, False), (120, False), (121, True)])
def test_for_idle_s_after_a_cut_any_sensor_may_have_been_live(at_ms: int, known: bool) -> None:
    # n = 1: activity is known after one window, and was not said if it was active then
    ear = Ear(decide(), Start(start=0, scan_from=0, cut=True))
    frames = [record(1, at_ms, 0, 12, loud=True), record(2, at_ms + 4, 12, 24, loud=False)]
    said = ear.hear(tick(0, 0), *frames)
    assert [x.state for x in detections(said)] == (
        [DetectionState.ACTIVE, DetectionState.ENDED] if known else []
    )
    assert states(said)[0].since_us == ((BEGIN_MS + at_ms) * 1000 if known else None)
    assert covered(said + ear.finish())[0] == (0, 24, "SCORED")  # nobody else accounts for its start
