"""What might have been heard: a spec of two labels, windows of a second every half, and any scores."""

from collections.abc import Sequence

import numpy as np

from earwitness.evaluation.heard import Heard
from schemas.model import ModelSpec

RATE_HZ, WINDOW, HOP = 16_000, 16_000, 8_000
LABELS = ("dog", "rain")


def spec_of(m: int = 1, n: int = 1, threshold: float = 0.5) -> ModelSpec:
    return ModelSpec(
        name="made",
        version="1",
        sample_rate_hz=RATE_HZ,
        window_samples=WINDOW,
        hop_samples=HOP,
        labels=LABELS,
        thresholds=dict.fromkeys(LABELS, threshold),
        m=m,
        n=n,
        licence="Apache-2.0",
        digest="0" * 64,
    )


def heard(
    dog: Sequence[float],
    rain: Sequence[float] | None = None,
    power: Sequence[float] | None = None,
    m: int = 1,
    n: int = 1,
) -> Heard:
    """One score a window of each label; what is detected follows from the scores."""
    count = len(dog)
    starts = np.arange(count, dtype=np.int64) * HOP
    scores = np.array([dog, rain or [0.0] * count], np.float32).T.reshape(count, 2)
    spec = spec_of(m, n)
    samples = max(0, count - 1) * HOP + WINDOW
    powers = np.array(power or [1.0] * count)
    made = Heard(spec, RATE_HZ, samples, starts, starts + WINDOW, scores, powers, ())
    return made.decided_by(spec)
