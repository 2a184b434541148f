"""Frames of 4 samples at 1000 Hz, windows of 8 every 4; idle 120 ms, margin 12 ms, gaps up to 100 samples."""

from dataclasses import replace

import pytest

from processors.partition import Start
from schemas.coverage import Coverage, Outcome
from schemas.deadletter import DeadLetter
from schemas.detection import Detection, DetectionState
from schemas.errors import LogOrderError, MalformedRecordError
from schemas.sensor import Presence, SensorState
from tests.processors.build import BEGIN_MS, TICK, Ear, Record, decide, record, tick
from tests.processors.logs import Entry

LIVE, SILENT = "LIVE", "SILENT"


def stream(first: int, end: int, offset: int, *, loud: bool = False, sensor: bytes = b"s") -> list[Entry]:
    """Return frames of 4 samples that hold `[first, end)`, appended as they are captured."""
    return [
        record(offset + i, at + 4, at, at + 4, loud=loud, sensor=sensor)
        for i, at in enumerate(range(first, end, 4))
    ]


def briefly(said: list[Record]) -> list[str]:
    """Say in a word each what was said."""
    words = []
    for x in said:
        if isinstance(x, Detection | SensorState):
            words.append(str(x.state))
        else:
            words.append(str(x.outcome) if isinstance(x, Coverage) else x.exception)
    return words


def covered(said: list[Record]) -> list[tuple[int | None, int | None, str]]:
    return [(x.start_sample, x.end_sample, x.outcome.value) for x in said if isinstance(x, Coverage)]


def letters(said: list[Record]) -> list[DeadLetter]:
    return [x for x in said if isinstance(x, DeadLetter)]


def detections(said: list[Record]) -> list[Detection]:
    return [x for x in said if isinstance(x, Detection)]


def states(said: list[Record]) -> list[SensorState]:
    return [x for x in said if isinstance(x, SensorState)]


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
    ear.pipeline.feed(("audio.frames", 3), [*stream(0, 8, 0), record(2, 500, 0, 8, in_epoch=2)], 0.0)
    ear.pipeline.feed(("audio.frames", 3), [tick(3, 501)], 0.0)
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


# The mark, with 2 of 3 windows: window k lies in frames k and k + 1.


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
    ear.pipeline.feed(("audio.frames", 3), stream(44, 444, 11), 0.0)
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


# Taking over.


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


# Retention.


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


def test_a_record_that_the_registry_gave_up_on_is_rejected_in_its_place() -> None:
    ear = Ear(decide())
    entry = record(0, 0, 0, 8)
    ear.pipeline.reject(("audio.frames", 3), entry, MalformedRecordError("the registry did not answer"))
    [letter] = letters(ear.said())
    assert (letter.offset, letter.message) == (0, "the registry did not answer")
    assert ear.partition.position == 1
