"""Frames of 4 samples at 1000 Hz, windows of 8 every 4; idle 120 ms, margin 12 ms, gaps up to 100 samples."""

from dataclasses import replace

import pytest

from processors.course import Course, Stage
from processors.partition import Start
from processors.run import Feed
from schemas.coverage import Coverage, Outcome
from schemas.errors import LogOrderError, MalformedRecordError
from schemas.plain import plain_frames
from schemas.sensor import Presence
from tests.processors.build import (
    BEGIN_MS,
    KEY,
    TICK,
    Ear,
    briefly,
    covered,
    decide,
    letters,
    record,
    states,
    stream,
    tick,
)
from tests.processors.logs import Entry
from tests.processors.worker import FRAME_HEADER

LIVE, SILENT = "LIVE", "SILENT"


def second(at_ms: int, first: int, *, in_epoch: int = 2, rate_hz: int = 1000, channels: int = 1) -> Entry:
    return record(1, at_ms, first, first + 8, in_epoch=in_epoch, rate_hz=rate_hz, channels=channels)


@pytest.mark.parametrize(
    ("frame", "verdict"),
    [
        pytest.param(second(4, 1008), "continues", id="the next sample"),
        pytest.param(second(120, 1008), "continues", id="just live"),
        pytest.param(second(121, 1008), "opens", id="no longer live"),
        pytest.param(second(-12, 1008), "continues", id="the clock stepped back"),
        pytest.param(second(4, 1108), "continues", id="the longest gap"),
        pytest.param(second(4, 1109), "opens", id="too long a gap"),
        pytest.param(second(4, 1007), "late", id="a sample late"),
        pytest.param(second(4, 1000), "late", id="once more"),
        pytest.param(second(4, 908), "late", id="very late"),
        pytest.param(second(4, 907), "opens", id="a jump back"),
        pytest.param(second(4, 1008, in_epoch=3), "opens", id="a newer epoch"),
        pytest.param(second(4, 1008, in_epoch=1), "StaleEpochError", id="an older epoch"),
        pytest.param(second(121, 0, in_epoch=1), "opens", id="an older epoch after silence"),
        pytest.param(second(4, 1008, rate_hz=2000), "InvalidFrameError", id="another rate"),
        pytest.param(second(4, 1008, channels=2), "InvalidFrameError", id="more channels"),
        pytest.param(second(121, 1008, rate_hz=2000), "opens", id="another rate after silence"),
        pytest.param(second(4, 0, rate_hz=2000, in_epoch=3), "opens", id="another rate, newer epoch"),
    ],
)
def test_the_next_frame_of_a_sensor_continues_or_opens_or_is_late_or_a_dead_letter(
    frame: Entry, verdict: str
) -> None:
    ear = Ear(decide())
    said = ear.hear(record(0, 0, 1000, 1008, in_epoch=2), frame) + ear.finish()
    runs = sum(x.state is Presence.LIVE and x.last_offset < 2 for x in states(said) if x.level is None)
    late = ear.pipeline.take_counts().get("late", 0)
    buried = [x.exception for x in letters(said)]
    assert (buried + ["late"] * late or ["opens" if runs == 2 else "continues"]) == [verdict]


def test_an_epoch_of_the_year_10889_silences_its_own_sensor_for_no_longer_than_it_is_live() -> None:
    last = (1 << 48) - 1
    ear = Ear(decide())
    times = range(0, 160, 8)
    log = [record(0, 0, 0, 8, in_epoch=2), record(1, 1, 0, 8, in_epoch=2, sensor=b"other")]
    log.append(record(2, 2, 0, 8, in_epoch=last))
    for at_ms in times:
        first, n = 8 + at_ms, len(log)
        log.append(record(n, 3 + at_ms, first, first + 8, in_epoch=2))
        log.append(record(n + 1, 3 + at_ms, first, first + 8, in_epoch=2, sensor=b"other"))
    said = ear.hear(*log) + ear.finish()
    assert {letter.key for letter in letters(said)} == {b"s"}
    assert len(letters(said)) == sum(3 + at_ms - 2 <= 120 for at_ms in times)
    coverage = [x for x in said if isinstance(x, Coverage) and x.sensor == "other"]
    assert [(coverage[0].start_sample, coverage[-1].end_sample)] == [(0, 168)]
    assert {x.outcome for x in coverage} == {Outcome.SCORED}


def test_a_late_frame_changes_nothing_not_even_that_the_sensor_is_live() -> None:
    ear = Ear(decide())
    said = ear.hear(record(0, 0, 0, 8), record(1, 100, 0, 8), record(2, 125, 8, 16)) + ear.finish()
    assert covered(said) == [(0, 8, "SCORED"), (8, 16, "SCORED")]  # two runs: no window joins them


def test_a_dead_letter_says_where_what_and_why_byte_for_byte() -> None:
    ear = Ear(decide())
    ear.hear(record(0, 0, 0, 8))
    stray = replace(record(1, 4, 8, 16, rate_hz=2000), headers=[("traceparent", b"00-1")])
    [letter] = letters(ear.hear(stray))
    assert (letter.topic, letter.partition, letter.offset) == ("audio.frames", 3, 1)
    assert (letter.key, letter.value, letter.headers) == (b"s", stray.value, (("traceparent", b"00-1"),))
    assert letter.exception == "InvalidFrameError"
    assert letter.message == "sample_rate_hz is 2000; accepted: 1000, until the sensor opens a new epoch"


@pytest.mark.parametrize(
    ("entry", "exception"),
    [
        (Entry(0, BEGIN_MS, b"s", None), "MalformedRecordError"),
        (Entry(0, BEGIN_MS, b"s", b"no frame"), "MalformedRecordError"),
        (Entry(0, BEGIN_MS, None, None), "MalformedRecordError"),
        (Entry(0, BEGIN_MS, b"s", None, TICK), "MalformedRecordError"),
        (Entry(0, BEGIN_MS, None, b"\0", TICK), "MalformedRecordError"),
        (record(0, 0, 0, 8, sensor=None), "InvalidFrameError"),
        (record(0, 0, 0, 8, sensor=b"\xff"), "InvalidFrameError"),
    ],
)
def test_what_is_neither_a_frame_nor_a_tick_is_a_dead_letter(entry: Entry, exception: str) -> None:
    assert [x.exception for x in letters(Ear(decide()).hear(entry))] == [exception]


def test_a_tick_is_neither_a_frame_nor_a_dead_letter() -> None:
    ear = Ear(decide())
    assert ear.hear(tick(0, 0)) == []
    assert ear.mark() == 1


@pytest.mark.parametrize("offset", [0, 2])
def test_a_record_that_is_not_the_next_one_stops_the_worker(offset: int) -> None:
    ear = Ear(decide())
    ear.hear(record(0, 0, 0, 8))
    with pytest.raises(LogOrderError, match=rf"audio.frames\[3\]@{offset} arrived where @1 was expected"):
        ear.hear(record(offset, 0, 0, 8))


def closing(what: str, at_ms: int) -> Entry:
    return {
        "a tick": tick(2, at_ms),
        "another sensor": record(2, at_ms, 0, 4, sensor=b"other"),
        "no frame": Entry(2, BEGIN_MS + at_ms, b"s", b"no frame"),
    }[what]


@pytest.mark.parametrize("what", ["a tick", "another sensor", "no frame"])
def test_any_record_appended_more_than_idle_and_margin_after_its_last_frame_closes_a_run(what: str) -> None:
    # frames at 8 ms; idle 120 ms, margin 12 ms: 140 ms is not yet more
    open_run = [tick(0, 4), record(1, 8, 0, 8, loud=True)]
    patient = Ear(decide())
    assert "ENDED" not in briefly(patient.hear(*open_run, closing(what, 140)))
    ear = Ear(decide())
    assert briefly(ear.hear(*open_run)) == [LIVE, "ACTIVE"]
    said = ear.hear(closing(what, 141))
    assert [x for x in briefly(said) if x != "MalformedRecordError"] == ["ENDED", "SCORED", SILENT]


def test_a_clock_that_steps_back_by_the_margin_closes_no_run_that_goes_on() -> None:
    # 132 ms by one broker's clock, then 120 ms by another's: the sensor is live, its run goes on
    ear = Ear(decide())
    other = record(1, 132, 0, 4, sensor=b"other")
    said = ear.hear(record(0, 0, 0, 8), other, record(2, 120, 8, 16)) + ear.finish()
    assert (0, 16, "SCORED") in covered(said)


def test_a_sensor_is_silent_since_its_last_frame_was_appended() -> None:
    ear = Ear(decide())
    [silent] = [x for x in states(ear.hear(*stream(0, 20, 0), tick(5, 500))) if x.state is Presence.SILENT]
    assert silent.since_us == silent.appended_at_us == (BEGIN_MS + 20) * 1000
    assert (silent.end_sample, silent.last_offset, silent.clock_offset_us) == (20, 4, 0)


def test_a_sensor_that_comes_back_is_silent_and_then_live() -> None:
    ear = Ear(decide())
    said = ear.hear(*stream(0, 8, 0)) + ear.hear(record(2, 500, 100, 108))
    assert briefly(said) == [LIVE, "SCORED", SILENT, LIVE]
    assert [x.since_us for x in states(said)] == [(BEGIN_MS + at) * 1000 for at in (4, 8, 500)]


def test_a_sensor_that_opens_its_next_run_was_never_silent() -> None:
    ear = Ear(decide())
    said = ear.hear(*stream(0, 8, 0, loud=True), record(2, 12, 0, 8, in_epoch=2, loud=True))
    assert briefly(said) == [LIVE, "ACTIVE", "ENDED", "SCORED", LIVE, "ACTIVE"]


def test_a_run_that_is_followed_ends_at_once_though_the_next_has_no_window_yet() -> None:
    ear = Ear(decide())
    ear.hear(*stream(0, 8, 0, loud=True))
    assert briefly(ear.hear(record(2, 12, 0, 1, in_epoch=2))) == ["ENDED", "SCORED", LIVE]


def test_a_run_has_said_everything_before_the_next_begins_whatever_is_scored_first() -> None:
    ear = Ear(decide())
    ear.pipeline.feed(("audio.frames", 3), [*stream(0, 8, 0), record(2, 500, 0, 8, in_epoch=2)], Feed(0.0))
    ear.pipeline.feed(("audio.frames", 3), [tick(3, 501)], Feed(0.0))
    first, other = ear.batches()
    ear.pipeline.failed(other, 0.0)
    assert briefly(ear.said()) == [LIVE]
    ear.pipeline.failed(first, 0.0)
    assert briefly(ear.said()) == ["FAILED", LIVE]  # SILENT would be out of date
    assert briefly(ear.finish()) == ["FAILED", SILENT]


def test_coverage_and_presence_are_said_every_tenth_window() -> None:
    ear = Ear(decide())
    said = ear.hear(*stream(0, 88, 0))  # window 20 would end at 88, window 19 ends at 84
    assert briefly(said) == [LIVE, "SCORED", LIVE, "SCORED", LIVE]
    assert covered(said) == [(0, 44, "SCORED"), (44, 84, "SCORED")]
    assert [x.end_sample for x in states(said)] == [8, 44, 84]


def test_a_run_says_what_became_of_its_head_its_gaps_and_its_rest() -> None:
    # samples  2 .. 4 ......... 16   missing   24 ........ 34
    # windows       [4,12)[8,16)  GAP to 28        SCORED to 32, rest to 34
    ear = Ear(decide())
    said = ear.hear(record(0, 16, 2, 16), record(1, 34, 24, 34)) + ear.finish()
    assert covered(said) == [
        (2, 4, "SHORT"),
        (4, 16, "SCORED"),
        (16, 28, "GAP"),
        (28, 32, "SCORED"),
        (32, 34, "SHORT"),
    ]


def test_a_record_that_the_registry_gave_up_on_is_rejected_in_its_place() -> None:
    ear = Ear(decide())
    entry = record(0, 0, 0, 8)
    ear.pipeline.reject(("audio.frames", 3), entry, MalformedRecordError("the registry did not answer"))
    [letter] = letters(ear.said())
    assert (letter.offset, letter.message) == (0, "the registry did not answer")
    assert ear.partition.position == 1


# -- frames that only add samples ---------------------------------------------------------------------------


def goes_on(ear: Ear, entry: Entry) -> bool:
    """Offer a plain frame to the quick way; say whether it was taken."""
    [frame] = plain_frames([entry.value], FRAME_HEADER)
    assert frame is not None
    return ear.partition.go_on(entry, frame)


def test_a_frame_that_only_adds_samples_goes_on() -> None:
    ear, slow = Ear(decide()), Ear(decide())
    frames = [record(0, 0, 0, 2), record(1, 120, 2, 4), record(2, 120, 4, 7), record(3, 124, 7, 8)]
    ear.hear(frames[0])
    assert [goes_on(ear, frame) for frame in frames[1:]] == [True, True, False]
    assert ear.partition.position == 3
    assert ear.hear(frames[3]) + ear.finish() == slow.hear(*frames) + slow.finish()


@pytest.mark.parametrize(
    ("heard", "frame"),
    [
        pytest.param([], record(0, 0, 0, 4), id="the first of a sensor"),
        pytest.param([record(0, 0, 0, 2)], record(1, 4, 2, 8), id="completes a window"),
        pytest.param([record(0, 0, 0, 2)], record(1, 4, 3, 6), id="a gap"),
        pytest.param([record(0, 0, 0, 2)], record(1, 4, 1, 6), id="late"),
        pytest.param([record(0, 0, 0, 2)], record(1, 4, 2, 6, rate_hz=2000), id="another rate"),
        pytest.param([record(0, 0, 0, 2)], record(1, 4, 2, 6, in_epoch=2), id="another epoch"),
        pytest.param([record(0, 0, 0, 2, channels=2)], record(1, 4, 2, 6), id="fewer channels"),
        pytest.param([record(0, 0, 0, 2)], record(1, -1, 2, 6), id="the clock stepped back"),
        pytest.param([record(0, 0, 0, 2)], record(1, 121, 2, 6), id="no longer live"),
        pytest.param(
            [record(0, 0, 0, 2, sensor=b"quiet"), record(1, 100, 0, 2)],
            record(2, 133, 2, 6),
            id="another run is to close",
        ),
        pytest.param([record(0, 0, 0, 2)], record(2, 4, 2, 6), id="an offset skipped"),
    ],
)
def test_a_frame_that_does_more_is_left_as_it_is(heard: list[Entry], frame: Entry) -> None:
    ear = Ear(decide())
    ear.hear(*heard)
    assert not goes_on(ear, frame)
    assert ear.partition.position == len(heard)


def test_a_frame_at_which_a_stage_of_the_course_begins_is_left_as_it_is() -> None:
    ear = Ear(decide())
    ear.partition.course = Course(decide(), [Stage(BEGIN_MS + 4, decide(threshold=0.6))])
    ear.hear(record(0, 0, 0, 2))
    assert goes_on(ear, record(1, 3, 2, 4))
    assert not goes_on(ear, record(2, 4, 4, 6))
    assert ear.partition.position == 2


def test_while_the_run_before_drains_frames_are_left_as_they_are() -> None:
    ear = Ear(decide())
    ear.pipeline.feed(KEY, [record(0, 0, 0, 8), record(1, 4, 0, 2, in_epoch=2)], Feed(0.0))
    assert not goes_on(ear, record(2, 8, 2, 6, in_epoch=2))
    assert ear.partition.position == 2
    ear.score()
    assert goes_on(ear, record(2, 8, 2, 6, in_epoch=2))


def test_a_frame_before_the_start_is_left_as_it_is() -> None:
    ear = Ear(decide(), Start(2, 0))
    ear.hear(record(0, 0, 0, 2))
    assert not goes_on(ear, record(1, 4, 2, 4))
    assert ear.partition.position == 1
