"""A fold is decided by what is found in the others, and by its own network's false alarms."""

from collections.abc import Sequence

from earwitness.evaluation.events import Scene
from earwitness.evaluation.evidence import EvaluateSettings, Evidence
from earwitness.evaluation.heard import Heard
from earwitness.evaluation.negatives import Negative
from earwitness.shipping.crosswise import Fold, choose, choose_crosswise, crosswise, together
from tests.earwitness.evaluation.made import heard, spec_of

SETTINGS = EvaluateSettings()
EVENT = [0.0] * 4 + [0.97] * 8 + [0.0] * 4
TRUTH = ((2.0, 6.5, "dog"),)


def evidence(scenes: Sequence[Scene] = (), negatives: Sequence[Negative] = ()) -> Evidence:
    """Return what a network heard."""
    return Evidence(spec_of(), (), tuple(scenes), {}, tuple(negatives), {"rooms": (len(negatives), 0)})


def fold(false_score: float, event: Sequence[float] = EVENT) -> Fold:
    """Return a fold with an event of a dog, and a network that hears a dog up to a score in negatives."""
    return Fold(evidence([Scene(TRUTH, heard(event))]), (), empty(false_score))


def empty(false_score: float) -> tuple[Heard, ...]:
    """Return negatives in which a dog is heard up to a score."""
    return (heard(([0.0] * 5 + [false_score] * 6) * 30),)


def test_what_is_chosen_for_a_fold_does_not_depend_on_its_events() -> None:
    faint = [0.5 * score for score in EVENT]
    one, other = ([fold(0.3, event), fold(0.3), fold(0.3)] for event in (EVENT, faint))
    assert choose_crosswise(one, 1.0, SETTINGS)[0] == choose_crosswise(other, 1.0, SETTINGS)[0]
    assert choose_crosswise(one, 1.0, SETTINGS)[1] != choose_crosswise(other, 1.0, SETTINGS)[1]


def test_each_network_counts_its_own_false_alarms() -> None:
    loud, *others = choose_crosswise([fold(0.9), fold(0.3), fold(0.3)], 1.0, SETTINGS)
    assert loud.thresholds["dog"] > 0.9
    assert all(choice.thresholds["dog"] < 0.9 for choice in others)


def test_the_thresholds_that_ship_are_chosen_by_all_folds_and_the_false_alarms_of_what_ships() -> None:
    chosen = choose([fold(0.9), fold(0.9)], empty(0.8), 1.0, SETTINGS)
    assert 0.8 < chosen.thresholds["dog"] <= 0.97
    assert chosen.labels["dog"].false_alarms == 0
    higher = choose([fold(0.9), fold(0.9)], empty(0.9), 1.0, SETTINGS)
    assert chosen.thresholds["dog"] < higher.thresholds["dog"]


def test_every_fold_is_decided_by_its_own_choice() -> None:
    folds = [fold(0.985), fold(0.3)]
    choices = choose_crosswise(folds, 1.0, SETTINGS)
    decided = crosswise(folds, choices)
    assert [scene.heard.spec.thresholds["dog"] for scene in decided.scenes] == [
        choice.thresholds["dog"] for choice in choices
    ]
    assert not decided.scenes[0].heard.found
    assert decided.scenes[1].heard.found


def test_evidence_put_together_adds_up() -> None:
    both = together([evidence(negatives=[Negative("rooms", "speech", empty(0.3)[0])])] * 2)
    assert len(both.negatives) == 2
    assert both.counts == {"rooms": (2, 0)}
