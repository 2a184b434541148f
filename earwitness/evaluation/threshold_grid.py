"""Streams and negatives, heard -> what every threshold of a label finds, and its price in false alarms."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earwitness.evaluation import sed
from earwitness.evaluation.events import EventSettings, Scene, collars, curves, names_of, truth_of
from earwitness.evaluation.heard import Heard, segments
from schemas.model import MOfN

LOWEST, HIGHEST, STEPS = 0.05, 0.99, 95

Grid = NDArray[np.float64]
Counts = NDArray[np.int64]


def grid() -> Grid:
    """Return the thresholds that are tried, `float64[95]`."""
    return np.round(np.linspace(LOWEST, HIGHEST, STEPS), 2)


def event_f1s(scenes: Sequence[Scene], settings: EventSettings, way: MOfN) -> dict[str, Grid]:
    """Return event F1 at every threshold, `float64[95]`, of the labels that have events."""
    names = names_of(scenes)
    if not names:
        return {}
    found, _ = sed.collar_based().accumulated_intermediate_statistics(
        curves(scenes, way), truth_of(scenes), **collars(settings)
    )
    return {label: _f1_on_grid(*found[name]) for label, name in names.items()}


def false_alarms(heard: Sequence[Heard], label: str, way: MOfN, tried: Grid) -> Counts:
    """Count false alarms of a label at every threshold, `int64[T]`."""
    counts = np.zeros(tried.size, np.int64)
    for one in heard:
        counts += _alarms(*one.curve(label, *way), tried)
    return counts


def lowered(tried: Grid, margin: float) -> Grid:
    """Return thresholds so much lower in log-odds."""
    return np.asarray(1 / (1 + (1 / tried - 1) * np.exp(margin)))


def prices_of(counts: Counts) -> Counts:
    """Return, `int64[T]`, the most false alarms of each threshold and all that are higher."""
    return np.maximum.accumulate(counts[::-1])[::-1]


def _f1_on_grid(scores: NDArray[np.float64], found: dict[str, Counts]) -> NDArray[np.float64]:
    """Look counts up that hold for thresholds up to each of `scores`, ascending and ending at infinity."""
    reached = np.searchsorted(scores, grid().astype(np.float32), side="left")
    at = np.minimum(reached, len(scores) - 1)
    tp, fp = found["tps"][at], found["fps"][at]
    return np.asarray(2 * tp / np.maximum(tp + fp + found["n_ref"], 1))


def _alarms(times: NDArray[np.float64], values: NDArray[np.float32], tried: Grid) -> Counts:
    reached = np.pad(values[None] >= tried[:, None].astype(np.float32), ((0, 0), (1, 1)))
    rows, firsts = np.nonzero(reached[:, 1:] & ~reached[:, :-1])
    lasts = np.nonzero(reached[:, :-1] & ~reached[:, 1:])[1]
    found = np.bincount(rows, segments(times[lasts] - times[firsts]), tried.size)
    return found.astype(np.int64)
