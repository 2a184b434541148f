"""int16[B, window_samples] -> float32[B, labels]: ONNX Runtime in process, the embedded default."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from schemas.errors import ConfigurationError, ScorerError
from schemas.model import MODEL_FILE, ModelSpec

Pcm = NDArray[np.int16]
Scores = NDArray[np.float32]

_PROVIDER = "CPUExecutionProvider"
ONNX_IDENTITY = f"onnxruntime/{onnxruntime.__version__}/{_PROVIDER}"
_ONNX_DTYPES = {"int16": "tensor(int16)", "float32": "tensor(float)"}
_QUIET = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerSettings:
    """How windows are scored in process.

    Raises:
        ConfigurationError: a value that cannot work.

    """

    threads: int = 1
    """Batches that are scored at once, each by one thread."""

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 256:
            raise ConfigurationError("scorer.threads", self.threads, "1 to 256")


class Scored(NamedTuple):
    """float32[B, labels], and the scoring identity that they are of."""

    scores: Scores
    identity: str


class Scorer(Protocol):
    """Scores batches of windows."""

    identity: str
    """Runtime, version and provider: scores are equal to the bit within one scoring identity."""
    concurrency: int
    """Batches that are worth having in flight."""

    async def score(self, pcm: Pcm, traceparent: str | None = None) -> Scored:
        """Return float32[B, labels] for int16[B, window_samples]; `traceparent` goes to other processes.

        Raises:
            ScorerError: a final error for this batch.

        """
        ...

    async def close(self) -> None:
        """Let go of threads and connections."""
        ...


class OnnxScorer:
    """Runs a model directory's graph with ONNX Runtime on the CPU.

    Raises:
        ConfigurationError: the graph cannot be loaded, or is not what the spec says.

    """

    def __init__(self, directory: Path, spec: ModelSpec, settings: ScorerSettings | None = None) -> None:
        self.concurrency = (settings or ScorerSettings()).threads
        self._spec = spec
        self._session = _session(directory / MODEL_FILE)
        _check_graph(self._session, spec)
        self.identity = ONNX_IDENTITY
        self._threads = ThreadPoolExecutor(self.concurrency, thread_name_prefix="score")
        try:
            self.run(np.zeros((1, spec.window_samples), np.int16))
        except ScorerError as exc:
            accepted = f"a graph that scores a window of {spec.window_samples} samples: {exc}"
            raise ConfigurationError("model.path", str(directory), accepted) from exc

    async def score(self, pcm: Pcm, traceparent: str | None = None) -> Scored:
        """Return float32[B, labels] for int16[B, window_samples], from a thread."""
        scores = await asyncio.get_running_loop().run_in_executor(self._threads, self.run, pcm)
        return Scored(scores, self.identity)

    def run(self, pcm: Pcm) -> Scores:
        """Return float32[B, labels] for int16[B, window_samples], here and now."""
        fed = self._spec.input
        values = pcm if fed.dtype == "int16" else pcm.astype(np.float32) * np.float32(fed.scale)
        size = fed.batch or len(values)
        parts = [self._run_part(values[at : at + size], size) for at in range(0, len(values), size)]
        return np.concatenate(parts)

    def _run_part(self, values: NDArray[np.generic], size: int) -> Scores:
        given = len(values)
        if given < size:  # the graph takes one batch size only: fill up, and drop what that gives
            values = np.concatenate([values, np.zeros((size - given, values.shape[1]), values.dtype)])
        try:
            (raw,) = self._session.run([self._spec.output.name], {self._spec.input.name: values})
        except Exception as exc:  # ONNX Runtime raises its own classes, without a common one of theirs
            raise ScorerError(f"onnxruntime: {exc}") from exc
        expected = (size, len(self._spec.labels))
        if raw.shape != expected:
            raise ScorerError(f"the model gave scores of shape {raw.shape}; accepted: {expected}")
        return _activated(raw[:given].astype(np.float32, copy=False), self._spec.output.activation)

    async def close(self) -> None:
        """Wait for the threads to finish."""
        self._threads.shutdown(wait=True)


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[_PROVIDER])
    except Exception as exc:  # as above
        raise ConfigurationError("model.path", str(path), f"an ONNX graph that loads: {exc}") from exc


def _check_graph(session: onnxruntime.InferenceSession, spec: ModelSpec) -> None:
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    if list(inputs) != [spec.input.name]:
        raise ConfigurationError("input.name", spec.input.name, f"the graph's one input, of {list(inputs)}")
    if spec.output.name not in outputs:
        raise ConfigurationError("output.name", spec.output.name, f"one of the outputs {list(outputs)}")
    node = inputs[spec.input.name]
    if node.type != _ONNX_DTYPES[spec.input.dtype]:
        raise ConfigurationError("input.dtype", spec.input.dtype, f"what the graph takes, {node.type}")
    _check_shape("window_samples", node.shape, spec.input.batch, spec.window_samples)
    _check_shape("labels", outputs[spec.output.name].shape, spec.input.batch, len(spec.labels))


def _check_shape(key: str, shape: list[int | str | None], batch: int | None, size: int) -> None:
    fits = len(shape) == 2 and (not isinstance(shape[1], int) or shape[1] == size)
    if not fits or (isinstance(shape[0], int) and shape[0] != batch):
        raise ConfigurationError(key, f"[{batch or 'B'}, {size}]", f"the graph's shape, {shape}")


def _activated(raw: Scores, activation: str) -> Scores:
    if activation == "sigmoid":
        with np.errstate(over="ignore"):  # e^100 is inf, and 1 / inf is the 0 that it should be
            return np.float32(1) / (np.float32(1) + np.exp(-raw))
    if activation == "softmax":
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        scores: Scores = powers / powers.sum(axis=1, keepdims=True)
        return scores
    return raw
