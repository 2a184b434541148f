"""Event F1 counts the pipeline's own detections by collars; PSDS follows the same rule at every threshold."""

from dataclasses import replace

import numpy as np
import pytest

from earwitness.evaluation import sed
from earwitness.evaluation.events import (
    EventSettings,
    Scene,
    collars,
    curves,
    event_f1,
    event_figures,
    names_of,
    truth_of,
)
from tests.earwitness.evaluation.made import heard

QUIET = [0.1] * 4


def scene(dog: list[float], *truth: tuple[float, float, str], rain: list[float] | None = None) -> Scene:
    return Scene(truth, heard(dog, rain))


def counts(scenes: list[Scene], label: str = "dog", **settings: float) -> tuple[int, int, int]:
    found = event_f1(scenes, EventSettings(**settings)).by_label[label]
    return found.tp, found.fp, found.fn


def test_a_detection_within_the_collars_finds_its_event() -> None:
    scenes = [scene([*QUIET, 0.9, 0.9, *QUIET], (2.5, 3.5, "dog"))]  # detected from 2.0 to 3.5 s
    assert counts(scenes) == (1, 0, 0)
    assert event_f1(scenes).macro == 1.0


@pytest.mark.parametrize("event", [(3.1, 3.6), (0.5, 3.5), (2.0, 5.1 + 1.6)])
def test_a_detection_outside_a_collar_is_false_and_its_event_missed(event: tuple[float, float]) -> None:
    assert counts([scene([*QUIET, 0.9, 0.9, *QUIET, *QUIET], (*event, "dog"))], offset_share=0.0) == (0, 1, 1)


def test_the_end_of_a_long_event_may_be_off_by_half_its_length() -> None:
    scenes = [scene([*QUIET, 0.9, 0.9, *QUIET, *QUIET], (2.0, 5.0, "dog"))]
    assert counts(scenes, offset_share=0.0, offset_collar_s=1.0) == (0, 1, 1)
    assert counts(scenes, offset_share=0.5, offset_collar_s=1.0) == (1, 0, 0)


def test_an_event_is_found_once() -> None:
    twice = [0.9, 0.1, 0.1, 0.9, *QUIET]  # 0 to 1 s, and 1.5 to 2.5 s
    scenes = [scene(twice, (0.5, 1.5, "dog"))]
    assert counts(scenes) == (1, 1, 0)
    assert counts(scenes, bridge_s=0.5) == (1, 0, 0)


def test_detections_of_a_label_without_events_count_in_the_micro_mean_alone() -> None:
    f1 = event_f1([scene([0.9, *QUIET], (0.0, 1.0, "dog"), rain=[0.1, 0.1, 0.1, 0.1, 0.9])])
    assert (f1.by_label["rain"].tp, f1.by_label["rain"].fp) == (0, 1)
    assert f1.macro == 1.0
    assert f1.micro == pytest.approx(2 / 3)


def test_a_perfect_model_has_all_of_every_measure() -> None:
    scenes = [scene([*QUIET, 0.9, 0.9, *QUIET], (2.0, 3.5, "dog"), rain=[0.1] * 10) for _ in range(3)]
    scenes.append(scene([0.1] * 10, (0.5, 2.0, "rain"), rain=[0.1, 0.9, 0.9, *QUIET, 0.1, 0.1, 0.1]))
    figures = event_figures(scenes)
    assert figures.event_f1.macro == figures.event_f1_joined.macro == 1.0
    assert [f1.macro for f1 in figures.intersection_f1.values()] == [1.0, 1.0]
    assert figures.psds == pytest.approx({"psds_1": 1.0, "psds_2": 1.0})
    assert figures.events == 4


def test_one_label_alone_has_figures_too() -> None:
    figures = event_figures([scene([0.9, 0.9, *QUIET], (0.0, 1.5, "dog"))])
    assert figures.psds["psds_1"] == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(5))
def test_scores_at_the_models_threshold_say_what_the_pipeline_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [
        Scene(((3.0, 5.0, "dog"), (8.0, 9.0, "dog"), (12.0, 14.0, "rain")), made)
        for made in (heard(rng.random(40).tolist(), rng.random(40).tolist(), m=2, n=3) for _ in range(4))
    ]
    _, _, _, by_score = sed.collar_based().fscore(
        curves(scenes),
        truth_of(scenes),
        np.nextafter(np.float32(0.5), np.float32(0)),
        **collars(EventSettings()),
    )
    names = names_of(scenes)
    for label, found in event_f1(scenes).by_label.items():
        assert (found.tp, found.fp) == (by_score[names[label]]["tps"], by_score[names[label]]["fps"])


@pytest.mark.parametrize("label", ["onset", "offset", "macro_average"])
def test_a_label_may_be_called_what_the_library_calls_its_own(label: str) -> None:
    made = heard([*QUIET, 0.9, 0.9, *QUIET], rain=[0.1] * 10)
    scores = {"dog": label, "rain": "rain"}
    spec = made.spec.model_copy(
        update={"labels": tuple(scores.values()), "thresholds": dict.fromkeys(scores.values(), 0.5)}
    )
    named = replace(made, spec=spec).decided_by(spec)
    figures = event_figures([Scene(((2.0, 3.5, label),), named)])
    assert (figures.event_f1.by_label[label].tp, figures.event_f1.macro) == (1, 1.0)
    assert set(figures.psds_by_label["psds_1"]) == {label}
