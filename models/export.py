"""network -> model.onnx and spec.json: the directory that a processor, or anybody, can run.

The file is checked before anything is promised: against torch, for the company that a window keeps in
its batch, and for silence.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.bank import HOP_SAMPLES, WINDOW_SAMPLES
from models.features import RATE_HZ
from models.network import Model
from models.session import check_company, check_silence, noise, open_session, score
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, SPEC_FILE, ModelInput, ModelOutput, ModelSpec, MOfN, file_digest

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference between torch's scores and the exported model's."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a label counts: its threshold in a window, and m of n windows, some labels' own."""

    thresholds: dict[str, float]
    """Of every label, in the order of the model's outputs."""
    m: int = 2
    n: int = 3
    own: dict[str, MOfN] | None = None


def export(model: Model, rule: Rule, licence: str, directory: Path) -> ModelSpec:
    """Write a model directory and return its spec; the directory's last two names are name and version.

    Raises:
        ConfigurationError: the exported model disagrees with torch, gives a window other scores in
            another batch, or hears something in silence.

    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / MODEL_FILE
    write_onnx(model.eval(), path)
    _check(model, rule, path)
    return write_spec(rule, licence, directory)


def write_onnx(model: nn.Module, path: Path) -> None:
    """Write the graph of a model that takes `audio int16[batch, 16000]` and gives `scores`."""
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
    windows = noise(WINDOW_SAMPLES)
    with torch.inference_mode():
        expected = model(torch.from_numpy(windows)).numpy()
    difference = float(np.abs(score(open_session(path), windows) - expected).max())
    if not difference <= TOLERANCE:
        raise ConfigurationError("model", str(path), f"scores of torch; off by {difference:.2g}")
    check_company(path)
    check_silence(path, list(rule.thresholds.values()))


def write_spec(rule: Rule, licence: str, directory: Path) -> ModelSpec:
    """Write and return the spec of a graph that `write_onnx` wrote."""
    named = directory.resolve()
    spec = ModelSpec(
        name=named.parent.name,
        version=named.name,
        sample_rate_hz=RATE_HZ,
        window_samples=WINDOW_SAMPLES,
        hop_samples=HOP_SAMPLES,
        labels=tuple(rule.thresholds),
        thresholds=rule.thresholds,
        m=rule.m,
        n=rule.n,
        m_of_n=rule.own,
        licence=licence,
        digest=file_digest(directory / MODEL_FILE),
        input=ModelInput(name="audio", dtype="int16"),
        output=ModelOutput(name="scores", activation="none"),
    )
    (directory / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return spec
