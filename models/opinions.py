"""pool + a held-out fold -> what a student is told of each window: truth, and its teacher's opinion.

The teacher's own classes are not ours, so a linear layer on its inner values says what they mean. It is
fitted crosswise: what it says of a fold comes from a layer that has not seen that fold, or it would only
repeat the truth. Windows of the held-out fold take no part in any of it.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from models.features import log_mel
from models.pool import Pool
from schemas.errors import ConfigurationError

STRENGTH = 0.003
"""Inverse of the penalty on the linear layer's weights, as its library means it (C)."""
MOST_FITTED = 8000
"""Windows to fit a layer on."""
MOST_LOOKED_AT = 2000
SPREAD_WINDOWS = 4000
LEAST_SPREAD = 0.05
"""Added to the spread of an inner value, some of which hardly ever change."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Taught:
    """A batch of B windows and all that is known about them."""

    power: Tensor
    targets: Tensor
    known: Tensor
    opinion: Tensor | None
    """Probabilities of the classes, `float32[B, classes]`; not a number where it has none."""
    scores: Tensor
    embedding: Tensor


@dataclass(frozen=True, slots=True)
class Opinions:
    """The windows of a pool that a student may hear, and its teacher's opinion of them."""

    pool: Pool
    usable: NDArray[np.int64]
    opinion: Floats | None
    """`float32[N, classes]`, N as in the pool; not a number in windows of which the teacher has none."""
    mean: Floats
    spread: Floats

    def draw(self, rng: np.random.Generator, size: int) -> Taught:
        """Draw a batch."""
        return self.at(np.sort(rng.choice(self.usable, size)))

    def at(self, rows: NDArray[np.int64]) -> Taught:
        """Return some of the windows."""
        embedding = (self.pool.embedding[rows].astype(np.float32) - self.mean) / self.spread
        return Taught(
            power=self.pool.power_of(rows),
            targets=torch.from_numpy(self.pool.targets[rows]),
            known=torch.from_numpy(self.pool.known[rows]),
            opinion=None if self.opinion is None else torch.from_numpy(self.opinion[rows]),
            scores=torch.from_numpy(self.pool.scores[rows].astype(np.float32)),
            embedding=torch.from_numpy(embedding),
        )

    def of(self, pool: Pool) -> "Opinions":
        """Return all windows of another pool, of which no fold is part and nobody has an opinion."""
        size, opinion = len(pool.known), None
        if self.opinion is not None:
            opinion = np.full((size, self.opinion.shape[1]), np.nan, np.float32)
        return Opinions(pool, np.arange(size), opinion, self.mean, self.spread)

    def all_plain(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, targets and whether they are known of the first windows, unchanged."""
        rows = self.usable[:MOST_LOOKED_AT]
        power = self.pool.power_of(rows)
        known = torch.from_numpy(self.pool.known[rows])
        return log_mel(power), torch.from_numpy(self.pool.targets[rows]), known


def opinions_without(
    pool: Pool, classes: int, held_out: tuple[int, ...], kept: Path | None = None
) -> Opinions:
    """Collect what may be said to a student from which these folds are kept.

    `kept` is a folder for what takes minutes: the opinions are the same for every seed.

    Raises:
        ConfigurationError: no window is left.

    """
    usable = np.flatnonzero(~np.isin(pool.fold, held_out)).astype(np.int64)
    if not usable.size:
        raise ConfigurationError("windows", len(pool.fold), f"more: none is without the folds {held_out}")
    some = pool.embedding[usable[:SPREAD_WINDOWS]].astype(np.float32)
    mean, spread = some.mean(axis=0), some.std(axis=0) + LEAST_SPREAD
    if not pool.taught:
        return Opinions(pool, usable, None, mean, spread)
    file = kept and kept / f"opinion-without-{'-'.join(map(str, held_out)) or 'none'}.npy"
    if file and file.is_file():
        return Opinions(pool, usable, np.load(file, allow_pickle=False), mean, spread)
    opinion = _crosswise(pool, classes, usable, mean, spread)
    if file:
        beside = file.with_suffix(f".{os.getpid()}.npy")
        np.save(beside, opinion, allow_pickle=False)
        beside.replace(file)
    return Opinions(pool, usable, opinion, mean, spread)


def only_fold(pool: Pool, fold: int) -> Opinions:
    """Collect the windows of one fold, to look at while others are learnt."""
    usable = np.flatnonzero(pool.fold == fold).astype(np.int64)
    nothing = np.zeros(pool.embedding.shape[1], np.float32)
    return Opinions(pool, usable, None, nothing, nothing + 1.0)


def _crosswise(pool: Pool, classes: int, usable: NDArray[np.int64], mean: Floats, spread: Floats) -> Floats:
    """Return every usable window's opinion, `float32[N, classes]`, from layers fitted without its fold.

    Where no other fold can be fitted on, or has all classes of a window, there is none.
    """
    said = np.zeros((len(pool.known), classes), np.float32)
    folds = [int(fold) for fold in np.unique(pool.fold[usable]) if fold >= 0]
    inner = (pool.embedding[usable].astype(np.float32) - mean) / spread
    fold, targets = np.asarray(pool.fold[usable]), np.asarray(pool.targets[usable])
    if not folds:
        said[usable] = np.nan
    single = (targets.max(axis=1) >= 1.0) & (targets.sum(axis=1) == 1.0) & (targets[:, :classes].any(axis=1))
    for one in folds:
        rows = np.flatnonzero(single & (fold >= 0) & (fold != one))[:MOST_FITTED]
        about, labels = (fold == one) | (fold < 0), targets[rows].argmax(axis=1)
        strange = np.setdiff1d(np.arange(classes), labels)
        unknown = about & (targets[:, strange] > 0).any(axis=1)
        if len(np.unique(labels)) < 2:
            said[usable[about]] = np.nan
            continue
        layer = _layer(inner[rows], labels)
        share = np.where(fold[about] == one, 1.0, 1.0 / len(folds))[:, None]
        said[np.ix_(usable[about], layer.classes_)] += share * layer.predict_proba(inner[about])
        said[usable[unknown]] = np.nan
    return said


def _layer(inner: Floats, label: NDArray[np.int64]) -> LogisticRegression:
    with warnings.catch_warnings():
        # It is stopped before it has converged: what it says is smoother for that.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=STRENGTH, max_iter=80).fit(inner, label)
