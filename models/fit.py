"""bank -> network: the training loop."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models.augment import augment, punch_holes
from models.bank import Bank
from models.features import log_mel
from models.network import Network
from models.recordings import ESC10, LABELS

Tick = Callable[[float], None]
"""Told the loss after every step."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How long and how fast one network is trained."""

    steps: int = 2000
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    averaging: float = 0.998
    """Share of the running average of the weights that one step keeps: the average is the result."""
    longest_gradient: float = 5.0


def repeat_exactly() -> None:
    """Make this process compute the same bits every time.

    The order of additions decides the last bits, and it follows the number of threads: one, then.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def fit(bank: Bank, settings: FitSettings, seed: int, tick: Tick) -> Network:
    """Train a network on what the bank holds; after `repeat_exactly`, always to the same weights."""
    torch.manual_seed(seed)
    network = Network(len(LABELS)).to(memory_format=torch.channels_last)
    average = AveragedModel(network, avg_fn=_averaging(settings.averaging), use_buffers=True)
    optimiser, schedule = _optimiser(network, settings)
    draw = _Drawer(bank, settings.batch, seed)
    for _ in range(settings.steps):
        loss = _step(network, optimiser, settings, *draw())
        schedule.step()
        average.update_parameters(network)
        tick(loss)
    return _averaged(average)


class _Drawer:
    """Draws augmented batches: features `float32[B, 1, frames, bands]` and targets."""

    def __init__(self, bank: Bank, batch: int, seed: int) -> None:
        self._bank, self._batch = bank, batch
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self) -> tuple[Tensor, Tensor]:
        plain = self._bank.draw(self._rng, self._batch)
        backgrounds = self._bank.draw_backgrounds(self._rng, self._batch)
        batch = augment(plain, backgrounds, self._generator)
        return punch_holes(log_mel(batch.power), self._generator), batch.targets


def _step(
    network: Network,
    optimiser: torch.optim.Optimizer,
    settings: FitSettings,
    features: Tensor,
    targets: Tensor,
) -> float:
    network.train()
    logits = network(features.to(memory_format=torch.channels_last))
    loss = _loss(logits, targets)
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), settings.longest_gradient)
    optimiser.step()
    return float(loss.detach())


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Ask for the right probability of each label, and for the right order of the ESC-10 classes.

    The second term is the cross entropy of the ten alone, over the windows that hold any of them: it
    leaves their common level to the first.
    """
    each = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    classes = targets[:, : len(ESC10)]
    share = classes / classes.sum(dim=1, keepdim=True).clamp(min=1.0)
    order = -(share * nn.functional.log_softmax(logits[:, : len(ESC10)], dim=1)).sum(dim=1)
    return each.sum(dim=1).mean() + order.mean()


def _optimiser(
    network: Network, settings: FitSettings
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    return optimiser, schedule


def _averaging(keep: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return a running average that forgets its first, untrained, values quickly."""

    def average(mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        kept = min(keep, (1 + int(count)) / (20 + int(count)))
        return mean + (1 - kept) * (value - mean)

    return average


def _averaged(average: AveragedModel) -> Network:
    network = average.module
    if not isinstance(network, Network):
        raise TypeError(f"the average of a Network is a {type(network).__name__}")
    return network.eval()
