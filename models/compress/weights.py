"""model.onnx -> network in torch, and a network's weights -> model.onnx.

Only the weights of the network's convolutions leave the graph and come back: its front end is not touched.
"""

from collections.abc import Sequence

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from models.compress.entry import network_convolutions
from models.compress.store import put_weights, weights_of
from models.network import Layer, Network
from schemas.errors import ConfigurationError


def read_network(model: onnx.ModelProto) -> Network:
    """Build the network whose weights a graph holds, with batch normalisation that changes nothing.

    Raises:
        ConfigurationError: the graph's convolutions are not those of `models.network.Network`.

    """
    *body, head = network_convolutions(model)
    kernels = [weights_of(model, node.input[1]) for node in body]
    layers = [_layer(node, kernel.shape) for node, kernel in zip(body, kernels, strict=True)]
    weight = weights_of(model, head.input[1])
    if weight.shape[1] != 2 * layers[-1][0]:
        accepted = "a network whose head reads the mean and the maximum of the last layer"
        raise ConfigurationError("model", head.name, accepted)
    network = Network(weight.shape[0], layers)
    with torch.no_grad():
        for (convolution, norm), node, kernel in zip(pairs(network), body, kernels, strict=True):
            convolution.weight.copy_(torch.from_numpy(kernel.copy()))
            norm.weight.copy_(statistics(norm)[1])
            norm.bias.copy_(torch.from_numpy(weights_of(model, node.input[2]).copy()))
        network.head.weight.copy_(torch.from_numpy(weight.copy()))
        _bias(network.head).copy_(torch.from_numpy(weights_of(model, head.input[2]).copy()))
    return network.eval()


def pairs(network: Network) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return every layer's convolution and normalisation, first to last."""
    found = []
    for layer in network.body:
        convolution, norm, *_ = layer.children()
        if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            raise TypeError(f"a layer begins with {type(convolution).__name__}, {type(norm).__name__}")
        found.append((convolution, norm))
    return found


@torch.no_grad()
def settle_norms(network: Network, features: Tensor) -> None:
    """Give every normalisation the statistics of `features`, so that nothing changes when it trains.

    A graph holds convolutions with the normalisation folded in. With m and v the mean and variance of a
    channel behind its convolution, b its bias, the layer sqrt(v) · (y - m) / sqrt(v) + (m + b) is y + b.
    """
    signal = features
    for convolution, norm in pairs(network.eval()):
        made, (mean, deviation) = convolution(signal), statistics(norm)
        gain = norm.weight / deviation
        bias = norm.bias - mean * gain
        mean.copy_(made.mean((0, 2, 3)))
        norm.get_buffer("running_var").copy_(made.var((0, 2, 3)))
        norm.weight.copy_(gain * statistics(norm)[1])
        norm.bias.copy_(bias + gain * mean)
        signal = torch.relu(norm(made))


def folded(network: Network) -> list[tuple[Tensor, Tensor]]:
    """Return the kernel and bias of every layer, its normalisation folded in."""
    layers = []
    for convolution, norm in pairs(network):
        mean, deviation = statistics(norm)
        gain = norm.weight / deviation
        layers.append((convolution.weight * gain[:, None, None, None], norm.bias - gain * mean))
    return layers


def put_network(model: onnx.ModelProto, network: Network) -> onnx.ModelProto:
    """Return a copy of the graph with this network's weights, whose channels may be fewer."""
    copied = copy_of(model)
    layers = [*folded(network), (network.head.weight, _bias(network.head))]
    for node, (kernel, bias) in zip(network_convolutions(copied), layers, strict=True):
        put_weights(copied, node.input[1], kernel.detach().numpy())
        put_weights(copied, node.input[2], bias.detach().numpy())
    del copied.graph.value_info[:]
    return copied


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a graph."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the running mean and deviation of a normalisation."""
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("a normalisation without statistics")
    return norm.running_mean, torch.sqrt(norm.running_var + norm.eps)


def _layer(node: onnx.NodeProto, shape: Sequence[int]) -> Layer:
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    channels, _, kernel, width = shape
    stride = tuple(given.get("strides", (1, 1)))
    plain = list(given.get("pads", [0] * 4)) == [kernel // 2] * 4 and given.get("group", 1) == 1
    if kernel != width or not plain or len(node.input) != 3 or set(given.get("dilations", [1])) != {1}:
        accepted = "a square convolution with a bias, padded by half its kernel"
        raise ConfigurationError("model", node.name, accepted)
    return channels, kernel, (int(stride[0]), int(stride[1]))


def _bias(convolution: nn.Conv2d) -> Tensor:
    if convolution.bias is None:
        raise TypeError("a head without a bias")
    return convolution.bias
