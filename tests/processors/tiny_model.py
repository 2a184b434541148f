"""Models small enough to be read at a glance, written as ONNX graphs and run by ONNX Runtime.

Every graph takes `[B, window]` and gives `[B, 2]`: the window's peak and its mean, both times `GAIN`, so that
full scale is near 1. What the labels are called, and what is made of the raw values, the spec says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from schemas.model import MODEL_FILE, SPEC_FILE, ModelSpec, file_digest

RATE_HZ, WINDOW, HOP = 16_000, 3200, 1600
LABELS = ("loud", "high")
GAIN = np.float32(1 / 32_768)
_DTYPES = {"int16": TensorProto.INT16, "float32": TensorProto.FLOAT}
_OPSET, _IR_VERSION = 17, 10


def write_model(directory: Path, graph: onnx.GraphProto | None = None, **spec: Any) -> ModelSpec:
    """Write a model directory: the graph, by default one that fits the spec, and the spec."""
    directory.mkdir(parents=True, exist_ok=True)
    fed = spec.get("input", {})
    _write_graph(directory / MODEL_FILE, graph or loudness(fed.get("dtype", "int16"), fed.get("batch")))
    written = ModelSpec.model_validate({**_SPEC, "digest": file_digest(directory / MODEL_FILE), **spec})
    (directory / SPEC_FILE).write_text(written.model_dump_json(), "utf-8")
    return written


_SPEC: Mapping[str, Any] = {
    "name": "tiny",
    "version": "1",
    "sample_rate_hz": RATE_HZ,
    "window_samples": WINDOW,
    "hop_samples": HOP,
    "labels": LABELS,
    "thresholds": dict.fromkeys(LABELS, 0.5),
    "m": 1,
    "n": 1,
    "licence": "Apache-2.0",
}


def loudness(dtype: str = "int16", batch: int | None = None, window: int | str = WINDOW) -> onnx.GraphProto:
    """Peak and mean of a window; `window` may be a name, for a graph that takes any length."""
    return _graph(_peak_and_mean(), dtype, batch, window)


def loudness_that_fails_when_loud() -> onnx.GraphProto:
    """The same, but ONNX Runtime refuses to run it on a window with a peak of half of full scale."""
    nodes = [
        *_peak_and_mean("measured"),
        helper.make_node("ReduceMax", ["measured"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "two"], ["doubled"]),
        helper.make_node("Cast", ["doubled"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["zeros", "index"], ["zero"]),
        helper.make_node("Add", ["measured", "zero"], ["scores"]),
    ]
    constants = {"two": np.array(2, np.float32), "zeros": np.zeros(1, np.float32)}
    return _graph(nodes, constants=constants)


def loudness_of_one_length(window: int) -> onnx.GraphProto:
    """The same, but it says that it takes any length and fails on every other one."""
    nodes = [
        helper.make_node("Add", ["audio", "ramp"], ["shifted"]),
        helper.make_node("Sub", ["shifted", "ramp"], ["whole"]),
        *_peak_and_mean(source="whole"),
    ]
    return _graph(nodes, window="samples", constants={"ramp": np.zeros(window, np.int16)})


def expected_raw(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """What the graphs give, float32[B, 2], computed without them."""
    values = pcm.astype(np.float64) / 32_768
    return np.stack([np.abs(values).max(axis=1), values.mean(axis=1)], axis=1).astype(np.float32)


def _peak_and_mean(result: str = "scores", source: str = "audio") -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [source], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Abs", ["values"], ["sizes"]),
        helper.make_node("ReduceMax", ["sizes"], ["peak"], axes=[1], keepdims=1),
        helper.make_node("ReduceMean", ["values"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["peak", "mean"], ["both"], axis=1),
        helper.make_node("Mul", ["both", "gain"], [result]),
    ]


def _graph(
    nodes: list[onnx.NodeProto],
    dtype: str = "int16",
    batch: int | None = None,
    window: int | str = WINDOW,
    constants: Mapping[str, NDArray[Any]] | None = None,
) -> onnx.GraphProto:
    constants = {"gain": np.array(GAIN, np.float32), **(constants or {})}
    return helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("audio", _DTYPES[dtype], [batch or "B", window])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch or "B", len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )


def _write_graph(path: Path, graph: onnx.GraphProto) -> None:
    opsets = [helper.make_opsetid("", _OPSET)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION), str(path))
