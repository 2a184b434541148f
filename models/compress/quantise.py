"""model.onnx + recordings -> model.onnx with 8-bit weights and activations, after training.

Static, QDQ, each output channel with a scale of its own, ranges as observed on windows of real recordings.
Only the network's convolutions and the ReLU behind them are quantised; its head, which
gives few numbers that matter, stays float. The front end stays float: eight bits
cannot hold the range of power, and a model so quantised recognises next to nothing. A convolution with few
input channels stays float too: ONNX Runtime's integer kernel took 0.10 ms a window for the first one of
the default model, its float kernel 0.014.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.compress.entry import NETWORK, Entry, network_convolutions, write_entry
from models.compress.store import weights_of
from models.dataset import PCM, cut_windows, read_labels, read_pcm
from schemas.model import ModelSpec

CALIBRATION_WINDOWS, CALIBRATION_BATCH = 384, 16
CALIBRATION_RECORDINGS = 96
Ranges = Mapping[str, float]
"""The largest value of a tensor that is never negative, by its name."""

FEWEST_CHANNELS = 4
"""Input channels from which a convolution is worth quantising."""


def quantise(before: Entry, calibration: PCM, directory: Path, *, reduce_range: bool = True) -> Entry:
    """Write a model directory with the quantised graph, calibrated on windows `int16[W, window_samples]`.

    With `reduce_range` weights have 7 bits: processors without VNNI add pairs of products in 16 bits, which
    8 bits of both can overflow.

    Raises:
        ConfigurationError: the quantised graph does not keep what `write_entry` checks.

    """
    graph = quantised_graph(before.graph(), before.spec, calibration, reduce_range)
    return write_entry(graph, before, directory)


def quantised_graph(
    graph: onnx.ModelProto,
    spec: ModelSpec,
    calibration: PCM,
    reduce_range: bool,
    ranges: Ranges | None = None,
) -> onnx.ModelProto:
    """Quantise a graph; `ranges` replaces what was observed where it is known."""
    known = {
        name: [{"rmin": np.array(0.0, np.float32), "rmax": np.array(largest, np.float32)}]
        for name, largest in (ranges or {}).items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        given, prepared, made = (Path(scratch) / f"{name}.onnx" for name in ("given", "prepared", "made"))
        onnx.save(graph, given)
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True, skip_optimization=True)
        quantize_static(
            str(prepared),
            str(made),
            _Windows(calibration, spec),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=reduce_range,
            op_types_to_quantize=["Conv", "Relu"],
            nodes_to_quantize=quantised_nodes(graph),
            extra_options={"TensorQuantOverrides": known},
        )
        return onnx.load(made)


def quantised_nodes(graph: onnx.ModelProto) -> list[str]:
    """Name the network's convolutions with enough input channels but the head, and the ReLU behind each."""
    *body, _ = network_convolutions(graph)
    names = [node.name for node in body if weights_of(graph, node.input[1]).shape[1] >= FEWEST_CHANNELS]
    made = {output for node in graph.graph.node if node.name in names for output in node.output}
    return names + [
        node.name
        for node in graph.graph.node
        if node.op_type == "Relu" and node.name.startswith(NETWORK) and node.input[0] in made
    ]


def calibration_windows(data: Path, spec: ModelSpec, held_out: int | None = None, seed: int = 0) -> PCM:
    """Draw windows, `int16[W, window_samples]`, from recordings that are not of the held-out fold.

    Raises:
        ConfigurationError: the folder, or a recording, cannot be read.

    """
    rng = np.random.default_rng(seed)
    rows = [row for row in read_labels(data) if held_out is None or row.fold != held_out]
    drawn = [rows[i] for i in rng.permutation(len(rows))[:CALIBRATION_RECORDINGS]]
    size, hop = spec.window_samples, spec.hop_samples
    windows = [cut_windows(read_pcm(row.file, spec.sample_rate_hz), size, hop) for row in drawn]
    every = np.concatenate(windows)
    return np.asarray(every[rng.permutation(len(every))[:CALIBRATION_WINDOWS]])


class _Windows(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Windows in batches, as ONNX Runtime asks for them."""

    def __init__(self, windows: PCM, spec: ModelSpec) -> None:
        self._batches: Iterator[PCM] = iter(
            [windows[i : i + CALIBRATION_BATCH] for i in range(0, len(windows), CALIBRATION_BATCH)]
        )
        self._input = spec.input

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, or None after the last."""
        windows = next(self._batches, None)
        if windows is None:
            return None
        if self._input.dtype == "float32":
            return {self._input.name: windows.astype(np.float32) * np.float32(self._input.scale)}
        return {self._input.name: windows}
