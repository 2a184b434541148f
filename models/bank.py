"""recordings and generated sound -> batches: random windows as mel power, with their targets.

Power is computed once for every recording, by the same front end that is exported; a window of it is a
run of frames. Sounds that do not belong together add in power, so mixing happens on these windows too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.features import FRAME_HOP_SAMPLES, FRAME_SAMPLES, FULL_SCALE, MelPower
from models.recordings import ALERTS, LABELS, PCM, Recording, to_pcm

T = TypeVar("T")

Synthesise = Callable[[np.random.Generator], tuple[NDArray[np.float64], str]]
"""Gives a sound in [-1, 1] at 16 kHz, at least a window long, and what it is; a label that is not in
`LABELS` makes it background."""

WINDOW_SAMPLES, HOP_SAMPLES = 16_000, 8_000
WINDOW_FRAMES = 1 + (WINDOW_SAMPLES - FRAME_SAMPLES) // FRAME_HOP_SAMPLES
LOUD, QUIET = 1e-3, 1e-4
"""A window is its recording's label within 30 dB of the loudest, nothing from 40 dB on, unused between."""
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

    labelled: list[list[Take]] = field(default_factory=list)
    """The takes of each recording: the same sound at several speeds."""
    alerts: list[Take] = field(default_factory=list)
    backgrounds: list[Take] = field(default_factory=list)

    def draw(self, rng: np.random.Generator, size: int) -> Batch:
        """Draw a batch: 60 % recordings, 16 % alerts, the rest backgrounds and quiet moments."""
        recordings, alerts = round(0.6 * size), round(0.16 * size)
        takes = [_pick(rng, _pick(rng, self.labelled)) for _ in range(recordings)]
        takes += [_pick(rng, self.alerts) for _ in range(alerts)]
        positive = [(_loud_window(rng, take), take.label) for take in takes]
        negative = [(self._nothing(rng), None) for _ in range(size - len(positive))]
        windows, labels = zip(*(positive + negative), strict=True)
        return Batch(torch.stack(windows), _targets(labels), _is_alert(labels))

    def draw_backgrounds(self, rng: np.random.Generator, size: int) -> Tensor:
        """Draw backgrounds to lay under a batch, `float32[size, frames, bands]`."""
        return torch.stack([_loud_window(rng, _pick(rng, self.backgrounds)) for _ in range(size)])

    def _nothing(self, rng: np.random.Generator) -> Tensor:
        """Draw a window in which nothing should be found."""
        if rng.random() < 0.2:
            take = _pick(rng, _pick(rng, self.labelled))
            if take.quiet.size:
                return _window(take, int(rng.choice(take.quiet)))
        return _loud_window(rng, _pick(rng, self.backgrounds))


def mel_power(audio: PCM) -> Tensor:
    """Return the power of a whole recording, `float32[frames, bands]`, zero-padded to a window."""
    padded = np.pad(audio, (0, max(0, WINDOW_SAMPLES - audio.size)))
    samples = torch.from_numpy(padded[: padded.size // 4 * 4]).float() / FULL_SCALE
    with torch.inference_mode():
        power: Tensor = MelPower()(samples[None])[0].clone()
    return power


def take_of(audio: PCM, label: str) -> Take:
    """Prepare a sound for drawing."""
    power = mel_power(audio)
    total = np.concatenate([[0.0], np.cumsum(power.sum(dim=1).double().numpy())])
    levels = total[WINDOW_FRAMES:] - total[:-WINDOW_FRAMES]
    relative = levels / max(float(levels.max()), 1e-20)
    loud = np.flatnonzero(relative >= LOUD) if relative.any() else np.arange(levels.size)
    weights = np.maximum(relative[loud], LOUD) ** PULL
    return Take(
        power=power,
        label=LABELS.index(label) if label in LABELS else None,
        loud=loud,
        chance=np.cumsum(weights / weights.sum()),
        quiet=np.flatnonzero(relative < QUIET),
    )


def takes_by_recording(versions: Sequence[Sequence[Recording]]) -> dict[str, list[Take]]:
    """Prepare recordings, each read at several speeds: path -> its takes."""
    return {
        same[0].path: [take_of(recording.audio, recording.label) for recording in same]
        for same in zip(*versions, strict=True)
    }


def synthetic_takes(synthesise: Synthesise, rng: np.random.Generator, count: int) -> list[Take]:
    """Prepare `count` generated sounds."""
    drawn = (synthesise(rng) for _ in range(count))
    return [take_of(to_pcm(sound), label) for sound, label in drawn]


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


def _loud_window(rng: np.random.Generator, take: Take) -> Tensor:
    index = min(int(np.searchsorted(take.chance, rng.random())), take.loud.size - 1)
    return _window(take, int(take.loud[index]))


def _window(take: Take, start: int) -> Tensor:
    return take.power[start : start + WINDOW_FRAMES]


def _targets(labels: Sequence[int | None]) -> Tensor:
    targets = torch.zeros(len(labels), len(LABELS))
    for row, label in enumerate(labels):
        if label is not None:
            targets[row, label] = 1.0
    return targets


def _is_alert(labels: Sequence[int | None]) -> Tensor:
    alerts = {LABELS.index(label) for label in ALERTS}
    return torch.tensor([label in alerts for label in labels])
