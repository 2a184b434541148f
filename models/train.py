"""recordings + generated alerts -> a model directory: cross-validate, choose thresholds, train, export.

For each fold a network is trained on the others and listens to it; from what these networks made of
sounds they had never heard come the thresholds and every figure in the card. The model that ships is
trained on all folds, so that nothing is left to measure it on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models import card
from models.bank import Bank, Synthesise, Take, synthetic_takes, takes_by_recording
from models.evaluate import Evidence, choose_thresholds, listen, try_alerts
from models.export import Rule, export
from models.fit import FitSettings, Tick, fit, repeat_exactly
from models.network import Model, Network
from models.recordings import FOLDS, LABELS, Recording, read_ambience, read_esc10
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec

Begin = Callable[[str, int], Tick]
"""Told the name and the number of steps of each training; gives what is to be told of each step."""

UNHEARD_THRESHOLD = 0.5
"""For every label, where no fold was held out to choose thresholds on."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What to train on, where to put the model, and how much care to take."""

    data: Path
    out: Path
    folds: tuple[int, ...] = FOLDS
    """Folds to hold out in turn; with none, thresholds are a half and the card has no figures."""
    fit: FitSettings = field(default_factory=FitSettings)
    speeds: tuple[float, ...] = (1.0, 0.87, 0.93, 1.07, 1.15)
    synthetic: int = 600
    """Generated sounds to train on."""
    trials: int = 40
    """Generated alerts of each kind, at each SNR, to try in each fold."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not set(self.folds) <= set(FOLDS):
            raise ConfigurationError("folds", self.folds, f"any of {FOLDS}")
        if not self.speeds or self.speeds[0] != 1.0:
            raise ConfigurationError("speeds", self.speeds, "1.0, then others: it is what is tested")


@dataclass(frozen=True, slots=True)
class Trained:
    """The spec that was written, the evidence behind it, and the last training's loss at each step."""

    spec: ModelSpec
    evidence: Evidence
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Material:
    """All that may be trained on: recordings, their takes by path, and generated takes."""

    recordings: Sequence[Recording]
    takes: dict[str, list[Take]]
    synthetic: Sequence[Take]

    def bank(self, held_out: int | None) -> Bank:
        """Collect everything but a fold."""
        bank = Bank()
        for recording in self.recordings:
            if recording.fold == held_out:
                continue
            takes = self.takes[recording.path]
            if recording.is_background:
                bank.backgrounds.extend(takes)
            else:
                bank.labelled.append(takes)
        bank.alerts = [take for take in self.synthetic if take.label is not None]
        bank.backgrounds += [take for take in self.synthetic if take.label is None]
        return bank

    def fold(self, held_out: int) -> list[Recording]:
        """Return a fold's recordings."""
        return [recording for recording in self.recordings if recording.fold == held_out]


def train(settings: TrainSettings, synthesise: Synthesise, begin: Begin) -> Trained:
    """Train, test and write a model directory: model.onnx, spec.json and CARD.md.

    Raises:
        ConfigurationError: the data is not there, or the exported model fails its checks.

    """
    repeat_exactly()
    material = _gather(settings, synthesise)
    evidence = Evidence((), ())
    for fold in settings.folds:
        evidence += _cross_validate(settings, material, synthesise, begin, fold)
    losses: list[float] = []
    network = _fit(settings, material.bank(None), begin, "all folds", losses)
    rule = Rule(choose_thresholds(evidence) if settings.folds else _even_thresholds())
    spec = export(Model(network), rule, settings.out)
    card.write(settings.out, spec, evidence, card.Facts(settings.fit, settings.seed, material.recordings))
    return Trained(spec, evidence, tuple(losses))


def _gather(settings: TrainSettings, synthesise: Synthesise) -> _Material:
    versions = [
        read_esc10(settings.data, speed) + read_ambience(settings.data, speed) for speed in settings.speeds
    ]
    rng = np.random.default_rng(settings.seed)
    synthetic = synthetic_takes(synthesise, rng, settings.synthetic)
    return _Material(versions[0], takes_by_recording(versions), synthetic)


def _cross_validate(
    settings: TrainSettings,
    material: _Material,
    synthesise: Synthesise,
    begin: Begin,
    fold: int,
) -> Evidence:
    """Train without a fold, then listen to it."""
    network = _fit(settings, material.bank(fold), begin, f"without fold {fold}", [])
    model, held_out = Model(network).eval(), material.fold(fold)
    ambience = [recording for recording in held_out if recording.path.startswith("ambience/")]
    rng = np.random.default_rng([settings.seed, fold])
    trials = try_alerts(model, ambience, synthesise, rng, settings.trials)
    return Evidence(listen(model, held_out), trials)


def _fit(settings: TrainSettings, bank: Bank, begin: Begin, name: str, losses: list[float]) -> Network:
    tick = begin(name, settings.fit.steps)

    def record(loss: float) -> None:
        losses.append(loss)
        tick(loss)

    return fit(bank, settings.fit, settings.seed, record)


def _even_thresholds() -> dict[str, float]:
    return dict.fromkeys(LABELS, UNHEARD_THRESHOLD)
