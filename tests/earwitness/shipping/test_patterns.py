"""Every pattern of the second generator sounds, and counts as found where its label is detected meanwhile."""

import numpy as np
import pytest

from earwitness.evaluation.listener import Listener
from earwitness.evaluation.robustness import Trial
from earwitness.shipping.patterns import SNRS_DB, Tried, found_by_pattern, meets, try_patterns
from models import catalogue
from models.dataset import to_pcm
from models.scenes.alarms import PATTERNS
from models.scenes.noises import draw_noise
from models.scenes.streams import Recorded

DIRECTORY = catalogue.CATALOGUE / "earwitness-small" / "2"


@pytest.fixture(name="trial", scope="module")
def _trial() -> Trial:
    hiss = draw_noise(np.random.default_rng(0), "coloured", 20.0, 16_000)
    return Trial(Listener.of(DIRECTORY), (), [Recorded(to_pcm(0.05 * hiss), "hiss")])


def tried_at(trial: Trial, threshold: float) -> list[Tried]:
    spec = trial.listener.spec
    decided = spec.model_copy(update={"thresholds": dict.fromkeys(spec.labels, threshold)})
    return list(try_patterns(trial, decided, 1, [1]))


def test_every_pattern_sounds_at_every_snr(trial: Trial) -> None:
    tried = tried_at(trial, 0.5)
    every = {(label, pattern, snr) for label in PATTERNS for pattern in PATTERNS[label] for snr in SNRS_DB}
    assert {(one.label, one.pattern, one.snr_db) for one in tried} == every
    assert len(tried) == len(every)
    assert sum(one.found for one in tried) > len(tried) / 2


@pytest.mark.parametrize(("threshold", "found"), [(1e-9, True), (1.0, False)])
def test_what_is_found_depends_on_thresholds(trial: Trial, threshold: float, found: bool) -> None:
    assert {one.found for one in tried_at(trial, threshold)} == {found}


@pytest.mark.parametrize(
    ("span", "met"),
    [
        ((0.0, 1.0), False),
        ((0.0, 2.0), False),
        ((0.0, 2.5), True),
        ((3.0, 4.0), True),
        ((0.0, 9.0), True),
        ((4.5, 9.0), True),
        ((5.0, 9.0), False),
    ],
)
def test_a_detection_before_or_after_an_alert_is_not_of_it(span: tuple[float, float], met: bool) -> None:
    assert meets([span], 2.0, 5.0) == met
    assert meets([(0.0, 1.0), span], 2.0, 5.0) == met


def test_shares_are_of_a_pattern_at_an_snr() -> None:
    tried = [Tried("siren", "wail", 0.0, found=number < 3) for number in range(4)]
    tried += [Tried("siren", "wail", 20.0, found=True), Tried("siren", "yelp", 0.0, found=False)]
    told = found_by_pattern(tried)
    assert (told["siren"]["wail"]["0"]["right"], told["siren"]["wail"]["0"]["all"]) == (3, 4)
    assert told["siren"]["wail"]["20"]["value"] == 1.0
    assert told["siren"]["yelp"] == {"0": told["siren"]["yelp"]["0"]}
    assert told["siren"]["yelp"]["0"]["value"] == 0.0
