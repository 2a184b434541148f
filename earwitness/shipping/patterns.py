"""The second generator's alerts, pattern by pattern -> how many of each a network finds at all.

Event F1 asks for beginnings and ends, and mixes patterns: it does not say that sirens of two tones are missed
where wails are found. Here an alert is found if any detection of its label meets it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from earwitness.evaluation.evidence import alarm_labels
from earwitness.evaluation.intervals import share
from earwitness.evaluation.material import hear_streams
from earwitness.evaluation.robustness import Trial
from models.scenes.alarms import PATTERNS
from models.scenes.streams import StreamSettings, draw_placed_alarm, draw_stream
from schemas.model import ModelSpec

SNRS_DB = (0.0, 20.0, 40.0)
STREAM_S = 40.0
"""Of background around each."""


@dataclass(frozen=True, slots=True)
class Tried:
    """An alert that sounded, and whether it was found."""

    label: str
    pattern: str
    snr_db: float
    found: bool


def try_patterns(trial: Trial, spec: ModelSpec, each: int, seed: list[int]) -> Iterator[Tried]:
    """Let every pattern sound over a trial's backgrounds; its model decides by `spec`.

    Raises:
        ConfigurationError: there is no background with a sound in it.

    """
    rng = np.random.default_rng(seed)
    made = StreamSettings(rate_hz=spec.sample_rate_hz, length_s=STREAM_S, events=(1, 1))
    for label in alarm_labels(spec):
        for pattern in PATTERNS[label]:
            for snr_db in SNRS_DB * each:
                alarm = draw_placed_alarm(rng, label, spec.sample_rate_hz, pattern)
                at_snr = replace(made, snr_db=(snr_db, snr_db))
                stream = draw_stream(rng, [alarm], trial.backgrounds, at_snr)
                (scene,) = hear_streams(trial.listener, [stream])
                ((begin_s, end_s, _),) = scene.truth
                found = meets(scene.heard.decided_by(spec).spans(label), begin_s, end_s)
                yield Tried(label, pattern, snr_db, found)


def meets(spans: Iterable[tuple[float, float]], begin_s: float, end_s: float) -> bool:
    """Tell whether any detection overlaps an event."""
    return any(begins_s < end_s and ends_s > begin_s for begins_s, ends_s in spans)


def found_by_pattern(tried: Iterable[Tried]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return label -> pattern -> SNR in dB -> the share that was found."""
    tried = list(tried)
    all_of = Counter((t.label, t.pattern, t.snr_db) for t in tried)
    found = Counter((t.label, t.pattern, t.snr_db) for t in tried if t.found)
    told: dict[str, dict[str, dict[str, Any]]] = {}
    for (label, pattern, snr_db), count in all_of.items():
        by_snr = told.setdefault(label, {}).setdefault(pattern, {})
        by_snr[f"{snr_db:g}"] = asdict(share(found[label, pattern, snr_db], count))
    return told
