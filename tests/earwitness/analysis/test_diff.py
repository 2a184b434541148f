"""What two models hear differently in the same sound.

samples   0    10   20   30   40   50   60
A         |====|====|         |====|
B         |=========|    |==|      |====|
"""

import random
from dataclasses import replace

import pytest

from earwitness.analysis.diff import Kind, compare
from schemas.detection import Detection
from tests.processors.test_publish import ACTIVE

RATE_HZ = 10


def heard(start: int, end: int, label: str = "siren", **fields: object) -> Detection:
    """Return a detection over some samples; its id is that of its place, for A and B alike."""
    detection = replace(
        ACTIVE,
        id=f"{label} {start}",
        label=label,
        start_sample=start,
        end_sample=end,
        sample_rate_hz=RATE_HZ,
        start_us=start * 100_000,
        end_us=end * 100_000,
        peak_score=0.75,
    )
    return replace(detection, **fields)  # type: ignore[arg-type]


def by_b(start: int, end: int, label: str = "siren") -> Detection:
    """Return what B heard: with other settings, it has another id."""
    return heard(start, end, label, id=f"b {label} {start}", decision_digest="b" * 64)


def test_segments_that_follow_one_another_are_one_sound() -> None:
    compared = compare([heard(0, 10), heard(10, 20, continued=True)], [by_b(0, 20)])
    assert compared.differences == []
    assert compared.by_label["siren"].alike == 1


def test_what_only_one_hears_is_told_with_its_ids_and_seconds() -> None:
    compared = compare([heard(0, 20), heard(40, 50)], [by_b(0, 20), by_b(30, 33), by_b(50, 60)])
    kinds = [(d.kind, d.sound.start_sample, d.sound.ids) for d in compared.differences]
    assert kinds == [
        (Kind.ONLY_A, 40, ("siren 40",)),
        (Kind.ONLY_B, 30, ("b siren 30",)),
        (Kind.ONLY_B, 50, ("b siren 50",)),
    ]
    tally = compared.by_label["siren"]
    assert (tally.alike, tally.only_a, tally.only_b) == (1, 1, 2)
    assert (tally.seconds_a, tally.seconds_b, tally.seconds_both) == (3.0, 3.3, 2.0)


def test_a_sound_that_both_hear_from_another_sample_has_other_edges() -> None:
    (difference,) = compare([heard(0, 20)], [by_b(5, 20)]).differences
    assert (difference.kind, difference.a and difference.a.start_sample) == (Kind.EDGES, 0)
    assert difference.b
    assert difference.b.start_sample == 5


def test_one_sound_of_a_that_is_two_of_b_is_compared_with_the_longer() -> None:
    (difference,) = compare([heard(0, 50)], [by_b(0, 10), by_b(20, 50)]).differences
    assert difference.kind is Kind.EDGES
    assert difference.b
    assert difference.b.start_sample == 20


def test_labels_sensors_and_epochs_are_kept_apart() -> None:
    for other in (by_b(0, 20, "bark"), replace(by_b(0, 20), sensor="hall"), replace(by_b(0, 20), epoch="2")):
        kinds = [d.kind for d in compare([heard(0, 20)], [other]).differences]
        assert kinds == [Kind.ONLY_A, Kind.ONLY_B]


def test_the_same_id_with_another_value_names_the_fields() -> None:
    compared = compare([heard(0, 20)], [heard(0, 20, peak_score=0.5, windows=3)])
    (difference,) = compared.differences
    assert (difference.kind, difference.fields) == (Kind.FIELDS, ("peak_score", "windows"))
    assert compared.identical == 0


def test_the_surest_example_comes_first() -> None:
    quiet, loud = heard(0, 10, peak_score=0.6), heard(40, 50, peak_score=0.9)
    assert [d.sound.peak_score for d in compare([quiet, loud], []).differences] == [0.9, 0.6]


def test_a_detection_without_a_score_is_compared_like_any_other() -> None:
    (difference,) = compare([heard(0, 10, peak_score=None)], []).differences
    assert difference.sound.peak_score is None


@pytest.mark.parametrize("seed", range(20))
def test_against_every_sample_counted_one_by_one(seed: int) -> None:
    """The seconds of each, and of both, are those of samples that are marked one by one."""
    r = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    sides: list[list[Detection]] = []
    for make in (heard, by_b):
        at, found = 0, []
        while at < 300:
            at += r.randint(0, 12)
            found.append(make(at, end := at + r.randint(1, 15)))
            at = end
        sides.append(r.sample(found, len(found)))
    a, b = ({s for d in side for s in range(d.start_sample, d.end_sample)} for side in sides)
    tally = compare(*sides).by_label["siren"]
    told = (tally.seconds_a, tally.seconds_b, tally.seconds_both)
    assert told == pytest.approx((len(a) / RATE_HZ, len(b) / RATE_HZ, len(a & b) / RATE_HZ))
    assert compare(sides[0], sides[0]).differences == []
