"""recordings and generated sound -> batches: random windows as mel power, with their targets.

Power is computed once for every recording, by the same front end that is exported; a window of it is a
run of frames. Sounds that do not belong together add in power, so mixing happens on these windows too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dataset import PCM
from models.features import BANDS, FRAME_HOP_SAMPLES, FRAME_SAMPLES, FULL_SCALE, RADIX, RATE_HZ, MelPower
from models.recordings import AMBIGUOUS, Heap, Recording, without_folds

T = TypeVar("T")

WINDOW_SAMPLES, HOP_SAMPLES = 16_000, 8_000
WINDOW_FRAMES = 1 + (WINDOW_SAMPLES - FRAME_SAMPLES) // FRAME_HOP_SAMPLES
LOUD, QUIET = 1e-3, 1e-4
"""A window is its recording's label within 30 dB of the loudest, nothing from 40 dB on, unused between."""
ENOUGH_FRAMES = 12
"""So many frames within 30 dB of the sound's loudest, about `stage.ENOUGH_S`, make a window wholly an
alert's; fewer make it so in part."""
PULL = 0.3
"""Windows are drawn in proportion to their power to this exponent: quiet ones too, but less often."""


@dataclass(frozen=True, slots=True)
class Take:
    """The power of a sound, `float32[frames, bands]`, and where windows of it may start."""

    power: Tensor
    label: int | None
    loud: NDArray[np.int64]
    chance: NDArray[np.float64]
    """Probability of each of `loud`, cumulative."""
    heard: NDArray[np.float32]
    """How much of the sound a window from each of `loud` holds, 0 to 1; see `ENOUGH_FRAMES`."""
    quiet: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows' power `float32[B, frames, bands]`, targets `float32[B, labels]`, and which are alerts."""

    power: Tensor
    targets: Tensor
    alerts: Tensor


@dataclass(slots=True)
class Bank:
    """Everything that one training may hear: labelled sounds, alerts and backgrounds."""

    labels: tuple[str, ...]
    labelled: list[list[Take]] = field(default_factory=list)
    """The takes of each recording: the same sound at several speeds."""
    alerts: list[Take] = field(default_factory=list)
    backgrounds: list[Take] = field(default_factory=list)

    def draw(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw a batch: 56 % recordings, 20 % alerts, the rest backgrounds and quiet moments.

        A recording counts whole, an alert as far as it is heard in its window.
        """
        alerts = round(0.2 * size) if self.alerts else 0
        recordings = round(0.76 * size) - alerts
        takes = [_pick(rng, _pick(rng, self.labelled)) for _ in range(recordings)]
        takes += [_pick(rng, self.alerts) for _ in range(alerts)]
        alarming = torch.zeros(size, dtype=torch.bool)
        alarming[recordings : len(takes)] = True
        targets, windows = torch.zeros(size, len(self.labels)), list[Tensor]()
        for row, take in enumerate(takes):
            window, heard = _loud_window(rng, take)
            windows.append(window)
            if take.label is not None:
                targets[row, take.label] = heard if row >= recordings else 1.0
        windows += [self._nothing(rng) for _ in range(size - len(takes))]
        return Batch(torch.stack(windows), targets, alarming)

    def draw_backgrounds(self, rng: np.random.Generator, size: int) -> Tensor:
        """Draw backgrounds to lay under a batch, `float32[size, frames, bands]`."""
        return torch.stack([self._background(rng) for _ in range(size)])

    def _background(self, rng: np.random.Generator) -> Tensor:
        """Draw a background, which is digital silence where there is none."""
        if not self.backgrounds:
            return torch.zeros(WINDOW_FRAMES, BANDS)
        return _loud_window(rng, _pick(rng, self.backgrounds))[0]

    def _nothing(self, rng: np.random.Generator) -> Tensor:
        """Draw a window in which nothing should be found."""
        if rng.random() < 0.2:
            take = _pick(rng, _pick(rng, self.labelled))
            if take.quiet.size:
                return _window(take, int(rng.choice(take.quiet)))
        return self._background(rng)


def mel_power(audio: PCM) -> Tensor:
    """Return the power of a whole recording, `float32[frames, bands]`, zero-padded to a window."""
    padded = np.pad(audio, (0, max(0, WINDOW_SAMPLES - audio.size)))
    samples = torch.from_numpy(padded[: padded.size // RADIX * RADIX]).float() / FULL_SCALE
    with torch.inference_mode():
        power: Tensor = MelPower()(samples[None])[0].clone()
    return power


def take_of(audio: PCM, label: int | None) -> Take:
    """Prepare a sound for drawing; `label` is the index of what it is."""
    power = mel_power(audio)
    frames = power.sum(dim=1).double().numpy()
    total = np.concatenate([[0.0], np.cumsum(frames)])
    levels = total[WINDOW_FRAMES:] - total[:-WINDOW_FRAMES]
    relative = levels / max(float(levels.max()), 1e-20)
    loud = np.flatnonzero(relative >= LOUD) if relative.any() else np.arange(levels.size)
    weights = np.maximum(relative[loud], LOUD) ** PULL
    sounding = np.concatenate([[0], np.cumsum(frames >= LOUD * max(frames.max(), 1e-20))])
    heard = (sounding[loud + WINDOW_FRAMES] - sounding[loud]) / ENOUGH_FRAMES
    return Take(
        power=power,
        label=label,
        loud=loud,
        chance=np.cumsum(weights / weights.sum()),
        heard=np.minimum(heard, 1.0).astype(np.float32),
        quiet=np.flatnonzero(relative < QUIET),
    )


@dataclass(frozen=True, slots=True)
class Takes:
    """The takes of every recording of a heap, by its file, from which banks are made."""

    heap: Heap
    by_file: dict[Path, list[Take]]

    def bank(self, held_out: tuple[int, ...]) -> Bank:
        """Collect everything but some folds."""

        def of(recordings: Sequence[Recording]) -> list[list[Take]]:
            return [
                self.by_file[r.file] for r in without_folds(recordings, held_out) if r.file in self.by_file
            ]

        heap = self.heap
        behind = of(heap.backgrounds) + of(heap.generated) + of(heap.variety)
        return Bank(
            labels=heap.labels,
            labelled=of(heap.labelled),
            alerts=[take for takes in of(heap.alerts) for take in takes],
            backgrounds=[take for takes in behind for take in takes],
        )


def takes_of(heap: Heap, speeds: Sequence[float], variety: int, seed: int) -> Takes:
    """Prepare every recording at several speeds, and some of the variety at its own."""
    by_file = {r.file: _at_speeds(r, heap.labels, speeds) for r in heap.labelled + heap.backgrounds}
    plain = [r for r in heap.variety if r.label not in AMBIGUOUS]
    once = [*heap.alerts, *heap.generated, *_some(plain, variety, np.random.default_rng(seed))]
    return Takes(heap, by_file | {r.file: _at_speeds(r, heap.labels, (1.0,)) for r in once})


def _some(recordings: Sequence[Recording], count: int, rng: np.random.Generator) -> list[Recording]:
    """Choose about `count`, of each label as many: there are more spoken words than anything else."""
    labels = sorted({r.label for r in recordings})
    share = -(-count // max(1, len(labels)))
    chosen: list[Recording] = []
    for label in labels:
        of_label = [r for r in recordings if r.label == label]
        chosen += [of_label[i] for i in rng.permutation(len(of_label))[:share]]
    return chosen


def _at_speeds(recording: Recording, labels: Sequence[str], speeds: Sequence[float]) -> list[Take]:
    label = labels.index(recording.label) if recording.label in labels else None
    audio = recording.read()
    return [take_of(_faster(audio, speed), label) for speed in speeds]


def _faster(audio: PCM, speed: float) -> PCM:
    if speed == 1.0:
        return audio
    return np.asarray(soxr.resample(audio, RATE_HZ * speed, RATE_HZ, quality="HQ"), np.int16)


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


def _loud_window(rng: np.random.Generator, take: Take) -> tuple[Tensor, float]:
    """Draw a window of a sound, and say how much of it is heard there."""
    index = min(int(np.searchsorted(take.chance, rng.random())), take.loud.size - 1)
    return _window(take, int(take.loud[index])), float(take.heard[index])


def _window(take: Take, start: int) -> Tensor:
    return take.power[start : start + WINDOW_FRAMES]
