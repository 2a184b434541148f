"""The demo's verdict: what was found of the truth and when, what was missed, and what is false."""

from dataclasses import replace

import numpy as np
import pytest

from earwitness.demo import TOLERANCE_S, Heard, Verdict, compare
from earwitness.evaluation.listener import Listener
from earwitness.watch import Published
from models.catalogue import find
from producers.sources.scene import Event, Scene
from schemas.detection import Detection, DetectionState
from tests.processors.test_publish import ACTIVE

SIREN = Event("siren", 4.0, 12.0)
ALARM = Event("smoke_alarm", 16.0, 24.0)
EDGE = 0.001
LATEST_S = 1.5


def published(detection: Detection, latency_ms: float = 25.0) -> Published:
    return Published(detection, round(detection.end_us / 1000 + latency_ms), 0, "tiny", None)


def test_what_was_heard_of_the_truth_is_found_where_it_was_heard_first() -> None:
    found = [("siren", 5.0, 10.0), ("siren", 10.0, 12.5), ("smoke_alarm", 16.5, 24.0)]
    verdicts, false = compare([SIREN, ALARM], found)
    assert verdicts == [Verdict(SIREN, 5.0), Verdict(ALARM, 16.5)]
    assert false == []


def test_what_nobody_heard_is_missed() -> None:
    verdicts, false = compare([SIREN, ALARM], [("siren", 5.0, 10.0)])
    assert verdicts == [Verdict(SIREN, 5.0), Verdict(ALARM, None)]
    assert false == []
    assert compare([SIREN], [])[0] == [Verdict(SIREN, None)]


def test_what_was_heard_and_never_was_is_false() -> None:
    made_up = ("smoke_alarm", 30.0, 31.0)
    assert compare([SIREN, ALARM], [("siren", 5.0, 10.0), made_up])[1] == [made_up]
    assert compare([], [made_up]) == ([], [made_up])


def test_another_label_at_the_right_time_is_missed_and_false() -> None:
    mistaken = ("smoke_alarm", 5.0, 10.0)
    assert compare([SIREN], [mistaken]) == ([Verdict(SIREN, None)], [mistaken])


@pytest.mark.parametrize(
    ("start_s", "end_s", "meets"),
    [
        (1.0, SIREN.start_s - TOLERANCE_S, False),
        (1.0, SIREN.start_s - TOLERANCE_S + EDGE, True),
        (SIREN.end_s + TOLERANCE_S - EDGE, 20.0, True),
        (SIREN.end_s + TOLERANCE_S, 20.0, False),
        (1.0, 20.0, True),
        (6.0, 6.5, True),
    ],
)
def test_a_sound_is_known_as_exactly_as_a_window_allows(start_s: float, end_s: float, meets: bool) -> None:
    heard = ("siren", start_s, end_s)
    verdicts, false = compare([SIREN], [heard])
    assert verdicts == [Verdict(SIREN, start_s if meets else None)]
    assert false == ([] if meets else [heard])


def test_the_last_word_on_a_detection_is_ended_however_often_it_is_said() -> None:
    active, ended = published(ACTIVE), published(replace(ACTIVE, state=DetectionState.ENDED, windows=5))
    for said in ([active, ended], [ended, active], [active, active, ended, active, ended]):
        heard = Heard()
        for one in said:
            heard.add(one)
        assert heard.latest == {ACTIVE.id: ended}


def test_detections_with_other_ids_stand_side_by_side() -> None:
    heard, other = Heard(), replace(ACTIVE, id="other")
    heard.add(published(ACTIVE))
    heard.add(published(other))
    assert set(heard.latest) == {ACTIVE.id, "other"}


def test_latency_is_that_of_beginnings_only() -> None:
    heard = Heard()
    heard.add(published(ACTIVE, latency_ms=25.0))
    heard.add(published(replace(ACTIVE, id="next", continued=True), latency_ms=9.0))
    heard.add(published(replace(ACTIVE, state=DetectionState.ENDED), latency_ms=400.0))
    assert heard.latencies_ms == [25.0]


@pytest.mark.parametrize("name", ["earwitness-small/2", "earwitness-small-int8/2"])
def test_the_models_that_ship_find_all_that_the_demo_plays_and_nothing_else(name: str) -> None:
    scene, listener = Scene(), Listener.of(find(name))
    pcm = np.concatenate(list(scene.blocks()))[:, 0]
    heard = listener.hear_whole(pcm, scene.sample_rate_hz)
    verdicts, false = compare(list(scene.truth), [(f.label, f.start_s, f.end_s) for f in heard.found])
    assert [verdict.event for verdict in verdicts if verdict.heard_s is None] == []
    assert false == []
    lasts = {
        event.label: [one.end_s for one in scene.truth if one.label == event.label] for event in scene.truth
    }
    late = [f for f in heard.found if not any(0 <= f.end_s - end <= LATEST_S for end in lasts[f.label])]
    assert [f for f in late if f.label == "siren"] == [], "a detection may not outlast its sound for long"
