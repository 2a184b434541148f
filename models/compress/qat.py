"""Network -> a network that has learnt to live with 8 bits -> QDQ graph with the ranges that it learnt.

What quantisation will do is done while training (Jacob et al., Quantization and Training of Neural Networks
for Efficient Integer-Arithmetic-Only Inference, 2018), with the gradient passed straight through the rounding
(Bengio et al., 2013): weights in 7 or 8 bits with a scale for each output channel, what leaves a ReLU in 8
bits from zero to a running maximum. Normalisations are folded in before. The first convolution and the head
stay float, as in `models.compress.quantise`, which writes the graph.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from models.compress.entry import Entry, network_convolutions, write_entry
from models.compress.quantise import FEWEST_CHANNELS, Ranges, quantised_graph
from models.compress.tune import Batches, SelfTaught, Tick, TuneSettings, fine_tune
from models.compress.weights import folded, pairs, put_network, read_network, statistics
from models.dataset import PCM
from models.network import Network

LEVELS = 255
"""Steps of an activation."""
MEMORY = 0.95
"""Share of the running maximum that one batch keeps."""
FROZEN_SHARE = 0.5
"""Of the steps, at the end, in which ranges stand still."""
ACTIVATION_FLOOR = 1e-6


class FakeQuantised(nn.Module):
    """A network that computes in float what its quantised graph will compute in integers."""

    ranges: Tensor

    def __init__(self, network: Network, *, reduce_range: bool = True) -> None:
        super().__init__()
        self._limit = 64 if reduce_range else 127
        self._geometry = [(c.stride, c.padding) for c, _ in pairs(network)]
        layers = [(kernel.detach().clone(), bias.detach().clone()) for kernel, bias in folded(network)]
        self.kernels = nn.ParameterList([kernel for kernel, _ in layers])
        self.biases = nn.ParameterList([bias for _, bias in layers])
        self.head = nn.Conv2d(network.head.in_channels, network.head.out_channels, 1)
        self.head.load_state_dict(network.head.state_dict())
        self.register_buffer("ranges", torch.zeros(len(layers)))
        self.watching = True

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `float32[B, labels]` of features `[B, 1, frames, bands]`."""
        signal = features
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            weight = kernel if kernel.shape[1] < FEWEST_CHANNELS else fake_weight(kernel, self._limit)
            stride, padding = self._geometry[layer]
            signal = torch.relu(nn.functional.conv2d(signal, weight, bias, stride, padding))
            signal = fake_activation(signal, self._range(layer, signal))
        over_time = signal.mean(3, keepdim=True)
        pooled = torch.cat([over_time.mean(2, keepdim=True), over_time.amax(2, keepdim=True)], dim=1)
        logits: Tensor = self.head(pooled)
        return logits.flatten(1)

    def _range(self, layer: int, signal: Tensor) -> Tensor:
        if self.training and self.watching:
            seen, kept = signal.detach().amax(), self.ranges[layer]
            self.ranges[layer] = torch.where(kept == 0, seen, MEMORY * kept + (1 - MEMORY) * seen)
        return self.ranges[layer].clamp(min=ACTIVATION_FLOOR)


def fake_weight(kernel: Tensor, limit: int) -> Tensor:
    """Round a kernel to `limit` steps either side of zero, a scale for each output channel."""
    scale = kernel.detach().abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / limit
    return _through(kernel, torch.clamp(torch.round(kernel / scale), -limit, limit) * scale)


def fake_activation(signal: Tensor, largest: Tensor) -> Tensor:
    """Round a signal to 255 steps from zero to `largest`; what is beyond is clipped, and has no gradient."""
    scale = largest / LEVELS
    clipped = torch.minimum(signal, largest)
    return _through(clipped, torch.round(clipped / scale) * scale)


def train_quantised(
    network: Network,
    batches: Batches,
    settings: TuneSettings,
    *,
    reduce_range: bool = True,
    tick: Tick = lambda _: None,
) -> FakeQuantised:
    """Fine-tune a network with what quantisation does to it; its ranges stand still in the second half."""
    fake = FakeQuantised(network, reduce_range=reduce_range)
    steps = 0

    def ticked(loss: float) -> None:
        nonlocal steps
        steps += 1
        fake.watching = steps < settings.steps * FROZEN_SHARE
        tick(loss)

    fine_tune(fake, batches, settings, ticked)
    return fake


def quantise_aware(
    before: Entry,
    windows: PCM,
    directory: Path,
    settings: TuneSettings,
    *,
    reduce_range: bool = True,
    batches: Batches | None = None,
    tick: Tick = lambda _: None,
) -> Entry:
    """Write a model directory with a quantised graph, tuned on windows `int16[W, window_samples]`.

    Without `batches` its targets are the scores of the model before.

    Raises:
        ConfigurationError: the graph has another kind of network, or the quantised one does not keep what
            `write_entry` checks.

    """
    taught = batches or SelfTaught(before, windows, settings.batch, settings.seed)
    fake = train_quantised(
        read_network(before.graph()), taught, settings, reduce_range=reduce_range, tick=tick
    )
    return write_quantised(fake, before, windows, directory, reduce_range=reduce_range)


def write_quantised(
    fake: FakeQuantised, before: Entry, windows: PCM, directory: Path, *, reduce_range: bool = True
) -> Entry:
    """Write the graph that a trained `FakeQuantised` stands for.

    Raises:
        ConfigurationError: as `quantise_aware` has it.

    """
    graph = before.graph()
    network = _network_of(fake, read_network(graph))
    graph = put_network(graph, network)
    ranges = _ranges(fake, before)
    return write_entry(quantised_graph(graph, before.spec, windows, reduce_range, ranges), before, directory)


@torch.no_grad()
def _network_of(fake: FakeQuantised, network: Network) -> Network:
    for (convolution, norm), kernel, bias in zip(pairs(network), fake.kernels, fake.biases, strict=True):
        convolution.weight.copy_(kernel)
        norm.weight.copy_(statistics(norm)[1])
        norm.bias.copy_(bias)
    network.head.load_state_dict(fake.head.state_dict())
    return network


def _ranges(fake: FakeQuantised, before: Entry) -> Ranges:
    """Return the largest value of what leaves each ReLU, by the tensor's name."""
    graph = before.graph()
    *body, _ = network_convolutions(graph)
    after = {node.input[0]: node.output[0] for node in graph.graph.node if node.op_type == "Relu"}
    largest = fake.ranges.clamp(min=ACTIVATION_FLOOR).tolist()
    return {after[node.output[0]]: value for node, value in zip(body, largest, strict=True)}


def _through(value: Tensor, rounded: Tensor) -> Tensor:
    """Return `rounded`, with the gradient of `value`."""
    return value + (rounded - value).detach()
