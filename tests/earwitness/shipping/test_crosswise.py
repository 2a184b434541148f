"""A fold is decided by what the other folds chose, and by nothing of its own."""

from collections.abc import Sequence

from earwitness.evaluation.events import Scene
from earwitness.evaluation.evidence import EvaluateSettings, Evidence
from earwitness.evaluation.negatives import Negative
from earwitness.shipping.crosswise import Fold, choose, choose_crosswise, crosswise, together
from tests.earwitness.evaluation.made import heard, spec_of

SETTINGS = EvaluateSettings()
EVENT = [0.0] * 4 + [0.97] * 8 + [0.0] * 4
TRUTH = ((2.0, 6.5, "dog"),)


def evidence(scenes: Sequence[Scene] = (), negatives: Sequence[Negative] = ()) -> Evidence:
    """Return what a network heard."""
    return Evidence(spec_of(), (), tuple(scenes), {}, tuple(negatives), {"rooms": (len(negatives), 0)})


def fold(false_score: float) -> Fold:
    """Return a fold with an event of a dog, and negatives in which a dog is heard up to a score."""
    negative = Negative("rooms", "speech", heard(([0.0] * 5 + [false_score] * 6) * 30))
    return Fold(evidence([Scene(TRUTH, heard(EVENT))]), (), evidence(negatives=[negative]))


def test_what_is_chosen_for_a_fold_does_not_depend_on_it() -> None:
    quiet, loud = [fold(0.3), fold(0.3), fold(0.3)], [fold(0.9), fold(0.3), fold(0.3)]
    assert choose_crosswise(quiet, 1.0, SETTINGS)[0] == choose_crosswise(loud, 1.0, SETTINGS)[0]
    others = choose_crosswise(loud, 1.0, SETTINGS)[1:]
    assert all(choice.thresholds["dog"] > 0.9 for choice in others)


def test_the_thresholds_that_ship_are_chosen_by_all_folds() -> None:
    assert choose([fold(0.3), fold(0.8)], 1.0, SETTINGS).thresholds["dog"] > 0.8


def test_every_fold_is_decided_by_its_own_choice() -> None:
    folds = [fold(0.3), fold(0.985)]
    choices = choose_crosswise(folds, 1.0, SETTINGS)
    decided = crosswise(folds, choices)
    assert [scene.heard.spec.thresholds["dog"] for scene in decided.scenes] == [
        choice.thresholds["dog"] for choice in choices
    ]
    assert not decided.scenes[0].heard.found
    assert decided.scenes[1].heard.found


def test_evidence_put_together_adds_up() -> None:
    both = together([fold(0.3).negatives, fold(0.4).negatives])
    assert len(both.negatives) == 2
    assert both.counts == {"rooms": (2, 0)}
