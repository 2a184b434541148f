"""Thresholds keep to a rate of false alarms, which labels share, and go into the spec alone."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.evaluation.events import Scene, event_f1
from earwitness.evaluation.heard import Heard
from earwitness.evaluation.thresholds import (
    Choice,
    Preferences,
    check_writable,
    choose_thresholds,
    write_choice,
)
from models.catalogue import find, names
from schemas.errors import ConfigurationError
from schemas.model import SPEC_FILE, read_spec
from tests.earwitness.evaluation.made import heard
from tests.processors.tiny_model import write_model

QUIET = [0.1] * 8


def barks(score: float, count: int = 5) -> list[Scene]:
    """A bark of 1.5 s in each of so many streams, heard with a score."""
    return [Scene(((4.0, 5.5, "dog"),), heard([*QUIET, score, score, *QUIET])) for _ in range(count)]


def negatives(dog: float, hours: int = 2) -> list[Heard]:
    """An hour each in which one window has a score."""
    return [heard([*([0.05] * 100), dog, *([0.05] * 7098)]) for _ in range(hours)]


def test_a_threshold_lies_between_what_should_and_should_not_be_heard() -> None:
    choice = choose_thresholds(barks(0.8), negatives(0.6), 0.5, preferences=Preferences(ways=[(1, 1)]))
    dog = choice.labels["dog"]
    assert 0.6 < dog.threshold <= 0.8
    assert (dog.event_f1, dog.false_alarms, choice.kept) == (1.0, 0, True)
    assert choice.macro_event_f1 == 1.0


@pytest.mark.parametrize(("margin", "low", "high"), [(0.0, 0.6, 0.62), (1.0, 0.8, 0.98)])
def test_a_margin_keeps_away_from_the_highest_score_that_was_counted(
    margin: float, low: float, high: float
) -> None:
    preferences = Preferences(ways=[(1, 1)], margin=margin)
    choice = choose_thresholds([*barks(0.62), *barks(0.98)], negatives(0.6), 0.5, preferences=preferences)
    assert low < choice.labels["dog"].threshold <= high
    assert choice.labels["dog"].false_alarms == 0


def test_what_finds_nothing_has_the_highest_threshold() -> None:
    choice = choose_thresholds(barks(0.1), negatives(0.6), 0.5, preferences=Preferences(ways=[(2, 2)]))
    assert (choice.labels["dog"].threshold, choice.labels["dog"].event_f1) == (0.99, 0.0)


def test_a_label_may_be_tried_with_other_windows_than_the_others() -> None:
    preferences = Preferences(ways=[(1, 1)], own_ways={"dog": [(2, 3)]})
    choice = choose_thresholds(barks(0.8), negatives(0.6), 0.5, preferences=preferences)
    assert {label: (of.m, of.n) for label, of in choice.labels.items()} == {"dog": (2, 3), "rain": (1, 1)}


@pytest.mark.parametrize(
    ("asked", "named"), [({"ways": []}, "ways"), ({"own_ways": {"dog": []}}, "own_ways[dog]")]
)
def test_without_an_m_of_n_to_try_nothing_can_be_chosen(asked: Mapping[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(named)} is .*at least one m of n to try"):
        Preferences(**asked)


def test_the_rate_goes_before_the_f1() -> None:
    choice = choose_thresholds(barks(0.5), negatives(0.6), 0.5, preferences=Preferences(ways=[(1, 1)]))
    assert choice.labels["dog"].threshold > 0.6
    assert choice.labels["dog"].event_f1 == 0.0


def test_a_rate_that_allows_for_a_false_alarm_lets_one_through() -> None:
    choice = choose_thresholds(
        barks(0.5), negatives(0.6, hours=2), 1.01, preferences=Preferences(ways=[(1, 1)])
    )
    assert choice.labels["dog"].threshold <= 0.5
    assert choice.labels["dog"].false_alarms_per_hour == pytest.approx(1.0, rel=1e-3)


def two_labels() -> tuple[list[Scene], list[Heard]]:
    """Barks that cost a false alarm to be heard, and rain that costs two, and is heard half of the time."""
    truth = ((4.0, 5.5, "dog"), (20.0, 25.5, "rain"))
    bark, quiet, wet = [*QUIET, 0.5, 0.5, *([0.1] * 50)], [0.1] * 10, [0.5] * 10
    scenes = [Scene(truth, heard(bark, [*([0.1] * 40), *part, *quiet])) for part in (wet, quiet, wet, quiet)]
    alarm, empty = [0.6], [0.05] * 1000
    return scenes, [heard([*empty, *alarm, *empty, 0.05], [*empty, *alarm, *empty[1:], *alarm, 0.05])]


@pytest.mark.parametrize(
    ("allowed", "weight", "heard_labels"),
    [(0, 1.0, set()), (1, 1.0, {"dog"}), (2, 1.0, {"dog"}), (2, 2.0, {"rain"}), (3, 1.0, {"dog", "rain"})],
)
def test_labels_share_what_is_allowed_so_that_most_is_heard(
    allowed: int, weight: float, heard_labels: set[str]
) -> None:
    scenes, empty = two_labels()
    hours = sum(one.seconds for one in empty) / 3600
    choice = choose_thresholds(
        scenes,
        empty,
        (allowed + 0.5) / hours,
        preferences=Preferences(ways=[(1, 1)], weights={"rain": weight}),
    )
    assert {label for label, of in choice.labels.items() if of.threshold <= 0.5} == heard_labels
    assert choice.kept


def test_a_label_that_no_threshold_keeps_quiet_is_said_to_be_so() -> None:
    choice = choose_thresholds(barks(0.8), negatives(1.0), 0.5, preferences=Preferences(ways=[(1, 1)]))
    assert (choice.labels["dog"].threshold, choice.kept) == (0.99, False)


def test_more_windows_are_asked_for_where_single_ones_are_false() -> None:
    choice = choose_thresholds(barks(0.5), negatives(0.9), 0.5)
    assert choice.labels["dog"].m > 1
    assert choice.macro_event_f1 == 1.0


def test_what_was_chosen_has_the_f1_that_it_promises() -> None:
    rng = np.random.default_rng(1)
    scenes = [
        Scene(
            ((3.0, 5.0, "dog"), (9.0, 11.0, "rain")),
            heard((rng.random(30) ** 3).tolist(), (rng.random(30) ** 3).tolist()),
        )
        for _ in range(20)
    ]
    choice = choose_thresholds(scenes, negatives(0.1), 1.0)
    decided = [Scene(scene.truth, scene.heard.decided_by(choice.into(scene.heard.spec))) for scene in scenes]
    assert event_f1(decided).macro == pytest.approx(choice.macro_event_f1)


def test_each_label_has_the_m_of_n_that_suits_it() -> None:
    steady = [0.6] * 12
    scenes = [
        Scene(
            ((4.0, 5.0, "dog"), (14.0, 20.5, "rain")),
            heard(
                [*([0.1] * 8), 0.9, *([0.1] * 40)],
                [*([0.1] * 28), *steady, *([0.1] * 9)],
            ),
        )
        for _ in range(5)
    ]
    knocks = [heard([0.05] * 7199, rain=([0.95] + [0.05] * 99) * 71 + [0.05] * 99)]
    choice = choose_thresholds(scenes, knocks, 1.0)
    assert (choice.labels["dog"].m, choice.labels["dog"].n) == (1, 1)
    assert choice.labels["rain"].m > 1
    assert (choice.labels["rain"].event_f1, choice.labels["rain"].false_alarms) == (1.0, 0)
    spec = choice.into(scenes[0].heard.spec)
    assert {label: spec.m_of_n_of(label) for label in spec.labels} == {
        label: (of.m, of.n) for label, of in choice.labels.items()
    }


def test_without_negatives_nothing_can_be_chosen() -> None:
    with pytest.raises(ConfigurationError, match="negatives to count on: there are 0 h"):
        choose_thresholds(barks(0.8), [], 1.0)


def chosen(labels: tuple[str, ...]) -> Choice:
    made = choose_thresholds(barks(0.8), negatives(0.6), 0.5, preferences=Preferences(ways=[(2, 3)]))
    dog = made.labels["dog"]
    return Choice(dict.fromkeys(labels, dog), 1.0, 0.0, 0.5, 2.0)


def test_only_thresholds_and_windows_of_a_spec_are_written(tmp_path: Path) -> None:
    before = write_model(tmp_path)
    choice = chosen(before.labels)
    write_choice(tmp_path, choice)
    after = read_spec(tmp_path)
    assert after == before.model_copy(update={"thresholds": choice.thresholds, "m": 2, "n": 3})
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", SPEC_FILE}
    assert json.loads((tmp_path / SPEC_FILE).read_text("utf-8"))["digest"] == before.digest


def test_a_choice_for_other_labels_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    before = write_model(tmp_path)
    with pytest.raises(ConfigurationError, match="the model's own labels"):
        write_choice(tmp_path, chosen(("dog",)))
    assert read_spec(tmp_path) == before


def test_a_model_without_a_spec_to_replace_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="that may be written"):
        check_writable(tmp_path)


def test_every_threshold_above_the_chosen_one_keeps_to_the_share_too() -> None:
    flickers = [0.9 if at % 4 == 0 else 0.3 for at in range(19)]  # at 0.3 once for 10 s, at 0.9 five times
    choice = choose_thresholds(
        barks(0.25), [heard([*flickers, *([0.0] * 7180)])], 4.0, preferences=Preferences(ways=[(1, 1)])
    )
    dog = choice.labels["dog"]
    assert (dog.threshold > 0.9, dog.false_alarms, dog.event_f1, choice.kept) == (True, 0, 0.0, True)


def test_a_label_that_is_always_on_is_a_false_alarm_for_each_10_s() -> None:
    always = [heard([1.0] * 7199)]
    choice = choose_thresholds(barks(0.8), always, 10.0, preferences=Preferences(ways=[(1, 1)]))
    dog = choice.labels["dog"]
    assert (dog.threshold, dog.false_alarms, choice.kept) == (0.99, 360, False)


@pytest.mark.parametrize(("highest", "expected"), [(0.1, 0.5), (0.6, 0.61), (1.0, 0.99)])
def test_a_label_without_events_keeps_the_models_threshold_or_has_the_first_higher_one_that_holds(
    highest: float, expected: float
) -> None:
    made = [heard([0.0] * 7199, rain=[*([0.05] * 7198), highest])]
    choice = choose_thresholds(barks(0.8), made, 0.5, preferences=Preferences(ways=[(1, 1)]))
    rain = choice.labels["rain"]
    assert (rain.threshold, rain.event_f1, choice.kept) == (expected, None, highest < 1.0)


def test_a_label_without_events_leaves_the_others_what_they_need() -> None:
    dogs = [*([0.0] * 20), 0.995] * 3
    made = [heard([*dogs, *([0.0] * 7136)], rain=[*([0.0] * 7198), 0.7])]
    choice = choose_thresholds(barks(0.8), made, 3.01, preferences=Preferences(ways=[(1, 1)]))
    assert (choice.labels["rain"].threshold, choice.labels["dog"].false_alarms, choice.kept) == (
        0.71,
        3,
        True,
    )


def test_a_models_threshold_that_is_not_among_those_tried_is_kept_as_it_is() -> None:
    made = heard([0.0] * 7199, rain=[0.05] * 7199)
    quiet = made.decided_by(made.spec.model_copy(update={"thresholds": {"dog": 0.5, "rain": 0.1234}}))
    assert (
        choose_thresholds(barks(0.8), [quiet], 0.5, preferences=Preferences(ways=[(1, 1)]))
        .labels["rain"]
        .threshold
        == 0.1234
    )


def test_a_score_that_equals_a_threshold_reaches_it_as_it_does_live() -> None:
    scenes = [*barks(0.7), *barks(0.05)]
    choice = choose_thresholds(scenes, negatives(0.69), 0.5, preferences=Preferences(ways=[(1, 1)]))
    decided = [Scene(s.truth, s.heard.decided_by(choice.into(s.heard.spec))) for s in scenes]
    assert choice.labels["dog"].threshold == 0.7
    assert event_f1(decided).macro == choice.macro_event_f1 == pytest.approx(2 / 3)


def test_a_model_that_ships_is_never_changed() -> None:
    with pytest.raises(ConfigurationError, match="a model of your own: copy its directory"):
        check_writable(find(names()[0]))
