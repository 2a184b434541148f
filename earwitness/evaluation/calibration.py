"""Window scores of recordings that a model never heard -> how far they can be taken for probabilities.

Of every window within 30 dB of its recording's loudest the label with the highest score is taken: that score
is the confidence, and should be right as often as it says. Windows with less in them have no label that is
known to be right; digital silence has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earwitness.evaluation.clips import Clip, is_known, table_labels

BINS = 15
LOUD = 1e-3
COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class Bin:
    """Windows whose confidence is in `[low, high)`: how many, how confident and how right on average."""

    low: float
    high: float
    windows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability as it is, and with log-odds divided by the temperature that fits best.

    The expected calibration error is the mean distance of a bin's confidence from its accuracy, weighted by
    its windows (C. Guo et al., "On calibration of modern neural networks", ICML 2017). The temperature is
    that of the lowest negative log-likelihood over all labels, each a yes or a no.
    """

    windows: int
    expected_error: float
    bins: tuple[Bin, ...]
    temperature: float
    expected_error_tempered: float
    bins_tempered: tuple[Bin, ...]


def calibration(clips: Sequence[Clip]) -> Calibration | None:
    """Measure calibration; None where no window can be judged."""
    logits, right = _judged(clips)
    if not right.size:
        return None
    temperature = _temperature(logits, right)
    plain, tempered = _bins(logits, right), _bins(logits / temperature, right)
    return Calibration(right.size, _error(plain), plain, temperature, _error(tempered), tempered)


def _judged(clips: Sequence[Clip]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return log-odds `float64[W, labels]` among the table's labels, and which is right, `int64[W]`."""
    labels = table_labels(clips)
    parts, right = [np.empty((0, len(labels)))], [np.empty(0, np.int64)]
    for clip in clips:
        heard = clip.heard
        if not is_known(clip) or not heard.scored.any():
            continue
        loud = (heard.power > 0) & (heard.power >= LOUD * np.nanmax(heard.power))
        columns = [heard.spec.labels.index(label) for label in labels]
        parts.append(heard.logits[loud][:, columns])
        right.append(np.full(np.count_nonzero(loud), labels.index(clip.label)))
    return np.concatenate(parts), np.concatenate(right)


def _temperature(logits: NDArray[np.float64], right: NDArray[np.int64]) -> float:
    from scipy.optimize import minimize_scalar

    signed = np.where(np.arange(logits.shape[1]) == right[:, None], logits, -logits)
    found = minimize_scalar(
        lambda log_t: float(np.mean(np.logaddexp(0.0, -signed / np.exp(log_t)))),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
    )
    return float(np.exp(found.x))


def _bins(logits: NDArray[np.float64], right: NDArray[np.int64]) -> tuple[Bin, ...]:
    best = logits.argmax(axis=1)
    confidence = 1.0 / (1.0 + np.exp(-logits[np.arange(best.size), best]))
    hits, at = best == right, np.minimum((confidence * BINS).astype(int), BINS - 1)
    return tuple(
        Bin(
            number / BINS,
            (number + 1) / BINS,
            int(np.count_nonzero(at == number)),
            float(confidence[at == number].mean()),
            float(hits[at == number].mean()),
        )
        for number in np.unique(at).tolist()
    )


def _error(bins: Sequence[Bin]) -> float:
    windows = sum(b.windows for b in bins)
    return sum(b.windows * abs(b.confidence - b.accuracy) for b in bins) / windows
