"""Timelines are drawn: `x` is a window that reached the threshold, `.` one that did not, `?` a gap."""

import numpy as np
import pytest

from processors.decision import Decision
from processors.detect import Detector, Segment
from processors.pcm import Tally
from processors.window import Stretch, Window
from schemas.detection import DetectionState
from tests.processors.build import decide

ACTIVE, ENDED = DetectionState.ACTIVE, DetectionState.ENDED
_SCORES = {"x": 0.9, ".": 0.1}


def window(k: int, missing: int = 0, hop_missing: int = 0) -> Window:
    """Return window k of 8 samples every 4."""
    start = 4 * k
    fresh = Stretch(start, start + 8, 0, 0, 0, 0, 0, Tally(0, 0, 0, 0, 0, 0))
    return Window(k, start, start + 8, 0, 0, k, max(0, k - 1), k + 1, missing, hop_missing, 0, 0, None, fresh)


Told = tuple[str, int, int | None]
"""What happened, at which first window, and (of what ended) the last."""


def follow(decision: Decision, drawn: str, first: int = 0, unknown_until: int | None = None) -> list[Told]:
    """Follow one label through a drawing; at its end the run is over."""
    detector = Detector(decision, unknown_until)
    told: list[Told] = []
    for k, sign in enumerate(drawn.replace(" ", ""), first):
        scores = np.array([_SCORES[sign]], np.float32) if sign in _SCORES else None
        told += [_tell(state, segment) for state, segment in detector.feed(window(k), scores)]
    return told + [_tell(state, segment) for state, segment in detector.finish()]


def _tell(state: DetectionState, segment: Segment) -> Told:
    if state is ACTIVE:
        return "+" if segment.continued else "ACTIVE", segment.first.index, None
    return "ENDED", segment.first.index, segment.last.index


def test_a_label_is_active_where_m_of_the_last_n_windows_reached_its_threshold() -> None:
    drawn = ". x x . x . . . x x"
    # on    . . # # # . . . . #
    assert follow(decide(m=2, n=3), drawn) == [
        ("ACTIVE", 2, None),
        ("ENDED", 2, 4),
        ("ACTIVE", 9, None),
        ("ENDED", 9, 9),
    ]


@pytest.mark.parametrize(
    ("m", "n", "on"),
    [
        (1, 1, "x x . . x . ."),
        (1, 2, "x x x . x x ."),
        (2, 2, ". x . . . . ."),
        (2, 3, ". x x . . . ."),
        (3, 5, ". . . . x . ."),
    ],
)
def test_activity_follows_m_of_n(m: int, n: int, on: str) -> None:
    drawn = "x x . . x . ."
    active = {k for k, sign in enumerate(on.replace(" ", "")) if sign == "x"}
    told = follow(decide(m=m, n=n), drawn)
    said = {k for what, a, b in told if what == "ENDED" and b is not None for k in range(a, b + 1)}
    assert said == active


def test_a_detection_is_cut_at_multiples_of_segment_windows_and_says_that_it_goes_on() -> None:
    drawn = "x x x x x x x x x ."
    # k      0 1 2 3|4 5 6 7|8 9
    assert follow(decide(segment=4), drawn) == [
        ("ACTIVE", 0, None),
        ("ENDED", 0, 3),
        ("+", 4, None),
        ("ENDED", 4, 7),
        ("+", 8, None),
        ("ENDED", 8, 8),
    ]


def test_a_detection_that_begins_at_a_boundary_does_not_go_on_from_anything() -> None:
    assert follow(decide(segment=4), ". . . . x .") == [("ACTIVE", 4, None), ("ENDED", 4, 4)]


def test_a_detection_that_stops_before_a_boundary_is_not_cut() -> None:
    detector = Detector(decide(segment=4), None)
    detector.feed(window(2), np.array([0.9], np.float32))
    detector.feed(window(3), np.array([0.9], np.float32))
    [(state, segment)] = detector.feed(window(4), np.array([0.1], np.float32))
    assert (state, segment.cut_at, segment.windows) == (ENDED, None, 2)


def test_a_segment_that_goes_on_is_cut_where_the_next_one_starts() -> None:
    detector = Detector(decide(segment=4), None)
    detector.feed(window(3), np.array([0.9], np.float32))
    (ended, before), (began, after) = detector.feed(window(4), np.array([0.9], np.float32))
    assert (ended, began) == (ENDED, ACTIVE)
    assert before.cut_at is after.first
    assert after.continued


def test_a_window_that_was_not_scored_did_not_reach() -> None:
    assert follow(decide(m=2, n=3), "x ? ? x x") == [("ACTIVE", 4, None), ("ENDED", 4, 4)]


def test_a_label_may_be_active_in_a_gap_between_windows_that_reached() -> None:
    assert follow(decide(m=2, n=3), "x x ? .") == [("ACTIVE", 1, None), ("ENDED", 1, 2)]


def test_the_end_of_a_run_ends_what_is_active() -> None:
    assert follow(decide(), ". x x") == [("ACTIVE", 1, None), ("ENDED", 1, 2)]


def test_a_run_that_opens_expects_nothing_before_it() -> None:
    assert follow(decide(m=2, n=3), "x . .", first=100) == []


def test_nothing_is_said_before_n_windows_of_a_run_that_was_taken_over_were_heard() -> None:
    # n = 3: activity is first known at window 12
    drawn = ". x x . . . x x . ."
    # k      10  12          16
    assert follow(decide(m=2, n=3), drawn, first=10, unknown_until=12) == [
        ("ACTIVE", 17, None),
        ("ENDED", 17, 18),
    ]


def test_what_was_active_at_a_take_over_has_been_said_until_it_stops() -> None:
    assert follow(decide(), "x x x . x .", first=10, unknown_until=10) == [
        ("ACTIVE", 14, None),
        ("ENDED", 14, 14),
    ]


def test_what_was_active_at_a_take_over_is_said_again_from_the_next_boundary_on() -> None:
    # k     10  11 | 12  13
    assert follow(decide(segment=4), "x x x x .", first=10, unknown_until=10) == [
        ("+", 12, None),
        ("ENDED", 12, 13),
    ]


def test_what_stops_at_the_boundary_after_a_take_over_has_been_said() -> None:
    assert follow(decide(segment=4), "x x . .", first=10, unknown_until=10) == []


def test_what_begins_after_a_take_over_is_said() -> None:
    assert follow(decide(), ". x .", first=10, unknown_until=10) == [("ACTIVE", 11, None), ("ENDED", 11, 11)]


def test_the_oldest_open_segment_says_from_where_the_log_is_needed() -> None:
    detector = Detector(decide(labels=("a", "b")), None)
    assert detector.first_needed() is None
    detector.feed(window(5), np.array([0.0, 0.9], np.float32))
    detector.feed(window(6), np.array([0.9, 0.9], np.float32))
    assert detector.first_needed() == 5
    detector.feed(window(7), np.array([0.9, 0.0], np.float32))
    assert detector.first_needed() == 6


def test_labels_do_not_disturb_each_other() -> None:
    detector = Detector(decide(labels=("a", "b")), None)
    begun = detector.feed(window(0), np.array([0.9, 0.9], np.float32))
    assert [(state, segment.label) for state, segment in begun] == [(ACTIVE, 0), (ACTIVE, 1)]
    ended = detector.feed(window(1), np.array([0.9, 0.1], np.float32))
    assert [(state, segment.label) for state, segment in ended] == [(ENDED, 1)]


@pytest.mark.parametrize(
    ("score", "reaches"), [(0.7, True), (float(np.nextafter(np.float32(0.7), 0)), False)]
)
def test_a_threshold_is_reached_by_the_score_that_equals_it_in_float32(score: float, reaches: bool) -> None:
    detector = Detector(decide(threshold=0.7), None)
    assert bool(detector.feed(window(0), np.array([score], np.float32))) is reaches


def test_the_peak_is_the_highest_score_of_the_active_windows_and_of_no_other() -> None:
    detector = Detector(decide(m=2, n=3), None)
    for k, score in enumerate([0.99, 0.6, 0.7, 0.1]):  # active from window 1 on
        detector.feed(window(k), np.array([score], np.float32))
    [(_, segment)] = detector.finish()
    assert (segment.first.index, segment.last.index) == (1, 3)
    assert segment.peak == np.float32(0.7)


def test_a_detection_of_gaps_alone_has_no_peak() -> None:
    detector = Detector(decide(m=1, n=2, segment=2), None)
    detector.feed(window(1), np.array([0.9], np.float32))
    changes = detector.feed(window(2), None)
    assert [(state, segment.peak) for state, segment in changes] == [(ENDED, np.float32(0.9)), (ACTIVE, None)]


def test_what_is_missing_is_counted_once_however_windows_overlap() -> None:
    # window 0 [0, 8), 1 [4, 12), 2 [8, 16); missing [6, 9)
    first, second, third = window(0, 2, 0), window(1, 3, 2), window(2, 1, 1)
    segment = Segment(0, first, first, False, 0.9)
    assert segment.missing == 2
    segment.extend(second, 0.9)
    assert segment.missing == 3
    segment.extend(third, 0.9)
    assert segment.missing == 3


def test_what_is_missing_after_the_cut_belongs_to_the_next_segment() -> None:
    # window 0 [0, 8) with [2, 3) and [5, 8) missing, cut at 4
    segment = Segment(0, window(0, 4, 1), window(0, 4, 1), False, 0.9, cut_at=window(1, 3, 3))
    assert segment.missing == 1
