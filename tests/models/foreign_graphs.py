"""Graphs as strangers make them: other shapes, other types, several outputs, and such as cannot be trusted.

Most of them give, for every window, its highest sample by some weights: `COLUMNS` numbers from 0 to 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

RATE_HZ, WINDOW, COLUMNS = 8_000, 390, 4
Dim = int | str
_KINDS = {"int16": TensorProto.INT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
_OPSET, _IR_VERSION = 17, 9


def weights(columns: int = COLUMNS, window: int = WINDOW) -> NDArray[np.float32]:
    """What a window's sizes are multiplied by, float32[window, columns]."""
    return np.random.default_rng(3).random((window, columns)).astype(np.float32)


def bands(
    path: Path,
    shape: Sequence[Dim] = ("B", WINDOW),
    kind: str = "float32",
    columns: int = COLUMNS,
    head: Sequence[onnx.NodeProto] = (),
    outputs: Mapping[str, Sequence[Dim]] | None = None,
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> Path:
    """Write a graph: the highest of `sizes` by weights is `bands`; `head` makes outputs of it."""
    nodes = [
        helper.make_node("Cast", ["sound"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Abs", ["values"], ["sizes"]),
        # The highest product: a sum would depend on the order, and with it on the size of the batch.
        helper.make_node("Unsqueeze", ["sizes", "last"], ["tall"]),
        helper.make_node("Mul", ["tall", "weights"], ["products"]),
        helper.make_node("ReduceMax", ["products"], ["bands"], axes=[-2], keepdims=0),
        *(head or [helper.make_node("Identity", ["bands"], ["scores"])]),
    ]
    of_bands = [*shape[:-1], columns]
    there: dict[str, NDArray[Any]] = {
        "last": np.array([-1], np.int64),
        "weights": weights(columns),
        **(constants or {}),
    }
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("sound", _KINDS[kind], list(shape))],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(of))
            for name, of in (outputs or {"scores": of_bands}).items()
        ],
        [numpy_helper.from_array(value, name) for name, value in there.items()],
    )
    return save(path, graph)


def save(path: Path, graph: onnx.GraphProto, domain: str | None = None) -> Path:
    """Write a graph as a file."""
    opsets = [helper.make_opsetid("", _OPSET), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION), str(path))
    return path


def logits(path: Path, **more: Any) -> Path:
    """Bands, turned into numbers from about -6 to 30."""
    head = [
        helper.make_node("Mul", ["bands", "forty"], ["spread"]),
        helper.make_node("Sub", ["spread", "six"], ["scores"]),
    ]
    numbers = {"forty": np.array(40, np.float32), "six": np.array(6, np.float32)}
    return bands(path, head=head, constants=numbers, **more)


def quantised_by_company(path: Path, **more: Any) -> Path:
    """Quantised as tools do it by default: the scale is that of the loudest window of the batch."""
    head = [
        helper.make_node("DynamicQuantizeLinear", ["bands"], ["quantised", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["scores"]),
    ]
    return bands(path, head=head, **more)


def several_outputs(path: Path, **more: Any) -> Path:
    """Scores, the same numbers once more, and what is inside."""
    head = [
        helper.make_node("Identity", ["bands"], ["scores"]),
        helper.make_node("Sqrt", ["bands"], ["other_scores"]),
        helper.make_node("Identity", ["sizes"], ["inside"]),
    ]
    shape = more.get("shape", ("B", WINDOW))
    of_bands = [*shape[:-1], COLUMNS]
    outputs = {"inside": list(shape), "scores": of_bands, "other_scores": of_bands}
    return bands(path, head=head, outputs=outputs, **more)


def not_a_number_when_loud(path: Path) -> Path:
    """The root of what is left to 0.1."""
    head = [
        helper.make_node("Sub", ["tenth", "bands"], ["rest"]),
        helper.make_node("Sqrt", ["rest"], ["scores"]),
    ]
    return bands(path, head=head, constants={"tenth": np.array(0.1, np.float32)})


def random(path: Path) -> Path:
    """Dropout that somebody forgot to switch off."""
    head = [
        helper.make_node("RandomUniformLike", ["bands"], ["chance"], high=1.0, low=0.0),
        helper.make_node("Mul", ["bands", "chance"], ["scores"]),
    ]
    return bands(path, head=head)


def high_in_silence(path: Path) -> Path:
    """One, less the bands."""
    head = [helper.make_node("Sub", ["one", "bands"], ["scores"])]
    return bands(path, head=head, constants={"one": np.array(1, np.float32)})


def with_custom_operator(path: Path) -> Path:
    """An operator that nobody has but its maker."""
    node = helper.make_node("Listen", ["sound"], ["scores"], domain="org.example.ears")
    graph = helper.make_graph(
        [node],
        "foreign",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["B", WINDOW])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", COLUMNS])],
    )
    return save(path, graph, "org.example.ears")


def with_weights_beside(path: Path) -> Path:
    """The same bands, with their weights in a file of their own."""
    bands(path)
    model = onnx.load(str(path))
    onnx.save_model(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def two_inputs(path: Path) -> Path:
    """The sound, and its rate."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["sound", "rate"], ["scores"])],
        "foreign",
        [
            helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["B", WINDOW]),
            helper.make_tensor_value_info("rate", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", WINDOW])],
    )
    return save(path, graph)


def expected(pcm: NDArray[np.int16], scale: float, columns: int = COLUMNS) -> NDArray[np.float64]:
    """What the bands are, computed without the graph: float64[B, columns]."""
    sizes = np.abs(pcm.astype(np.float64) * scale)
    return np.asarray((sizes[:, :, None] * weights(columns)).max(axis=1))
