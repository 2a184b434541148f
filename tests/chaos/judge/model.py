"""A model's directory and the rules -> scores of windows, straight from ONNX Runtime."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tests.chaos.evidence import Rules
from tests.chaos.judge.wire import Pcm

Scores = NDArray[np.float32]

BATCH = 64


@dataclass(frozen=True, slots=True)
class Decides:
    """What the rules and the model's spec say together; lengths in samples at the model's rate."""

    name: str
    version: str
    rate_hz: int
    window: int
    hop: int
    labels: tuple[str, ...]
    thresholds: Mapping[str, float]
    m_of_n: Mapping[str, tuple[int, int]]
    """Of every label."""
    rules: Rules

    @property
    def n(self) -> int:
        """How many windows decide anything."""
        return max(n for _, n in self.m_of_n.values())

    @classmethod
    def of(cls, directory: Path, rules: Rules) -> "Decides":
        """Read a model's spec; what the rules say besides wins over it."""
        spec, rate_hz = _spec(directory), _spec(directory)["sample_rate_hz"]
        m, n = rules.m or spec["m"], rules.n or spec["n"]
        own = {} if rules.m or rules.n else spec.get("m_of_n", {})
        return cls(
            name=spec["name"],
            version=spec["version"],
            rate_hz=rate_hz,
            window=spec["window_samples"],
            hop=spec["hop_samples"] if rules.hop_s is None else round(rules.hop_s * rate_hz),
            labels=tuple(spec["labels"]),
            thresholds={**spec["thresholds"], **(rules.thresholds or {})},
            m_of_n={label: tuple(own.get(label, (m, n))) for label in spec["labels"]},
            rules=rules,
        )


class Model:
    """Scores windows as the spec says how the graph is fed."""

    def __init__(self, directory: Path) -> None:
        spec = _spec(directory)
        self._input, self._output = spec.get("input", {}), spec.get("output", {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def score(self, windows: Pcm) -> Scores:
        """Return float32[K, labels] for int16[K, window]."""
        size = self._input.get("batch") or BATCH
        return np.concatenate([self._score(windows[at : at + size]) for at in range(0, len(windows), size)])

    def _score(self, windows: Pcm) -> Scores:
        fed: NDArray[Any] = windows
        if self._input.get("dtype", "int16") == "float32":
            fed = windows.astype(np.float32) * np.float32(self._input.get("scale", 1.0))
        empty = (self._input.get("batch") or len(fed)) - len(fed)
        fed = np.pad(fed, ((0, empty), (0, 0)))
        name, wanted = self._input.get("name", "audio"), self._output.get("name", "scores")
        (raw,) = self._session.run([wanted], {name: fed})
        return _activated(raw[: len(windows)], self._output.get("activation", "none"))


def _activated(raw: Scores, activation: str) -> Scores:
    if activation == "sigmoid":
        with np.errstate(over="ignore"):
            return np.float32(1) / (np.float32(1) + np.exp(-raw))
    if activation == "softmax":
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        shares: Scores = powers / powers.sum(axis=1, keepdims=True)
        return shares
    return raw


def _spec(directory: Path) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((directory / "spec.json").read_text("utf-8"))
    return spec
