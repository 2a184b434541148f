"""network -> model.onnx and spec.json: the directory that a processor, or anybody, can run.

The file is checked before anything is promised: against torch, for the company that a window keeps in
its batch, and for silence.
"""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from models.bank import HOP_SAMPLES, WINDOW_SAMPLES
from models.features import RATE_HZ
from models.network import Model
from models.recordings import LABELS, PCM
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, SPEC_FILE, ModelInput, ModelOutput, ModelSpec, file_digest

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference between torch's scores and the exported model's."""
LARGEST_BATCH = 64
LICENCE = "Apache-2.0; trained on CC0, CC-BY and public-domain recordings, see CARD.md"


@dataclass(frozen=True, slots=True)
class Rule:
    """When a label counts: its threshold in a window, and m of n windows."""

    thresholds: dict[str, float]
    m: int = 2
    n: int = 3


def export(model: Model, rule: Rule, directory: Path) -> ModelSpec:
    """Write a model directory and return its spec; the directory's last two names are name and version.

    Raises:
        ConfigurationError: the exported model disagrees with torch, gives a window other scores in
            another batch, or hears something in silence.

    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / MODEL_FILE
    _write_onnx(model.eval(), path)
    _check(model, rule, path)
    spec = _spec(rule, path)
    (directory / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return spec


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a model on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def score(session: onnxruntime.InferenceSession, windows: PCM) -> NDArray[np.float32]:
    """Score windows `int16[B, 16000]`: `float32[B, labels]`."""
    return np.asarray(session.run(["scores"], {"audio": windows})[0])


def window_ms(path: Path, batch: int = 32, repeats: int = 50) -> float:
    """Measure the median time that one window takes in a batch, on one thread, in milliseconds."""
    session, windows = open_session(path), _noise(batch)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        score(session, windows)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1000 / batch


def _write_onnx(model: Model, path: Path) -> None:
    with warnings.catch_warnings():
        # The exporter by tracing: the newer one writes other operators, and needs one more package.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (torch.zeros(2, WINDOW_SAMPLES, dtype=torch.int16),),
            str(path),
            input_names=["audio"],
            output_names=["scores"],
            dynamic_axes={"audio": {0: "batch"}, "scores": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )


def _check(model: Model, rule: Rule, path: Path) -> None:
    session, batch = open_session(path), LARGEST_BATCH
    windows = _noise(batch)
    with torch.inference_mode():
        expected = model(torch.from_numpy(windows)).numpy()
    difference = float(np.abs(score(session, windows) - expected).max())
    if not difference <= TOLERANCE:
        raise ConfigurationError("model.path", str(path), f"scores of torch; off by {difference:.2g}")
    alone = np.concatenate([score(session, window[None]) for window in windows])
    if any(not np.array_equal(score(session, windows[:b]), alone[:b]) for b in range(1, batch + 1)):
        raise ConfigurationError("model.path", str(path), "the same scores in a batch of any size")
    silence = score(session, np.zeros((1, WINDOW_SAMPLES), np.int16))[0]
    if not np.all(silence < [rule.thresholds[label] for label in LABELS]):
        raise ConfigurationError("model.path", str(path), f"nothing in silence; heard {silence}")


def _spec(rule: Rule, path: Path) -> ModelSpec:
    return ModelSpec(
        name=path.parent.parent.name,
        version=path.parent.name,
        sample_rate_hz=RATE_HZ,
        window_samples=WINDOW_SAMPLES,
        hop_samples=HOP_SAMPLES,
        labels=LABELS,
        thresholds=rule.thresholds,
        m=rule.m,
        n=rule.n,
        licence=LICENCE,
        digest=file_digest(path),
        input=ModelInput(name="audio", dtype="int16"),
        output=ModelOutput(name="scores", activation="none"),
    )


def _noise(batch: int) -> PCM:
    """Return windows of noise from -80 to about -10 dBFS."""
    rng = np.random.default_rng(0)
    level = np.geomspace(3.0, 10_000.0, batch)[:, None]
    noise = rng.standard_normal((batch, WINDOW_SAMPLES)) * level
    return np.clip(noise, -32768, 32767).astype(np.int16)
