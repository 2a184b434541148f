"""Network -> a thinner network: whole channels go, those that say least for what they cost; then it is tuned.

A channel's importance is its scale behind batch normalisation (Liu et al., Network Slimming, 2017) times the
norm of the weights that read it (of filters: Li et al., Pruning Filters for Efficient ConvNets, 2017), over
the root of the sum of squares of its layer (Molchanov et al., Pruning CNNs for Resource Efficient Inference,
2017), so that layers can be compared. The group of channels that goes next is the one with the least
importance for each multiplication saved. Groups of eight or sixteen keep a processor's vectors full.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.compress.entry import Entry, write_entry
from models.compress.tune import Batches, SelfTaught, Tick, TuneSettings, fine_tune
from models.compress.weights import pairs, put_network, read_network, settle_norms
from models.dataset import PCM
from models.network import Layer, Network
from schemas.errors import ConfigurationError

SETTLE_BATCHES = 4

Kept = tuple[Tensor, ...]
"""Of each layer the channels that stay, in order."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is to be left."""

    share: float
    """Of the network's multiplications."""
    group: int = 8
    """Channels that go at a time."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: nothing would go, or nothing would be left.

        """
        if not 0.0 < self.share < 1.0:
            raise ConfigurationError("share", self.share, "more than 0 and less than 1")
        if not 1 <= self.group <= 64:
            raise ConfigurationError("group", self.group, "from 1 to 64 channels")


def prune(
    before: Entry,
    windows: PCM,
    directory: Path,
    pruning: Pruning,
    settings: TuneSettings,
    *,
    batches: Batches | None = None,
    tick: Tick = lambda _: None,
) -> Entry:
    """Write a model directory with a thinner network, fine-tuned on windows `int16[W, window_samples]`.

    Without `batches` its targets are the scores of the model before.

    Raises:
        ConfigurationError: the graph has another kind of network, or the share cannot be reached.

    """
    graph = before.graph()
    network = read_network(graph)
    taught = SelfTaught(before, windows, settings.batch, settings.seed)
    features = torch.cat([taught()[0] for _ in range(SETTLE_BATCHES)])
    settle_norms(network, features)
    thinner = thinned(network, choose(network, features.shape[2:], pruning))
    settle_norms(thinner, features)
    fine_tune(thinner, batches or taught, settings, tick)
    return write_entry(put_network(graph, thinner), before, directory)


def choose(network: Network, size: Sequence[int], pruning: Pruning) -> Kept:
    """Choose the channels that stay, for features of `size` frames and bands.

    Raises:
        ConfigurationError: the share cannot be reached with one group left of every layer.

    """
    values = importance(network)
    order = [torch.argsort(value, descending=True) for value in values]
    counts = [value.numel() for value in values]
    target = pruning.share * macs(network, counts, size)
    while macs(network, counts, size) > target:
        cheapest = _cheapest(
            network, counts, size, [v[o] for v, o in zip(values, order, strict=True)], pruning
        )
        if cheapest is None:
            raise ConfigurationError("share", pruning.share, f"what {pruning.group} channels a layer leave")
        counts[cheapest] -= pruning.group
    return tuple(torch.sort(o[:count]).values for o, count in zip(order, counts, strict=True))


def importance(network: Network) -> list[Tensor]:
    """Return the importance of every channel of every layer, as the module's docstring has it."""
    layers = pairs(network)
    readers = [convolution.weight for convolution, _ in layers[1:]]
    mean, loudest = torch.chunk(network.head.weight, 2, dim=1)
    readers.append(torch.cat([mean, loudest], dim=0))
    found = []
    for (_, norm), reader in zip(layers, readers, strict=True):
        value = (norm.weight.abs() * reader.square().sum((0, 2, 3)).sqrt()).detach()
        found.append(value / value.square().sum().sqrt().clamp(min=1e-12))
    return found


def macs(network: Network, counts: Sequence[int], size: Sequence[int]) -> int:
    """Return the multiplications of one window, with `counts` channels in the layers."""
    frames, bands = size
    inputs, total = 1, 0
    for channels, (kernel, stride) in zip(counts, _geometry(network), strict=True):
        frames = (frames - 1) // stride[0] + 1 if kernel % 2 else (frames - kernel) // stride[0] + 1
        bands = (bands - 1) // stride[1] + 1 if kernel % 2 else (bands - kernel) // stride[1] + 1
        total += frames * bands * channels * inputs * kernel * kernel
        inputs = channels
    return total + 2 * inputs * network.head.weight.shape[0]


@torch.no_grad()
def thinned(network: Network, kept: Kept) -> Network:
    """Return a network of only these channels, with their weights."""
    layers: list[Layer] = [
        (channels.numel(), kernel, stride)
        for channels, (kernel, stride) in zip(kept, _geometry(network), strict=True)
    ]
    thinner = Network(network.head.weight.shape[0], layers)
    inputs = torch.zeros(1, dtype=torch.long)
    for old, new, outputs in zip(pairs(network), pairs(thinner), kept, strict=True):
        new[0].weight.copy_(old[0].weight[outputs][:, inputs])
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(new[1], name).copy_(getattr(old[1], name)[outputs])
        inputs = outputs
    width = network.head.weight.shape[1] // 2
    thinner.head.weight.copy_(network.head.weight[:, torch.cat([inputs, inputs + width])])
    thinner.head.load_state_dict({"weight": thinner.head.weight, "bias": network.head.bias})
    return thinner.eval()


def _geometry(network: Network) -> list[tuple[int, tuple[int, int]]]:
    return [
        (int(convolution.kernel_size[0]), (int(convolution.stride[0]), int(convolution.stride[1])))
        for convolution, _ in pairs(network)
    ]


def _cheapest(
    network: Network, counts: Sequence[int], size: Sequence[int], ranked: Sequence[Tensor], pruning: Pruning
) -> int | None:
    """Return the layer whose next group has the least importance for each multiplication saved."""
    whole, costs = macs(network, counts, size), {}
    for layer, count in enumerate(counts):
        if count <= pruning.group:
            continue
        fewer = [*counts[:layer], count - pruning.group, *counts[layer + 1 :]]
        lost = float(ranked[layer][count - pruning.group : count].square().sum())
        costs[layer] = lost / (whole - macs(network, fewer, size))
    return min(costs, key=lambda layer: costs[layer], default=None)
