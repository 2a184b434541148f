"""A model that needs no training, as a real graph: how loud a window is, how bright, whether it grows louder.

It hears something in nearly every recording, and changes its mind often: detections are plentiful.
"""

from pathlib import Path
from time import thread_time
from timeit import repeat
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from processors.score import OnnxScorer
from schemas.model import MODEL_FILE, SPEC_FILE, ModelSpec, file_digest, read_spec

RATE_HZ, WINDOW_SAMPLES, HOP_SAMPLES = 16_000, 16_000, 8_000
LABELS = ("loud", "bright", "growing")
_OPSET, _IR = 17, 9


def write_quick_model(directory: Path, version: str = "1", loud_at: float = 800.0) -> Path:
    """Write model.onnx and spec.json; at a level of `loud_at` the score of loud is one half."""
    return _write(directory, "quick", _model(0, loud_at), version)


def write_busy_model(directory: Path, window_s: float) -> Path:
    """Write one that hears the same, and does so much useless work that a window takes a core `window_s`.

    It is measured, since one machine does in 3 ms what another does in 7, and in processor time, since
    other tests run meanwhile. It may take nearly twice as long: channels come by 16.
    """
    channels = 16
    while _window_s(_write(directory, "busy", _model(channels, loud_at=800.0), "1")) < window_s:
        channels += 16
    return directory


def _window_s(directory: Path) -> float:
    scorer, silence = OnnxScorer(directory, read_spec(directory)), np.zeros((1, WINDOW_SAMPLES), np.int16)
    return min(repeat(lambda: scorer.run(silence), timer=thread_time, number=1, repeat=3))


def _write(directory: Path, name: str, model: onnx.ModelProto, version: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(model, directory / MODEL_FILE)
    spec = ModelSpec(
        name=name,
        version=version,
        sample_rate_hz=RATE_HZ,
        window_samples=WINDOW_SAMPLES,
        hop_samples=HOP_SAMPLES,
        labels=LABELS,
        thresholds={"loud": 0.5, "bright": 0.5, "growing": 0.5},
        m=2,
        n=3,
        licence="Apache-2.0",
        digest=file_digest(directory / MODEL_FILE),
    )
    (directory / SPEC_FILE).write_text(spec.model_dump_json(indent=2), "utf-8")
    return directory


def _model(busy_channels: int, loud_at: float) -> onnx.ModelProto:
    constants: dict[str, NDArray[Any]] = {
        "begin": np.array([0], np.int64),
        "sixteenth": np.array([16], np.int64),
        "fifteenth": np.array([15], np.int64),
        "half": np.array([WINDOW_SAMPLES // 2], np.int64),
        "before_last": np.array([WINDOW_SAMPLES - 1], np.int64),
        "end": np.array([WINDOW_SAMPLES], np.int64),
        "time": np.array([1], np.int64),
        "one": np.array(1, np.float32),
        "loud_gain": np.array(1 / loud_at, np.float32),
        "bright_gain": np.array(1 / 300, np.float32),
        "growing_gain": np.array(1 / 100, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["audio"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Abs", ["x"], ["level"]),
        # From the 16th sample on: rows of 16 n values lie in a batch as they do alone, and add up alike.
        *_slice("x", "sixteenth", "end", "later"),
        *_slice("x", "fifteenth", "before_last", "earlier"),
        helper.make_node("Sub", ["later", "earlier"], ["slope"]),
        helper.make_node("Abs", ["slope"], ["steepness"]),
        *_slice("level", "begin", "half", "first_half"),
        *_slice("level", "half", "end", "second_half"),
        *(_mean(name) for name in ("level", "steepness", "first_half", "second_half")),
        helper.make_node("Sub", ["second_half_mean", "first_half_mean"], ["growth"]),
        *_score("level_mean", "loud"),
        *_score("steepness_mean", "bright"),
        *_score("growth", "growing"),
        helper.make_node("Concat", ["loud", "bright", "growing"], ["heard"], axis=1),
        *_work(busy_channels, constants),
    ]
    graph = helper.make_graph(
        nodes,
        "quick",
        [helper.make_tensor_value_info("audio", TensorProto.INT16, ["B", WINDOW_SAMPLES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model, full_check=True)
    return model


def _slice(of: str, start: str, end: str, to: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Slice", [of, start, end, "time"], [to])]


def _mean(of: str) -> onnx.NodeProto:
    return helper.make_node("ReduceMean", [of], [f"{of}_mean"], axes=[1], keepdims=1)


def _score(of: str, label: str) -> list[onnx.NodeProto]:
    """Bring x >= 0 to x / (1 + x), which any processor rounds the same way wherever in a batch a window is.

    Of functions such as Tanh the last few values of a batch are computed by other code than the others.
    """
    positive, scaled, more = f"{label}_positive", f"{label}_scaled", f"{label}_more"
    return [
        helper.make_node("Relu", [of], [positive]),
        helper.make_node("Mul", [positive, f"{label}_gain"], [scaled]),
        helper.make_node("Add", [scaled, "one"], [more]),
        helper.make_node("Div", [scaled, more], [label]),
    ]


def _work(channels: int, constants: dict[str, NDArray[Any]]) -> list[onnx.NodeProto]:
    """Convolve for nothing: what comes out is multiplied by 0 and added."""
    if not channels:
        return [helper.make_node("Identity", ["heard"], ["scores"])]
    constants["channel"] = np.array([1], np.int64)
    constants["wide"] = np.full((channels, 1, 64), 1e-6, np.float32)
    constants["deep"] = np.full((channels, channels, 32), 1e-6, np.float32)
    constants["nothing"] = np.array(0, np.float32)
    return [
        helper.make_node("Unsqueeze", ["x", "channel"], ["mono"]),
        helper.make_node("Conv", ["mono", "wide"], ["once"], strides=[8]),
        helper.make_node("Conv", ["once", "deep"], ["twice"]),
        helper.make_node("ReduceMean", ["twice"], ["work"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["work", "nothing"], ["no_work"]),
        helper.make_node("Unsqueeze", ["no_work", "channel"], ["no_work_each"]),
        helper.make_node("Add", ["heard", "no_work_each"], ["scores"]),
    ]
