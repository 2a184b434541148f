"""A graph that somebody else made -> Graph: how it is fed, and which of its outputs has the scores.

What a graph does not say (labels, sample rate, what its outputs mean) is asked of whoever brings it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from schemas.errors import ConfigurationError
from schemas.model import MAX_BATCH_SAMPLES, MAX_WINDOW_SAMPLES, ModelInput

MAX_MODEL_BYTES = 1 << 30
MAX_OUTPUTS = 64
PCM_SCALE = 1 / 32_768
"""int16 PCM to [-1, 1), which a graph with float input is taken to expect."""
Shape = tuple[int | None, ...]

_DTYPES = {"tensor(int16)": "int16", "tensor(float)": "float32"}
_STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_QUIET = 3


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output; a dimension that is free is None."""

    name: str
    kind: str
    """As ONNX Runtime calls it: `tensor(float)`."""
    shape: Shape

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.kind}[{sizes}]"


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph that ONNX Runtime has loaded."""

    session: onnxruntime.InferenceSession
    input: Tensor
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Feeding:
    """How windows go in."""

    input: ModelInput
    window_samples: int

    def silence(self) -> NDArray[np.generic]:
        """Return as much silence as the graph takes at once; two windows, where it takes any number."""
        shape = (self.input.batch or 2, self.window_samples)
        return np.zeros(shape[1:] if self.input.rank == 1 else shape, self.input.dtype)


def check_size(path: Path) -> None:
    """Refuse what is no file, or larger than a model of this kind may be.

    Raises:
        ConfigurationError: as above.

    """
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as exc:
        raise ConfigurationError("FILE", str(path), f"a file that can be read: {exc.strerror}") from exc
    if size is None or not 0 < size <= MAX_MODEL_BYTES:
        found = str(path) if size is None else f"{path}, {size} bytes"
        raise ConfigurationError("FILE", found, f"an .onnx file of 1 to {MAX_MODEL_BYTES} bytes")


def read_graph(path: Path, called: str) -> Graph:
    """Load a graph; `called` is what messages call it.

    Raises:
        ConfigurationError: it is none, its weights are in other files, ONNX Runtime cannot load it, or it
            has another number of inputs than one.

    """
    content = path.read_bytes()
    domains = _domains_of(content, called)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:  # from its bytes: whatever it names beside itself is not there
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # ONNX Runtime raises its own classes, without a common one of theirs
        odd = f" It uses operators of {', '.join(domains)}." if domains else ""
        accepted = (
            f"a graph that ONNX Runtime {onnxruntime.__version__} loads as it comes.{odd} {_brief(exc)}"
        )
        raise ConfigurationError("FILE", called, accepted) from exc
    inputs, outputs = _tensors(session.get_inputs()), _tensors(session.get_outputs())
    if len(inputs) != 1 or len(outputs) > MAX_OUTPUTS:
        found = f"{called}, with inputs {_listed(inputs)} and {len(outputs)} outputs"
        raise ConfigurationError("FILE", found, f"one input, the sound, and at most {MAX_OUTPUTS} outputs")
    return Graph(session, inputs[0], outputs)


def feeding(
    graph: Graph, window_samples: int | None = None, batch: int | None = None, scale: float | None = None
) -> Feeding:
    """Tell how a graph is fed; what is given fills in what the graph leaves open.

    Raises:
        ConfigurationError: the graph takes something else than windows, or what is given contradicts it.

    """
    tensor = graph.input
    if tensor.kind not in _DTYPES or len(tensor.shape) not in (1, 2):
        accepted = "int16 or float32 (tensor(float)), as [samples], [1, samples] or [B, samples]"
        raise ConfigurationError("the graph's input", str(tensor), accepted)
    window = _settled("--window-samples", tensor.shape[-1], window_samples, MAX_WINDOW_SAMPLES)
    if window is None:
        accepted = f"the samples of a window: {tensor} takes any number of them"
        raise ConfigurationError("--window-samples", None, accepted)
    rank = 1 if len(tensor.shape) == 1 else None
    own = 1 if rank == 1 else tensor.shape[0]
    rows = _settled("--batch", own, batch, max(1, min(4096, MAX_BATCH_SAMPLES // window)))
    dtype = "int16" if _DTYPES[tensor.kind] == "int16" else "float32"
    if dtype == "int16" and scale is not None:
        raise ConfigurationError("--scale", scale, f"nothing: {tensor} takes PCM as it is")
    if scale is not None and not 0 < scale <= 1e30:
        raise ConfigurationError("--scale", scale, f"more than 0; without it {PCM_SCALE}, for -1 to 1")
    factor = 1.0 if dtype == "int16" else PCM_SCALE if scale is None else scale
    return Feeding(ModelInput(name=tensor.name, dtype=dtype, scale=factor, batch=rows, rank=rank), window)


def output_of(graph: Graph, fed: Feeding, labels: int, named: str | None = None) -> str:
    """Name the output with a column for every label: the one that was named, or the only one.

    Raises:
        ConfigurationError: the graph does not run, or none or several could be meant.

    """
    found = {tensor.name: shape for tensor, shape in _given(graph, fed)}
    if named is not None and named not in found:
        raise ConfigurationError("--output", named, f"an output of the graph with scores: {_shapes(found)}")
    fitting = [name for name, shape in found.items() if shape[-1:] == (labels,)]
    if not fitting or (named is not None and named not in fitting):
        there = _shapes(found if named is None else {named: found[named]})
        raise ConfigurationError("--labels", f"{labels} labels", f"as many as an output has columns: {there}")
    if named is None and len(fitting) > 1:
        accepted = f"one of the outputs with {labels} columns: {', '.join(fitting)}"
        raise ConfigurationError("--output", None, accepted)
    chosen = named or fitting[0]
    rows = fed.input.batch or 2
    if found[chosen] not in [(rows, labels), *([(labels,)] if fed.input.rank == 1 else [])]:
        accepted = f"[{rows}, {labels}] for {rows} windows: one row of scores for each"
        raise ConfigurationError(f"shape of output {chosen}", list(found[chosen]), accepted)
    return chosen


def _given(graph: Graph, fed: Feeding) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Run the graph on silence, and yield its float32 outputs with the shapes that they really have."""
    floats = [tensor for tensor in graph.outputs if tensor.kind == "tensor(float)"]
    if not floats:
        raise ConfigurationError("the graph's outputs", _listed(graph.outputs), "one of float32 with scores")
    names, silence = [tensor.name for tensor in floats], fed.silence()
    try:
        values = graph.session.run(names, {graph.input.name: silence})
    except Exception as exc:  # as above
        alone = "" if fed.input.batch else ", or --batch 1 where it takes one window at a time"
        accepted = f"a graph that runs on silence of shape {list(silence.shape)}{alone}: {_brief(exc)}"
        raise ConfigurationError("FILE", str(graph.input), accepted) from exc
    yield from ((tensor, np.shape(value)) for tensor, value in zip(floats, values, strict=True))


def _settled(key: str, own: int | None, given: int | None, most: int) -> int | None:
    """Return what the graph says, or what was given where it says nothing."""
    if own is not None and given is not None and own != given:
        raise ConfigurationError(key, given, f"{own}, which is all that the graph takes; or nothing")
    value = given if own is None else own
    if value is not None and not 1 <= value <= most:
        raise ConfigurationError(key, value, f"1 to {most}")
    return value


def _domains_of(content: bytes, called: str) -> list[str]:
    """Name the domains of operators that are not ONNX's own, once all weights are known to be in the file."""
    try:
        import onnx
    except ImportError as exc:
        raise ConfigurationError("the library onnx", "not installed", "`uv sync --extra models`") from exc
    try:
        model = onnx.load_model_from_string(content)
    except Exception as exc:  # protobuf's own class, which is not part of any promise
        raise ConfigurationError("FILE", called, f"an ONNX graph: {_brief(exc)}") from exc
    outside = {
        _place(tensor) for tensor in _weights(model) if onnx.external_data_helper.uses_external_data(tensor)
    }
    if outside:
        accepted = f"one file that has all weights: its digest covers them; not also {sorted(outside)[:4]}"
        raise ConfigurationError("FILE", called, accepted)
    return sorted({opset.domain for opset in model.opset_import} - _STANDARD)


def _place(tensor: Any) -> str:
    return next((str(entry.value) for entry in tensor.external_data if entry.key == "location"), "?")


def _weights(model: Any) -> Iterator[Any]:
    yield from _tensors_of(model.graph)
    for function in model.functions:
        yield from _tensors_in(function.node)


def _tensors_of(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from (part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices))
    yield from _tensors_in(graph.node)


def _tensors_in(nodes: Iterable[Any]) -> Iterator[Any]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors_of(graph)


def _tensors(nodes: Iterable[Any]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(node.name, node.type, tuple(s if isinstance(s, int) else None for s in node.shape))
        for node in nodes
    )


def _listed(tensors: Iterable[Tensor]) -> str:
    return ", ".join(map(str, tensors)) or "none"


def _shapes(found: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in found.items())


def _brief(exc: Exception) -> str:
    return " ".join(str(exc).split())[:400]
