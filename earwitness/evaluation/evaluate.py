"""Models, recordings and negatives -> figures, of several models as if they were one."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from earwitness.evaluation.calibration import Calibration, calibration
from earwitness.evaluation.clips import ClipFigures, clip_figures
from earwitness.evaluation.events import EventFigures, Scene, event_figures
from earwitness.evaluation.evidence import Begin, EvaluateSettings, Evidence, hear
from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import Part, backgrounds
from earwitness.evaluation.negatives import FalseAlarms, false_alarms
from earwitness.evaluation.robustness import Curves, Trial, points, robustness
from models.dataset import Entry
from schemas.errors import ConfigurationError
from schemas.model import file_digest


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that is measured; None where there was nothing to measure it on."""

    clips: ClipFigures
    events: EventFigures | None
    alarms: dict[float, EventFigures]
    """By SNR in dB."""
    false_alarms: FalseAlarms
    calibration: Calibration | None
    robustness: Curves


def evaluate(
    parts: Sequence[Part],
    negatives: Mapping[str, Sequence[Entry]],
    settings: EvaluateSettings | None = None,
    begin: Begin = lambda _name, _steps: lambda: None,
) -> tuple[Figures, Evidence]:
    """Hear everything with the model of each part, and measure it as if it were one.

    `negatives` are recordings by the name of their source; several parts share them out.

    Raises:
        ConfigurationError: a model or a recording cannot be used, or the parts' labels differ.

    """
    settings = settings or EvaluateSettings()
    trials = [
        _trial(part, listener, number, settings)
        for number, (part, listener) in enumerate(zip(parts, listeners_of(parts), strict=True))
    ]
    evidence = hear(trials, negatives, settings, begin)
    figures = replace(measure(evidence, settings), robustness=_robustness(trials, settings, begin))
    return figures, evidence


def listeners_of(parts: Sequence[Part]) -> list[Listener]:
    """Open the model of each part.

    Raises:
        ConfigurationError: there is none, one cannot be used, or the parts' labels differ.

    """
    listeners = [Listener.of(part.model) for part in parts]
    if len({listener.spec.labels for listener in listeners}) != 1:
        raise ConfigurationError("model", [str(part.model) for part in parts], "models of the same labels")
    return listeners


def measure(evidence: Evidence, settings: EvaluateSettings) -> Figures:
    """Compute all figures but the curves of robustness."""
    return Figures(
        clips=clip_figures(evidence.clips),
        events=event_figures(evidence.scenes, settings.events) if _any_event(evidence.scenes) else None,
        alarms={
            snr_db: event_figures(scenes, settings.events)
            for snr_db, scenes in evidence.alarms.items()
            if _any_event(scenes)
        },
        false_alarms=false_alarms(evidence.negatives, evidence.spec.labels, dict(evidence.counts)),
        calibration=calibration(evidence.clips),
        robustness={},
    )


def data_digest(entries: Iterable[Entry]) -> str:
    """Return the SHA-256 of a table's paths, labels and the files themselves, in hex."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry.path}\0{entry.label}\0{file_digest(entry.file)}\n".encode())
    return digest.hexdigest()


def _trial(part: Part, listener: Listener, number: int, settings: EvaluateSettings) -> Trial:
    rng = np.random.default_rng([settings.seed, number, 1])
    spec = listener.spec
    behind = backgrounds(part.backgrounds, spec, settings.most_backgrounds, settings.left_out, rng)
    return Trial(listener, part.entries, behind)


def _robustness(trials: Sequence[Trial], settings: EvaluateSettings, begin: Begin) -> Curves:
    chosen = []
    for number, trial in enumerate(trials):
        rng = np.random.default_rng([settings.seed, number, 2])
        order = rng.permutation(len(trial.known))[: settings.most_robustness_recordings // len(trials)]
        chosen.append(replace(trial, entries=[trial.known[at] for at in sorted(order.tolist())]))
    if not any(trial.entries for trial in chosen):
        return {}
    of_table = {entry.label for trial in trials for entry in trial.known}
    among = [label for label in trials[0].listener.spec.labels if label in of_table]
    return robustness(chosen, settings.seed, begin("robustness", points()), among)


def _any_event(scenes: Iterable[Scene]) -> bool:
    return any(scene.truth for scene in scenes)
