"""model.onnx -> model.onnx whose network computes in float16: for GPUs, and in half the network's bytes.

The front end stays float32: power spans more decades than float16 has, and the 70 dB below the loudest
sound that the network sees would drown in its rounding. A CPU without float16 arithmetic casts back and
forth: there it is no faster. (onnxconverter-common's converter rounds inside a front end that it was told
to leave alone, wherever a tensor of it is used twice: scores then move by up to 0.14.)
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from models.compress.entry import NETWORK, Entry, write_entry
from models.compress.store import as_initializers, replace_nodes
from models.session import noise, open_session, score
from schemas.errors import ConfigurationError

TOLERANCE = 0.01
"""Largest difference of a score of noise between float16 and float32."""


def halve(before: Entry, directory: Path) -> Entry:
    """Write a model directory whose network computes in float16.

    Raises:
        ConfigurationError: its scores are further from the float32 ones than `TOLERANCE`, or it does not
            keep what `write_entry` checks.

    """
    return write_entry(halved(before.graph()), before, directory, partial(_check, before))


def _check(before: Entry, file: Path) -> None:
    windows = noise(before.spec.window_samples)
    both = [score(open_session(one), windows, before.spec) for one in (before.file, file)]
    difference = float(np.abs(both[0] - both[1]).max())
    if not difference <= TOLERANCE:
        accepted = f"scores within {TOLERANCE} of float32; off by {difference:.2g}"
        raise ConfigurationError("model", str(before.file), accepted)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the network's nodes in float16, between two Casts."""
    as_initializers(model)
    graph, inside = model.graph, [n for n in model.graph.node if n.name.startswith(NETWORK)]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for name in {name for node in inside for name in node.input} & constants.keys():
        _halve_constant(constants[name])
    made = {name for node in inside for name in node.output}
    entering = {
        name for node in inside for name in node.input if name and name not in made | constants.keys()
    }
    leaving = {name for node in graph.node if node not in inside for name in node.input} & made
    casts = [_cast(name, f"{name}/half", TensorProto.FLOAT16) for name in sorted(entering)]
    back = [_cast(f"{name}/half", name, TensorProto.FLOAT) for name in sorted(leaving)]
    _rename(inside, entering | leaving)
    replace_nodes(graph, _sorted([*graph.node, *casts, *back], constants))
    del graph.value_info[:]
    return model


def _halve_constant(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _cast(given: str, made: str, to: int) -> NodeProto:
    return onnx.helper.make_node("Cast", [given], [made], f"{NETWORK}cast/{made}", to=to)


def _rename(nodes: Iterable[NodeProto], names: set[str]) -> None:
    for node in nodes:
        for place in (node.input, node.output):
            for index, name in enumerate(place):
                if name in names:
                    place[index] = f"{name}/half"


def _sorted(nodes: list[NodeProto], constants: Iterable[str]) -> list[NodeProto]:
    """Order nodes so that each comes after those that make its inputs."""
    every = {name for node in nodes for name in node.output}
    ready, waiting, ordered = set(constants), list(nodes), []
    while waiting:
        now = [n for n in waiting if all(i in ready or i not in every for i in n.input)]
        ordered += now
        ready |= {name for node in now for name in node.output}
        waiting = [node for node in waiting if not any(node is other for other in now)]
    return ordered
