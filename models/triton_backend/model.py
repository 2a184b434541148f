"""Run a version's model.onnx with ONNX Runtime on the CPU, for Triton's python backend.

`earwitness model repository` copies this file into every version's directory, beside `model.onnx` and
`spec.json`. It needs ONNX Runtime and numpy, and nothing of Earwitness.

    requests of one execution ─ gathered to rows ─ one run ─ split again ─ one response for each

Scores are the graph's own: `scale` and `activation` of the spec are left to who asks.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]
from numpy.typing import NDArray

Rows = NDArray[Any]

_QUIET = 3


class ScoringError(Exception):
    """ONNX Runtime could not score these rows, or gave something else than scores."""


class TritonPythonModel:
    """One instance of one version: a process of its own, with one session that uses one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model, once it is known to be the one that the spec names.

        Raises:
            TritonModelException: it is another one, or ONNX Runtime cannot load it.

        """
        directory = Path(args["model_repository"]) / args["model_version"]
        spec = json.loads((directory / "spec.json").read_text("utf-8"))
        model = (directory / "model.onnx").read_bytes()
        digest = hashlib.sha256(model).hexdigest()
        if digest != spec["digest"]:
            raise pb_utils.TritonModelException(
                f"{directory}/model.onnx has SHA-256 {digest}; its spec.json names {spec['digest']}"
            )
        self._input, self._output = spec["input"]["name"], spec["output"]["name"]
        self._batch, self._rank_1 = spec["input"]["batch"], spec["input"].get("rank") == 1
        self._width = spec["output"].get("width") or len(spec["labels"])
        self._session = _session(model, str(directory))
        pb_utils.Logger.log_info(
            f"{spec['name']} {spec['version']}, SHA-256 {digest}: ONNX Runtime {onnxruntime.__version__}, CPU"
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return a response for each request, in order; all of them are scored in one run."""
        asked = [pb_utils.get_input_tensor_by_name(request, self._input).as_numpy() for request in requests]
        try:
            scores = self._score(asked[0] if len(asked) == 1 else np.concatenate(asked))
        except (ScoringError, ValueError) as exc:
            if len(asked) == 1:
                return [_failed(exc)]
            return [self._alone(rows) for rows in asked]  # whose fault it is shows, and the others are scored
        ends = np.cumsum([len(rows) for rows in asked])[:-1]
        return [self._scored(part) for part in np.split(scores, ends)]

    def _alone(self, rows: Rows) -> Any:
        try:
            return self._scored(self._score(rows))
        except ScoringError as exc:
            return _failed(exc)

    def _score(self, rows: Rows) -> Rows:
        """Return float32[B, width] for [B, window_samples].

        Raises:
            ScoringError: as its name says.

        """
        size = self._batch or max(len(rows), 1)
        return np.concatenate([self._run(rows[at : at + size], size) for at in range(0, len(rows), size)])

    def _run(self, rows: Rows, size: int) -> Rows:
        given = len(rows)
        if given < size:  # the graph takes one batch size only: fill up, and drop what that gives
            rows = np.concatenate([rows, np.zeros((size - given, rows.shape[1]), rows.dtype)])
        try:
            (scores,) = self._session.run([self._output], {self._input: rows[0] if self._rank_1 else rows})
        except Exception as exc:  # ONNX Runtime raises its own classes, without a common one of theirs
            raise ScoringError(f"onnxruntime: {exc}") from exc
        expected = (size, self._width)
        if scores.shape != expected and not (self._rank_1 and scores.shape == expected[1:]):
            raise ScoringError(f"the model gave {scores.shape}; accepted: {expected}")
        return scores.reshape(expected)[:given].astype(np.float32, copy=False)  # type: ignore[no-any-return]

    def _scored(self, scores: Rows) -> Any:
        return pb_utils.InferenceResponse([pb_utils.Tensor(self._output, scores)])


def _session(model: bytes, directory: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # as above
        raise pb_utils.TritonModelException(f"{directory}/model.onnx: {exc}") from exc


def _failed(exc: Exception) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(exc), pb_utils.TritonError.INVALID_ARG))
