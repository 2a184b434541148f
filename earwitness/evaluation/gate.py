"""What a model and a trigger made of the same sound -> what a trigger in front would lose and save.

A window that the trigger does not let through counts as one that the model gave no score worth naming.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earwitness.evaluation.evidence import EvaluateSettings, alarm_labels
from earwitness.evaluation.heard import Found, Heard
from earwitness.evaluation.intervals import Share, share
from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import recorded
from earwitness.evaluation.robustness import Trial
from models.scenes.streams import Stream, draw_alarms, draw_streams
from schemas.model import ModelSpec

Pair = tuple[Heard, Heard]
"""One sound as the model, and as the trigger, heard it."""
MOST_MISSED = 0.01
"""Share of the model's detections that a threshold may lose on what it is chosen by."""


@dataclass(frozen=True, slots=True)
class Gated:
    """Detections of the model that are still made, and windows of background that cost nothing any more."""

    passed: Share
    rejected: Share


def hear_both(
    trial: Trial, trigger: Listener, spec: ModelSpec, settings: EvaluateSettings, rng: np.random.Generator
) -> list[Pair]:
    """Hear streams of a trial's recordings, and of generated alarms, with its model and with a trigger.

    The model decides by `spec`, which may have other thresholds than its own.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    return [
        (heard, trigger.hear_whole(stream.pcm, stream.rate_hz))
        for stream, heard in hear_model(trial, spec, settings, rng)
    ]


def hear_model(
    trial: Trial, spec: ModelSpec, settings: EvaluateSettings, rng: np.random.Generator
) -> Iterator[tuple[Stream, Heard]]:
    """Hear the streams of `hear_both` with the model alone, one by one.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    rate_hz = spec.sample_rate_hz
    events = recorded(trial.known, rate_hz, settings.most_stream_recordings, rng)
    events += list(draw_alarms(rng, alarm_labels(spec), settings.alarms, rate_hz))
    for stream in draw_streams(rng, events, trial.backgrounds, replace(settings.streams, rate_hz=rate_hz)):
        yield stream, trial.listener.hear_whole(stream.pcm, rate_hz).decided_by(spec)


def gated(sounds: Sequence[Pair], backgrounds: Sequence[Heard], threshold: float) -> Gated:
    """Measure a trigger at a threshold; `backgrounds` are as the trigger heard them."""
    kept = all_found = 0
    for model, trigger in sounds:
        left = _behind(model, trigger, threshold)
        all_found += len(model.found)
        kept += sum(any(_meets(found, other) for other in left.found) for found in model.found)
    scores = np.concatenate([_scores(heard) for heard in backgrounds]) if backgrounds else np.zeros(0)
    return Gated(share(kept, all_found), share(int(np.count_nonzero(scores < threshold)), scores.size))


def choose_threshold(sounds: Sequence[Pair]) -> float:
    """Return the highest threshold, in hundredths, that loses next to nothing."""
    for threshold in np.round(np.arange(0.9, 0.0, -0.01), 2).tolist():
        found = gated(sounds, (), threshold).passed
        if found.value is not None and found.value >= 1.0 - MOST_MISSED:
            return float(threshold)
    return 0.01


def _behind(model: Heard, trigger: Heard, threshold: float) -> Heard:
    """Return what the model would have found in what the trigger lets through."""
    through = np.isin(model.starts, trigger.starts[_scores(trigger) >= threshold])
    scores = np.where(through[:, None], model.scores, np.float32(0.0))
    return replace(model, scores=scores).decided_by(model.spec)


def _scores(trigger: Heard) -> NDArray[np.float32]:
    return np.asarray(np.nan_to_num(trigger.scores[:, 0], nan=0.0))


def _meets(one: Found, other: Found) -> bool:
    return one.label == other.label and one.start_s < other.end_s and other.start_s < one.end_s
