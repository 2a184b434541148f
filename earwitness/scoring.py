"""Settings -> what scores a model's windows: ONNX Runtime in process, or NVIDIA Tritons."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from earwitness.settings import Settings
from models.catalogue import find
from processors.metrics import Metrics
from processors.score import OnnxScorer, Scorer
from processors.scorers import OpenScorer
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec, read_spec

if TYPE_CHECKING:
    from processors.triton.scorer import TritonScorer

logger = logging.getLogger(__name__)


def open_scorer(settings: Settings, metrics: Metrics) -> OpenScorer:
    """Return what opens the scorer of a model; whoever calls it closes the scorer.

    Raises:
        ConfigurationError: the settings ask for what is not installed; what is returned raises it where the
            model cannot be found or used, an endpoint serves another one, or none answers.

    """
    if settings.scorer.kind == "onnx":
        if settings.scorer.endpoints:
            logger.info("scorer.kind is onnx: %s are not asked", ", ".join(settings.scorer.endpoints))

        async def open_onnx(spec: ModelSpec) -> Scorer:
            return await asyncio.to_thread(in_process, settings, spec)

        return open_onnx
    make = _triton()

    async def open_triton(spec: ModelSpec) -> Scorer:
        fallback = None
        if settings.scorer.fallback == "onnx":
            fallback = await asyncio.to_thread(in_process, settings, spec)
        scorer = make(spec, settings.scorer, metrics, fallback)
        try:
            await scorer.start()
        except BaseException:
            await scorer.close()
            raise
        return scorer

    return open_triton


def in_process(settings: Settings, spec: ModelSpec) -> OnnxScorer:
    """Open a model with ONNX Runtime.

    Raises:
        ConfigurationError: it is not there, or is another than the spec says.

    """
    return OnnxScorer(directory_of(settings, spec), spec, settings.scorer)


def directory_of(settings: Settings, spec: ModelSpec) -> Path:
    """Return where a model is: the one that the settings name, or by its name and version in a catalogue.

    Raises:
        ConfigurationError: it is not there, or is another than the spec says.

    """
    named = settings.model_directory
    if read_spec(named).digest == spec.digest:
        return named
    directory = find(spec.reference, settings.model.catalogue)
    digest = read_spec(directory).digest
    if digest != spec.digest:
        accepted = f"the model whose bytes have SHA-256 {spec.digest}, as was rolled out"
        raise ConfigurationError(f"model {spec.reference} in {directory}", digest, accepted)
    return directory


def _triton() -> "type[TritonScorer]":
    try:
        from processors.triton.scorer import TritonScorer
    except ImportError as exc:
        accepted = f"onnx; or install the extra: `uv sync --extra triton` ({exc})"
        raise ConfigurationError("scorer.kind", "triton", accepted) from exc
    return TritonScorer
