"""int16[B, window_samples] -> float32[B, labels]: ONNX Runtime in process, the embedded default.

What other processes score is `processors/triton`; how a graph is fed and read is here for both.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import BeforeValidator

from processors.readout import Readout
from processors.readout import Scores as Scores
from schemas.errors import ConfigurationError, ScorerError
from schemas.model import MODEL_FILE, ModelInput, ModelSpec

Pcm = NDArray[np.int16]
T = TypeVar("T", bound=np.generic)

_PROVIDER = "CPUExecutionProvider"
ONNX_IDENTITY = f"onnxruntime/{onnxruntime.__version__}/{_PROVIDER}"
_ONNX_DTYPES = {"int16": "tensor(int16)", "float32": "tensor(float)"}
_QUIET = 3
_Shape = list[int | str | None]
MAX_ENDPOINTS, MAX_PORT = 64, 65_535
_ENDPOINT = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})")


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorerSettings:
    """What scores windows, and how.

    Raises:
        ConfigurationError: a value that cannot work.

    """

    kind: Literal["onnx", "triton"] = "onnx"
    """ONNX Runtime in this process, or NVIDIA Tritons at `endpoints`."""
    threads: int = 1
    """In process: batches that are scored at once, each by one thread."""
    endpoints: Annotated[tuple[str, ...], BeforeValidator(_split)] = ()
    """Triton's gRPC addresses, each `host:port`; as text, with commas between them. An endpoint is one
    server: where something spreads connections over several, name these instead."""
    channels: int = 2
    """Connections to each endpoint."""
    concurrency: int = 4
    """Batches in flight at each endpoint."""
    deadline_ms: int = 500
    """A call that takes longer ejects its endpoint; one that is tried again may take longer each time."""
    shared_memory: Literal["auto", "off", "system"] = "auto"
    """`auto` uses it where an endpoint is on loopback and accepts it; `system` refuses one that does not.
    Batches of more than 128 windows go through gRPC all the same."""
    fallback: Literal["none", "onnx"] = "none"
    """What scores while no endpoint is ready: nothing (lag grows), or ONNX Runtime in this process."""
    start_timeout_s: float = 60.0
    """How long a worker that starts waits for a first endpoint."""
    tls: bool = False
    """Endpoints are reached by TLS; by default the system's authorities are trusted."""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        _check_between("threads", self.threads, 1, 256)
        _check_between("channels", self.channels, 1, 64)
        _check_between("concurrency", self.concurrency, 1, 256)
        _check_between("deadline_ms", self.deadline_ms, 1, 30_000)
        _check_between("start_timeout_s", self.start_timeout_s, 0, 3600)
        self._check_endpoints()
        if (self.certificate_file is None) != (self.key_file is None):
            raise ConfigurationError("scorer.certificate_file and key_file", "one of them", "both or none")
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ConfigurationError("scorer.tls", self.tls, "true where there is a certificate or a key")

    def _check_endpoints(self) -> None:
        if self.kind == "triton" and not 1 <= len(self.endpoints) <= MAX_ENDPOINTS:
            accepted = f"1 to {MAX_ENDPOINTS} of host:port where scorer.kind is triton"
            raise ConfigurationError("scorer.endpoints", self.endpoints, accepted)
        for endpoint in self.endpoints:
            match = _ENDPOINT.fullmatch(endpoint)
            if match is None or not 1 <= int(match["port"]) <= MAX_PORT:
                accepted = "host:port, such as triton:8001 or [::1]:8001"
                raise ConfigurationError("scorer.endpoints", endpoint, accepted)
        if len(set(self.endpoints)) != len(self.endpoints):
            raise ConfigurationError("scorer.endpoints", self.endpoints, "every endpoint once")


class Scored(NamedTuple):
    """float32[B, labels], and the scoring identity that they are of."""

    scores: Scores
    identity: str


class Scorer(Protocol):
    """Scores batches of windows."""

    identity: str
    """Runtime, version and provider. In process, scores are equal to the bit within one scoring identity; a
    Triton's names its version and what its repository says of the runtime, not the runtime's own version."""
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
        self._readout = Readout(spec)
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
        values = fed(pcm, self._spec.input)
        size = self._spec.input.batch or len(values)
        parts = [self._run_part(values[at : at + size], size) for at in range(0, len(values), size)]
        return np.concatenate(parts)

    def _run_part(self, values: NDArray[np.generic], size: int) -> Scores:
        given, values = len(values), filled_up(values, size)
        fed_as = values[0] if self._spec.input.rank == 1 else values
        try:
            (raw,) = self._session.run([self._spec.output.name], {self._spec.input.name: fed_as})
        except Exception as exc:  # ONNX Runtime raises its own classes, without a common one of theirs
            raise ScorerError(f"onnxruntime: {exc}") from exc
        expected = (size, self._spec.raw_width)
        if raw.shape != expected and not (self._spec.input.rank == 1 and raw.shape == expected[1:]):
            raise ScorerError(f"the model gave scores of shape {raw.shape}; accepted: {expected}")
        return self._readout(raw.reshape(expected)[:given].astype(np.float32, copy=False))

    async def close(self) -> None:
        """Wait for what is being scored; what waits for a thread is cancelled."""
        self._threads.shutdown(wait=True, cancel_futures=True)


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
    _check_shape("window_samples", _rows(node.shape, spec), spec.input.batch, spec.window_samples)
    given = _rows(outputs[spec.output.name].shape, spec)
    if given:  # else the graph does not say, and what it gives is checked when it is first run
        key = "labels" if spec.output.width is None else "output.width"
        _check_shape(key, given, spec.input.batch, spec.raw_width)


def _rows(shape: _Shape, spec: ModelSpec) -> _Shape:
    """Return a shape with the batch that a graph of rank 1 leaves out."""
    return [1, *shape] if spec.input.rank == 1 and len(shape) == 1 else shape


def _check_shape(key: str, shape: _Shape, batch: int | None, size: int) -> None:
    fits = len(shape) == 2 and (not isinstance(shape[1], int) or shape[1] == size)
    if not fits or (isinstance(shape[0], int) and shape[0] != batch):
        raise ConfigurationError(key, f"[{batch or 'B'}, {size}]", f"the graph's shape, {shape}")


def fed(pcm: Pcm, as_input: ModelInput) -> NDArray[np.int16] | NDArray[np.float32]:
    """Turn int16[B, window_samples] into what the graph takes."""
    return pcm if as_input.dtype == "int16" else pcm.astype(np.float32) * np.float32(as_input.scale)


def filled_up(values: NDArray[T], size: int) -> NDArray[T]:
    """Add windows of zeros up to `size`, for a graph that takes one batch size; drop what they give."""
    if len(values) >= size:
        return values
    return np.concatenate([values, np.zeros((size - len(values), values.shape[1]), values.dtype)])


def _check_between(key: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigurationError(f"scorer.{key}", value, f"{least} to {most}")
