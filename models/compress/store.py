"""model.onnx -> a smaller file with the same scores: how constants are stored, and what they are called.

A constant whose values all are float16 numbers is stored as float16 with a Cast behind it, which ONNX
Runtime folds away when it loads the model: no bit of any score changes.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from schemas.errors import ConfigurationError

SMALLEST_BYTES = 1024
"""A smaller constant would not pay for its Cast."""


def as_initializers(model: ModelProto) -> None:
    """Turn Constant nodes that hold a tensor into initialisers, in place."""
    kept: list[NodeProto] = []
    for node in model.graph.node:
        value = _tensor(node)
        if value is None:
            kept.append(node)
            continue
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
    replace_nodes(model.graph, kept)


def store_halves(model: ModelProto) -> int:
    """Store as float16, in place, what is exactly that; return how many bytes that saved."""
    as_initializers(model)
    casts, saved = [], 0
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.nbytes < SMALLEST_BYTES or not _is_half(values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(
            onnx.helper.make_node("Cast", [tensor.name], [name], f"{name}/cast", to=TensorProto.FLOAT)
        )
        saved += values.nbytes // 2
    replace_nodes(model.graph, casts + list(model.graph.node))
    return saved


def weights_of(model: ModelProto, name: str) -> NDArray[np.float32]:
    """Return a constant by its name.

    Raises:
        ConfigurationError: the graph computes it, or does not have it.

    """
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return np.asarray(numpy_helper.to_array(tensor))
    for node in model.graph.node:
        value = _tensor(node)
        if value is not None and node.output[0] == name:
            return np.asarray(numpy_helper.to_array(value))
    raise ConfigurationError("model", name, "a graph whose weights are constants")


def put_weights(model: ModelProto, name: str, values: NDArray[np.float32]) -> None:
    """Replace an initialiser, in place, by one of any shape."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
            return
    raise ConfigurationError("model", name, "an initialiser of the graph")


def round_network(model: ModelProto, prefix: str) -> float:
    """Round the weights of nodes so named to float16, in place; return the largest change of one.

    They stay float32 numbers: `store_halves` then stores them in half the bytes.
    """
    names = {i for node in model.graph.node if node.name.startswith(prefix) for i in node.input}
    largest = 0.0
    for tensor in model.graph.initializer:
        if tensor.name in names and tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            rounded = values.astype(np.float16).astype(np.float32)
            largest = max(largest, float(np.abs(rounded - values).max(initial=0.0)))
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return largest


def shorten_names(model: ModelProto) -> None:
    """Give every inner tensor and node a short name, in place; inputs and outputs keep theirs."""
    graph = model.graph
    names = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    for tensor in graph.initializer:
        tensor.name = names.setdefault(tensor.name, f"c{len(names)}")
    for node in graph.node:
        node.name = ""
        node.doc_string = ""
        for place in (node.input, node.output):
            for index, name in enumerate(place):
                place[index] = names.setdefault(name, f"t{len(names)}")
    del graph.value_info[:]


def _tensor(node: NodeProto) -> TensorProto | None:
    if node.op_type != "Constant" or len(node.attribute) != 1 or node.attribute[0].name != "value":
        return None
    tensor: TensorProto = node.attribute[0].t
    return tensor


def _is_half(values: NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))


def replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    """Give a graph other nodes, in place."""
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
