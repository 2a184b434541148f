"""How two models agree in the time to which both listened, counted sample by sample."""

import random
from dataclasses import replace

import pytest

from earwitness.analysis.agreement import Agreement, Comparison
from earwitness.analysis.intervals import Interval, common, length, met, union, without
from earwitness.analysis.sides import Side
from schemas.coverage import Outcome
from schemas.detection import DetectionState
from tests.earwitness.analysis.said import covered, detected

TOPIC = "audio.frames"


def side(*listened: tuple[float, float]) -> Side:
    """Return a side that listened to some seconds."""
    made = Side("audio.detections", 0)
    for begin_s, end_s in listened:
        made.cover(covered(begin_s, end_s))
    return made


def hear(to: Side, *sounds: tuple[float, float], label: str = "siren") -> Side:
    """Have a side hear a label in some seconds."""
    for offset, (begin_s, end_s) in enumerate(sounds):
        to.hear(detected(begin_s, end_s, label), offset)
    return to


def compare(model: Side, candidate: Side) -> Comparison:
    compared = Comparison(TOPIC, ("siren", "bark"), 3)
    compared.add((model, candidate))
    return compared


def seconds(of: Agreement) -> tuple[float, float, float, float]:
    return of.both_s, of.only_model_s, of.only_candidate_s, of.neither_s


def test_what_only_one_listened_to_is_left_out_and_told() -> None:
    #          0    2    4    6    8    10
    # model    |=========scored==|             siren 1 to 5
    # other         |========scored=====|      siren 4 to 9
    compared = compare(hear(side((0, 8)), (1, 5)), hear(side((2, 10)), (4, 9)))
    assert seconds(compared.by_label["siren"]) == (1.0, 2.0, 3.0, 0.0)
    listened = compared.listened
    assert (listened.both_s, listened.only_model_s, listened.only_candidate_s) == (6.0, 2.0, 2.0)
    assert listened.sensors == {"kitchen"}


def test_what_was_not_scored_was_not_listened_to() -> None:
    deaf = side((0, 2))
    deaf.cover(covered(2, 8, Outcome.SHED))
    assert compare(side((0, 8)), deaf).listened.both_s == 2.0


def test_a_detection_that_has_ended_counts_over_one_that_goes_on_and_over_its_repetition() -> None:
    for order in ((0, 1), (1, 0), (0, 1, 0)):
        statements = [replace(detected(1, 7), state=DetectionState.ACTIVE), detected(1, 3)]
        model = side((0, 10))
        for number in order:
            model.hear(statements[number], number)
        assert seconds(compare(model, side((0, 10))).by_label["siren"]) == (0.0, 2.0, 0.0, 8.0)


def test_detections_that_go_on_in_one_another_are_one_sound_and_met_once() -> None:
    compared = compare(
        hear(side((0, 20)), (1, 3), (3, 5), (8, 9)), hear(side((0, 20)), (2, 3), (4, 6), (15, 16))
    )
    siren = compared.by_label["siren"]
    counts = siren.model_sounds, siren.model_met, siren.candidate_sounds, siren.candidate_met
    assert counts == (2, 1, 3, 2)


def test_the_figures_are_those_of_the_formulas_by_hand() -> None:
    # p_o = 14/19, p_e = (6 * 5 + 13 * 14) / 19^2: kappa = (266 - 212) / (361 - 212)
    counted = Agreement(both_s=3, only_model_s=3, only_candidate_s=2, neither_s=11)
    assert counted.jaccard == pytest.approx(3 / 8)
    assert counted.kappa == pytest.approx(54 / 149)
    assert Agreement(neither_s=9).jaccard is None
    assert Agreement(neither_s=9).kappa is None
    assert Agreement(both_s=2, neither_s=9).kappa == pytest.approx(1.0)


def test_the_longest_disagreements_are_kept_of_each_label_and_side_and_say_where_they_are() -> None:
    model = hear(side((0, 60)), (1, 2), (5, 9), (20, 22), (30, 33))
    found = compare(model, hear(side((0, 60)), (40, 41), label="bark")).disagreements
    assert [(d.label, d.by, d.seconds) for d in found] == [
        ("bark", "candidate", 1.0),
        ("siren", "model", 4.0),
        ("siren", "model", 3.0),
        ("siren", "model", 2.0),
    ]
    longest = found[1]
    assert longest.detection == "audio.detections[0]@1"
    assert (longest.sensor, longest.start_us) == ("kitchen", detected(5, 9).start_us)
    assert (longest.topic, longest.first_offset, longest.last_offset) == (TOPIC, 5, 9)


def test_a_disagreement_in_the_middle_of_a_detection_begins_there() -> None:
    (found,) = compare(hear(side((0, 10)), (1, 6)), hear(side((0, 10)), (1, 4))).disagreements
    assert (found.start_us, found.seconds) == (detected(4, 6).start_us, 2.0)


@pytest.mark.parametrize("seed", range(20))
def test_against_every_sample_counted_one_by_one(seed: int) -> None:
    r = random.Random(seed)  # noqa: S311 - nothing is kept secret by it

    def drawn() -> list[Interval]:
        starts = [r.randint(0, 90) for _ in range(r.randint(0, 8))]
        return [(start, start + r.randint(1, 15)) for start in starts]

    def marked(intervals: list[Interval]) -> set[int]:
        return {at for start, end in intervals for at in range(start, end)}

    a, b = drawn(), drawn()
    in_a, in_b = marked(a), marked(b)
    assert marked(union(a)) == in_a
    assert marked(common(union(a), union(b))) == in_a & in_b
    assert marked(without(union(a), union(b))) == in_a - in_b
    assert length(union(a)) == len(in_a)
    assert met(union(a), union(b)) == sum(any(at in in_b for at in range(*one)) for one in union(a))
    heard_a, heard_b = (hear(side((0, 50), (45, 110)), *sounds) for sounds in (a, b))
    siren = compare(heard_a, heard_b).by_label["siren"]
    expected = len(in_a & in_b), len(in_a - in_b), len(in_b - in_a), 110 - len(in_a | in_b)
    assert seconds(siren) == expected
