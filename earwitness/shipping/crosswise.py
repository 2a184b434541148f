"""The networks of a cross-validation -> thresholds for the one that ships, and honest figures for the recipe.

    fold 1  fold 2  fold 3  fold 4      each heard by a network that was trained without it
      ▒       ▓       ▓       ▓         F1 at every threshold from ▓, for use on ▒; then the next fold
      all four together                 for the network that ships
    negatives                           false alarms at every threshold, of each network itself

So no figure comes from a recording that a network, or a threshold, has been fitted to. How often a network is
wrong where nothing is differs more between networks than what it finds, so each counts its own false alarms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earwitness.evaluation.events import Scene
from earwitness.evaluation.evidence import EvaluateSettings, Evidence, Tick, hear
from earwitness.evaluation.heard import Heard
from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import hear_streams
from earwitness.evaluation.robustness import Trial
from earwitness.evaluation.thresholds import WAYS, Choice, Preferences, choose_thresholds
from models.dataset import Entry, to_pcm
from models.generate import ALERTS, draw_alert
from models.recordings import GENERATED_S
from models.scenes.streams import Recorded, draw_streams

VALIDATION_ALERTS = 24
"""Of each kind, in each fold, from the generator that training has: the other one only tests."""
VALIDATION_SNR_DB = (-3.0, 40.0)
AUDIBLE = 0.03
"""Of an alert's peak: 30 dB below it."""
PREFERENCES = Preferences(
    ways=tuple((m, n) for m, n in WAYS if m > 1 and n <= 4),
    own_ways={"smoke_alarm": tuple((m, n) for m, n in WAYS if m > 1 and n <= 6)},
    weights=dict.fromkeys(ALERTS, 9.0),
    margin=0.3,
)
"""To miss an alarm is worse than to miss a dog. A single window is never enough, and a memory of more than
four lets a detection outlast its sound; but a smoke alarm pauses for 1.5 s (ISO 8201). The margin: a network
had several times the false alarms that it was chosen for in packages of negatives that were left out of
choosing."""


@dataclass(frozen=True, slots=True)
class Fold:
    """What the network without a fold made of that fold, and of what thresholds are chosen by."""

    tested: Evidence
    alerts: tuple[Scene, ...]
    """Streams with alerts from training's own generator."""
    negatives: tuple[Heard, ...]
    """Negatives that only choose, heard by the same network."""


def hear_fold(
    trial: Trial,
    number: int,
    ambience: Sequence[Entry],
    choosing: Mapping[str, Sequence[Entry]],
    settings: EvaluateSettings,
) -> Fold:
    """Hear a fold, its ambience, and the negatives that thresholds are chosen by.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    seeded = replace(settings, seed=settings.seed + number)
    return Fold(
        tested=hear([trial], {"ambience": ambience}, replace(seeded, noise_hours=0.0), silently),
        alerts=tuple(_alerts(trial, seeded)),
        negatives=hear_choosing(trial.listener, choosing, settings),
    )


def hear_choosing(
    listener: Listener, choosing: Mapping[str, Sequence[Entry]], settings: EvaluateSettings
) -> tuple[Heard, ...]:
    """Hear the negatives that thresholds are chosen by; every network hears the same.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    evidence = hear_empty(listener, choosing, replace(settings, seed=settings.seed + 100))
    return tuple(negative.heard for negative in evidence.negatives)


def hear_empty(
    listener: Listener, negatives: Mapping[str, Sequence[Entry]], settings: EvaluateSettings
) -> Evidence:
    """Hear negatives and nothing else.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    return hear([Trial(listener, (), ())], negatives, replace(settings, passes=0, alarms=0), silently)


def choose(
    folds: Sequence[Fold], negatives: Sequence[Heard], per_hour: float, settings: EvaluateSettings
) -> Choice:
    """Choose for a network, by what was found in folds and by its own false alarms."""
    scenes = [scene for fold in folds for scene in (*fold.tested.scenes, *fold.alerts)]
    return choose_thresholds(scenes, negatives, per_hour, settings.events, PREFERENCES)


def choose_crosswise(folds: Sequence[Fold], per_hour: float, settings: EvaluateSettings) -> list[Choice]:
    """Choose for each fold by the events of the others, and by its own network's false alarms."""
    return [
        choose([one for one in folds if one is not fold], fold.negatives, per_hour, settings)
        for fold in folds
    ]


def crosswise(folds: Sequence[Fold], choices: Sequence[Choice]) -> Evidence:
    """Decide each fold by what was chosen on the others, and put all together."""
    return together(
        [
            fold.tested.decided_by(choice.into(fold.tested.spec))
            for fold, choice in zip(folds, choices, strict=True)
        ]
    )


def together(parts: Sequence[Evidence]) -> Evidence:
    """Put evidence together as if one model had heard it all; the spec is the first one's."""
    snrs_db = {snr_db for part in parts for snr_db in part.alarms}
    return replace(
        parts[0],
        counts=_summed([part.counts for part in parts]),
        clips=tuple(clip for part in parts for clip in part.clips),
        scenes=tuple(scene for part in parts for scene in part.scenes),
        alarms={
            snr_db: tuple(scene for part in parts for scene in part.alarms.get(snr_db, ()))
            for snr_db in sorted(snrs_db)
        },
        negatives=tuple(negative for part in parts for negative in part.negatives),
    )


def _summed(counts: Sequence[Mapping[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    names = dict.fromkeys(name for one in counts for name in one)
    return {
        name: (
            sum(one.get(name, (0, 0))[0] for one in counts),
            sum(one.get(name, (0, 0))[1] for one in counts),
        )
        for name in names
    }


def _alerts(trial: Trial, settings: EvaluateSettings) -> list[Scene]:
    rng = np.random.default_rng([settings.seed, 1])
    drawn = [
        Recorded(to_pcm(_from_first_to_last(draw_alert(rng, label, GENERATED_S))), label, whole=True)
        for _ in range(VALIDATION_ALERTS)
        for label in ALERTS
    ]
    made = replace(settings.streams, snr_db=VALIDATION_SNR_DB, overlapping=0.0)
    return list(hear_streams(trial.listener, draw_streams(rng, drawn, trial.backgrounds, made)))


def _from_first_to_last(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut off a pattern's pauses before its first sound and after its last: nobody could hear them."""
    loud = np.flatnonzero(np.abs(sound) >= AUDIBLE * np.abs(sound).max())
    return sound[loud[0] : loud[-1] + 1]


def silently(_name: str, _steps: int) -> Tick:
    """Begin something that nobody watches."""
    return lambda: None
