"""Network + batches -> the network, fine-tuned; and batches that a model makes of windows by itself.

The front end stays in its graph, and gives the features to train on, so that a model is fine-tuned without
what it was first trained with:

    windows ─ mixed, louder, softer ─┬─ front end of the graph ─ features ─┐
                                     └─ whole graph ──────────── targets ──┴─ fine_tune
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from models.compress.entry import NETWORK, Entry, network_convolutions
from models.compress.weights import copy_of
from models.dataset import PCM
from models.session import open_session, score
from schemas.errors import ConfigurationError

Batches = Callable[[], tuple[Tensor, Tensor]]
"""Gives features `float32[B, 1, frames, bands]` and targets `float32[B, labels]` from 0 to 1."""
Tick = Callable[[float], None]
"""Told the loss after every step."""

FEWEST_STEPS = 20
"""For the learning rate to rise and fall."""
QUIETEST, LOUDEST = 0.05, 2.0
"""Gains of what is mixed."""


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How long and how fast a network is fine-tuned."""

    steps: int = 300
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    longest_gradient: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ConfigurationError: nothing would be learnt.

        """
        for what, value, least in (("steps", self.steps, FEWEST_STEPS), ("batch", self.batch, 2)):
            if value < least:
                raise ConfigurationError(what, value, f"{least} or more")


def front_end(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return what comes before the network: PCM in, `float32[B, 1, frames, bands]` out."""
    copied = copy_of(model)
    graph, features = copied.graph, network_convolutions(model)[0].input[0]
    kept = [node for node in graph.node if not node.name.startswith(NETWORK)]
    needed, nodes = {features}, []
    for node in reversed(kept):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(reversed(nodes))
    graph.output.append(helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, None))
    unused = [tensor for tensor in graph.initializer if tensor.name not in needed]
    for tensor in unused:
        graph.initializer.remove(tensor)
    return copied


class SelfTaught:
    """Batches of mixed windows with the scores that the model itself gives them as targets.

    Distillation of a model into what becomes of it (Hinton et al., 2015): it needs no labels, and learns
    nothing that the model does not know.
    """

    def __init__(self, entry: Entry, windows: PCM, batch: int, seed: int = 0) -> None:
        self._spec, self._windows, self._size = entry.spec, windows, batch
        self._rng = np.random.default_rng(seed)
        self._teacher = open_session(entry.file)
        self._front_end = open_session(front_end(entry.graph()).SerializeToString())

    def __call__(self) -> tuple[Tensor, Tensor]:
        """Return the next batch."""
        audio = self._mixed()
        scores = score(self._teacher, audio, self._spec)
        if self._spec.output.activation == "sigmoid":
            scores = np.asarray(1.0 / (1.0 + np.exp(-scores)), dtype=np.float32)
        return self.features(audio), torch.from_numpy(scores)

    def features(self, audio: PCM) -> Tensor:
        """Return what the network sees of windows `int16[B, window_samples]`."""
        name = self._front_end.get_outputs()[0].name
        spec = self._spec.model_copy(update={"output": self._spec.output.model_copy(update={"name": name})})
        return torch.from_numpy(score(self._front_end, audio, spec))

    def _mixed(self) -> PCM:
        """Draw windows, shifted and at any level, half with another one mixed in; the first is silence."""
        first, second = (self._drawn() for _ in range(2))
        second[self._rng.random(self._size) < 0.5] = 0.0
        first[0] = second[0] = 0.0
        return np.asarray(np.clip(np.rint(first + second), -32768, 32767), dtype=np.int16)

    def _drawn(self) -> NDArray[np.float64]:
        chosen = self._windows[self._rng.integers(len(self._windows), size=self._size)]
        gains = np.exp(self._rng.uniform(np.log(QUIETEST), np.log(LOUDEST), (self._size, 1)))
        shifts = self._rng.integers(chosen.shape[1], size=self._size)
        rolled = np.stack([np.roll(window, shift) for window, shift in zip(chosen, shifts, strict=True)])
        return np.asarray(rolled * gains)


def fine_tune(network: nn.Module, batches: Batches, settings: TuneSettings, tick: Tick) -> None:
    """Train a network, in place, towards the targets; the learning rate falls to nothing at the end."""
    torch.manual_seed(settings.seed)
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    network.train()
    for _ in range(settings.steps):
        features, targets = batches()
        each = nn.functional.binary_cross_entropy_with_logits(network(features), targets, reduction="none")
        loss = each.sum(dim=1).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), settings.longest_gradient)
        optimiser.step()
        schedule.step()
        tick(float(loss.detach()))
    network.eval()
