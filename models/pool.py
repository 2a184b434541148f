"""Stage + teacher -> a pool of windows on disk: power, truth, and what the teacher makes of each.

    power.npy      float16[N, frames, bands]   natural logarithm of mel power
    targets.npy    float32[N, labels]          what is in it
    known.npy      bool[N]                     whether that is known
    fold.npy       int16[N]                    of which fold it is made, or -1
    scores.npy     float16[N, …]               of the teacher
    embedding.npy  float16[N, …]

Arrays are mapped, not read: several trainings share them. What is done to a waveform costs more than a step
of training, so it is done once; what can be done to power is done anew in every step.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.features import MelPower
from models.stage import Stage
from models.teacher import Teacher, TeacherSettings

CHUNK = 250
QUIETEST_POWER = 1e-12
"""Added before the logarithm: far below what the network can tell from silence."""
FINISHED = "pool.json"

Tick = Callable[[int], None]
"""Told how many windows were added."""


@dataclass(frozen=True, slots=True)
class Pool:
    """N windows; see the module's docstring."""

    power: NDArray[np.float16]
    targets: NDArray[np.float32]
    known: NDArray[np.bool_]
    fold: NDArray[np.int16]
    scores: NDArray[np.float16]
    embedding: NDArray[np.float16]

    @property
    def taught(self) -> bool:
        """Tell whether a teacher was asked."""
        return bool(self.embedding.shape[1])

    def power_of(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the linear power of some windows, `float32[len(rows), frames, bands]`."""
        return torch.from_numpy(self.power[rows].astype(np.float32)).exp()

    def usable(self, held_out: int | None) -> NDArray[np.int64]:
        """Return the windows in which nothing of a fold is heard."""
        return np.flatnonzero(self.fold != (-2 if held_out is None else held_out))


def is_pool(directory: Path) -> bool:
    """Tell whether a directory holds a whole pool."""
    return (directory / FINISHED).is_file()


def open_pool(directory: Path) -> Pool:
    """Map a pool that `make_pool` has written."""
    names = (field.name for field in fields(Pool))
    return Pool(*(np.load(directory / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names))


def make_pool(
    stage: Stage, teacher: TeacherSettings | None, count: int, seed: int, directory: Path, tick: Tick
) -> Pool:
    """Draw `count` windows, ask the teacher about each, and write them; a pool that is there is kept.

    The windows depend on the seed and not on the number of processors.

    Raises:
        ConfigurationError: the teacher cannot be asked.

    """
    if is_pool(directory):
        return open_pool(directory)
    directory.mkdir(parents=True, exist_ok=True)
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    with ThreadPoolExecutor() as workers:
        chunks = workers.map(lambda n: _chunk(stage, teacher, sizes[n], [seed, n]), range(len(sizes)))
        try:
            parts = list(_told(chunks, tick))
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    for field in fields(Pool):
        whole = np.concatenate([getattr(part, field.name) for part in parts])
        np.save(directory / f"{field.name}.npy", whole, allow_pickle=False)
    (directory / FINISHED).write_text(json.dumps({"windows": count, "seed": seed}), encoding="utf-8")
    return open_pool(directory)


def _told(chunks: Iterator[Pool], tick: Tick) -> Iterator[Pool]:
    for chunk in chunks:
        tick(len(chunk.known))
        yield chunk


def _chunk(stage: Stage, settings: TeacherSettings | None, count: int, seed: list[int]) -> Pool:
    rng = np.random.default_rng(seed)
    drawn = [stage.draw(rng) for _ in range(count)]
    sounds, truths = [sound for sound, _ in drawn], [truth for _, truth in drawn]
    with torch.inference_mode():
        power = MelPower()(torch.from_numpy(np.stack(sounds))).double()
    scores, embedding = _opinions(settings, sounds)
    return Pool(
        power=torch.log(power + QUIETEST_POWER).half().numpy(),
        targets=np.stack([truth.targets for truth in truths]),
        known=np.array([truth.known for truth in truths]),
        fold=np.array([-1 if truth.fold is None else truth.fold for truth in truths], np.int16),
        scores=scores,
        embedding=embedding,
    )


def _opinions(
    settings: TeacherSettings | None, sounds: list[NDArray[np.float32]]
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    if settings is None:
        nothing = np.zeros((len(sounds), 0), np.float16)
        return nothing, nothing
    teacher = Teacher(settings)
    asked = [teacher.ask(sound) for sound in sounds]
    return (
        np.stack([scores for scores, _ in asked]).astype(np.float16),
        np.stack([inner for _, inner in asked]).astype(np.float16),
    )
