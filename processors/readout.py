"""float32[B, raw_width], as a graph gave it -> float32[B, labels]: the one place that makes scores.

In process, behind Triton, and in its fallback. A graph that knows 521 labels may be reported as twelve, each
made of several of them.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.model import ModelOutput, ModelSpec

Scores = NDArray[np.float32]


class Readout:
    """Makes scores of one model's output: its activation first, then the highest column of each label."""

    def __init__(self, spec: ModelSpec) -> None:
        self._activation = spec.output.activation
        self._columns, self._starts = _members(spec.output, spec.labels)

    def __call__(self, raw: Scores) -> Scores:
        """Return scores in the order of the labels; a label of several columns has the highest of them."""
        scores = _activated(raw, self._activation)
        if self._columns is None:
            return scores
        # Not reduceat alone: where every label has one column it takes several times as long, for nothing.
        picked = scores[:, self._columns]
        return picked if self._starts is None else np.maximum.reduceat(picked, self._starts, axis=1)


def _members(
    output: ModelOutput, labels: tuple[str, ...]
) -> tuple[NDArray[np.intp] | None, NDArray[np.intp] | None]:
    """Return the columns of all labels, one label after another, and where each begins among them."""
    if output.columns is None:
        return None, None
    groups = [output.columns[label] for label in labels]
    columns = np.array([column for group in groups for column in group], np.intp)
    starts = np.cumsum([0, *map(len, groups[:-1])], dtype=np.intp)
    return columns, None if len(columns) == len(groups) else starts


def _activated(raw: Scores, activation: str) -> Scores:
    if activation == "sigmoid":
        with np.errstate(over="ignore"):  # e^100 is inf, and 1 / inf is the 0 that it should be
            return np.float32(1) / (np.float32(1) + np.exp(-raw))
    if activation == "softmax":
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        scores: Scores = powers / powers.sum(axis=1, keepdims=True)
        return scores
    return raw
