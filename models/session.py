"""model.onnx -> scores of windows, on one thread: with what export and compression check what they wrote.

A model without a spec is one that `export.write_onnx` wrote: `audio int16[batch, S]` in, `scores` out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.dataset import PCM
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec

LARGEST_BATCH = 64

Scores = NDArray[np.float32]


def open_session(model: Path | bytes, unfolded: Sequence[str] = ()) -> onnxruntime.InferenceSession:
    """Open a model, or the bytes of one, on one CPU thread; `unfolded` names optimisers to leave out."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(unfolded)
    )


def score(session: onnxruntime.InferenceSession, windows: PCM, spec: ModelSpec | None = None) -> Scores:
    """Score windows `int16[B, S]`: `float32[B, labels]`, as the graph gives them."""
    if spec is None:
        return np.asarray(session.run(["scores"], {"audio": windows})[0])
    audio: NDArray[np.generic] = windows
    if spec.input.dtype == "float32":
        audio = windows.astype(np.float32) * np.float32(spec.input.scale)
    return np.asarray(session.run([spec.output.name], {spec.input.name: audio})[0])


def noise(samples: int, batch: int = LARGEST_BATCH) -> PCM:
    """Return windows of noise from -80 to about -10 dBFS, `int16[batch, samples]`."""
    rng = np.random.default_rng(0)
    level = np.geomspace(3.0, 10_000.0, batch)[:, None]
    heard = rng.standard_normal((batch, samples)) * level
    return np.clip(heard, -32768, 32767).astype(np.int16)


def check_company(model: Path, spec: ModelSpec | None = None) -> None:
    """Refuse a model that gives a window other scores in another batch.

    Raises:
        ConfigurationError: it does, or gives scores that are not finite.

    """
    session = open_session(model)
    windows = noise(_window_samples(session, spec))
    alone = np.concatenate([score(session, window[None], spec) for window in windows])
    if not np.isfinite(alone).all():
        raise ConfigurationError("model", str(model), "finite scores for noise of every level")
    sizes = range(1, LARGEST_BATCH + 1)
    if any(not np.array_equal(score(session, windows[:size], spec), alone[:size]) for size in sizes):
        raise ConfigurationError("model", str(model), "the same scores in a batch of any size")


def check_silence(model: Path, thresholds: Sequence[float], spec: ModelSpec | None = None) -> None:
    """Refuse a model that hears something in silence, its thresholds in the order of its outputs.

    Raises:
        ConfigurationError: it does.

    """
    session = open_session(model)
    silence = np.zeros((1, _window_samples(session, spec)), np.int16)
    heard = score(session, silence, spec)[0]
    if not all(one < threshold for one, threshold in zip(heard, thresholds, strict=True)):
        raise ConfigurationError("model", str(model), f"nothing in silence; heard {heard}")


def _window_samples(session: onnxruntime.InferenceSession, spec: ModelSpec | None) -> int:
    return int(session.get_inputs()[0].shape[1]) if spec is None else spec.window_samples
