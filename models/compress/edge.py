"""model.onnx -> model.ort and required_operators.config: what ONNX Runtime Mobile loads and is built with.

The ORT format holds the graph as it is after the optimisations that suit any processor; those for the
processor at hand (NCHWc) are left out. Constants that are stored as float16 stay so: folding their Casts
would double the file. The config lists the operators and types that a reduced build of ONNX Runtime needs.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from models.compress.entry import Entry, written_whole
from models.session import LARGEST_BATCH, noise, open_session, score
from schemas.errors import ConfigurationError
from schemas.model import SPEC_FILE

ORT_FILE, CONFIG_FILE = "model.ort", "required_operators.config"
LEFT_OUT = "NchwcTransformer", "ConstantFolding"
TOLERANCE = 1e-5
"""Largest difference of a score between model.onnx and model.ort: kernels may add in another order."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written for the edge."""

    entry: Entry
    """The spec, with the ORT format as its graph."""
    config: Path
    largest_difference: float
    """Of a score of noise between the ORT format and model.onnx, batches of 1 and 64."""


def export_ort(entry: Entry, directory: Path) -> Exported:
    """Write the ORT format, the operators that it needs, and the spec beside it.

    Raises:
        ConfigurationError: the file gives other scores than model.onnx.

    """
    from onnxruntime.tools.ort_format_model import create_config_from_models

    with written_whole(directory) as beside:
        ort = beside / ORT_FILE
        _convert(entry.file, ort)
        logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
        config = beside / CONFIG_FILE
        create_config_from_models([ort], config, enable_type_reduction=True)
        # It names the file by where it was made.
        config.write_text(config.read_text("utf-8").replace(str(ort), ORT_FILE), "utf-8")
        (beside / SPEC_FILE).write_bytes((entry.directory / SPEC_FILE).read_bytes())
        difference = _difference(entry, ort)
        if not difference <= TOLERANCE:
            accepted = f"scores within {TOLERANCE} of model.onnx; off by {difference:.2g}"
            raise ConfigurationError("model", str(directory / ORT_FILE), accepted)
    return Exported(Entry(directory, entry.spec, ORT_FILE), directory / CONFIG_FILE, difference)


def _convert(model: Path, ort: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(ort)
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(LEFT_OUT)
    )


def _difference(entry: Entry, ort: Path) -> float:
    windows = noise(entry.spec.window_samples)
    before, after = open_session(entry.file), open_session(ort)
    return max(
        float(np.abs(score(before, part, entry.spec) - score(after, part, entry.spec)).max())
        for part in (windows[:1], windows[:LARGEST_BATCH])
    )
