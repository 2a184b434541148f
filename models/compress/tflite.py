"""model.onnx -> model.tflite, by onnx2tf: a converter that lives in an environment of its own.

TensorFlow asks for other versions of what we use, so nothing of it is imported here: the converter is run
as a program, on a copy (it writes over what it is given) whose batch is one window.
"""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from models.compress.entry import Entry, network_convolutions, written_whole
from models.session import noise, open_session, score
from schemas.errors import ConfigurationError

TFLITE_FILE = "model.tflite"
PROGRAM = "onnx2tf"
INSTALL = (
    "uv venv --python 3.11 tflite; uv pip install --python tflite onnx2tf tensorflow-cpu tf-keras "
    "onnx-graphsurgeon ai-edge-litert sng4onnx psutil; PATH=$PATH:$PWD/tflite/bin"
)
LONGEST_S = 900.0
TOLERANCE = 1e-4
"""Largest difference of a score of noise between model.onnx and model.tflite."""
TO_LAST = [0, 3, 2, 1]
"""The converter keeps the front end's result as [B, 1, bands, frames]; TensorFlow wants channels last."""


def find_converter() -> Path:
    """Return the converter's program.

    Raises:
        ConfigurationError: it is not on the PATH.

    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise ConfigurationError("--tflite", PROGRAM, f"{PROGRAM} on the PATH; such as by `{INSTALL}`")
    return Path(found).resolve()


def export_tflite(entry: Entry, directory: Path, converter: Path) -> Path:
    """Write model.tflite in float32, and check it with the TensorFlow beside the converter.

    Raises:
        ConfigurationError: the model cannot be converted, or then gives other scores.

    """
    with tempfile.TemporaryDirectory() as scratch, written_whole(directory) as beside:
        alone, orders, out = (Path(scratch) / name for name in ("alone.onnx", "orders.json", "out"))
        _write_alone(entry, alone)
        orders.write_text(json.dumps(_orders(onnx.load(alone))), encoding="utf-8")
        _run([str(converter), "-i", str(alone), "-o", str(out), "-n", "-prf", str(orders)], entry)
        made = next(out.glob("*float32.tflite"), None)
        if made is None:
            raise ConfigurationError("model", str(entry.file), f"a graph that {PROGRAM} can convert")
        target = beside / TFLITE_FILE
        shutil.copyfile(made, target)
        _check(entry, target, converter, Path(scratch))
    return directory / TFLITE_FILE


def _write_alone(entry: Entry, path: Path) -> None:
    """Write the graph for one window, its shapes worked out."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for axis in entry.graph().graph.input[0].type.tensor_type.shape.dim:
        if axis.dim_param:
            options.add_free_dimension_override_by_name(axis.dim_param, 1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(entry.file, options, providers=["CPUExecutionProvider"])


def _orders(graph: onnx.ModelProto) -> dict[str, object]:
    """Tell the converter how the front end's result becomes [B, frames, bands, 1], which it cannot guess."""
    features = network_convolutions(graph)[0].input[0]
    maker = next(node for node in graph.graph.node if features in node.output)
    order = {
        "op_name": maker.name,
        "param_target": "outputs",
        "param_name": features,
        "post_process_transpose_perm": TO_LAST,
    }
    return {"format_version": 1, "operations": [order]}


def _check(entry: Entry, tflite: Path, converter: Path, scratch: Path) -> None:
    windows, scores = scratch / "windows.npy", scratch / "scores.npy"
    hiss = noise(entry.spec.window_samples)
    np.save(windows, hiss, allow_pickle=False)
    program = Path(__file__).with_name("tflite_scores.py")
    _run([str(converter.with_name("python")), str(program), str(tflite), str(windows), str(scores)], entry)
    expected = score(open_session(entry.file), hiss, entry.spec)
    difference = float(np.abs(np.load(scores, allow_pickle=False) - expected).max())
    if not difference <= TOLERANCE:
        accepted = f"scores within {TOLERANCE} of model.onnx; off by {difference:.2g}"
        raise ConfigurationError("model", str(tflite), accepted)


def _run(command: list[str], entry: Entry) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ConfigurationError("--tflite", command[0], f"a program that can be run: {exc}") from exc
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit {done.returncode}"]
        accepted = f"a graph that {PROGRAM} can convert: {last[0]}"
        raise ConfigurationError("model", str(entry.file), accepted)
