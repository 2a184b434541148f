"""Graphs as strangers make them, served by a real Triton: scores are those in process, to the bit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earwitness.import_checks import signals
from earwitness.importing import Declared, import_model
from infra.local.triton import TritonServer, start_triton
from infra.local.triton_installation import TritonInstallation
from models.repository import write_repository
from processors.metrics import Metrics
from processors.score import OnnxScorer, ScorerSettings
from processors.triton.scorer import TritonScorer
from schemas.model import read_spec
from tests.models.foreign_graphs import (
    COLUMNS,
    RATE_HZ,
    WINDOW,
    bands,
    logits,
    quantised_by_company,
    several_outputs,
)

LABELS = tuple(f"class {at}" for at in range(COLUMNS))
MANY = 500
ACTIVE = {"activation": "sigmoid", "threshold": 0.9}
Make = Callable[[Path], Path]
CASES: dict[str, tuple[Make, dict[str, Any]]] = {
    "free": (bands, {}),
    "fixed-one": (partial(bands, shape=(1, WINDOW)), {}),
    "fixed-four": (partial(bands, shape=(4, WINDOW)), {"report": ("class 3", "class 1")}),
    "no-batch": (partial(bands, shape=(WINDOW,)), {}),
    "whole-numbers": (partial(bands, kind="int16"), ACTIVE),
    "several": (several_outputs, {"output": "other_scores"}),
    "several-fixed": (partial(several_outputs, shape=(1, WINDOW)), {"output": "scores"}),
    "logits": (logits, {"activation": "softmax"}),
    "company": (quantised_by_company, {"batch": 1}),
    "many": (partial(bands, columns=MANY), {"report": ("class 499", "class 7")}),
}


@dataclass(frozen=True, slots=True)
class Served:
    """A Triton with all of them, and where each is."""

    server: TritonServer
    models: dict[str, Path]


@pytest.fixture(scope="module")
def served(
    triton_installation: TritonInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    made, out = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("out")
    models = {name: imported(made, name) for name in CASES}
    write_repository(out, list(models.values()), {"backend": "python"})
    with start_triton(out, sorted(models)) as server:
        yield Served(server, models)


def imported(made: Path, name: str) -> Path:
    make, more = CASES[name]
    labels = made / f"{name}.txt"
    labels.write_text("\n".join(f"class {at}" for at in range(MANY)) if name == "many" else "\n".join(LABELS))
    declared = Declared(labels=labels, licence="MIT", name=name, sample_rate_hz=RATE_HZ, **more)
    return import_model(make(made / f"{name}.onnx"), declared, made / "catalogue").directory


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shared_memory", ["off", "system"])
async def test_scores_are_those_in_process(served: Served, name: str, shared_memory: Any) -> None:
    directory, pcm = served.models[name], signals(9, WINDOW, RATE_HZ)
    spec = read_spec(directory)
    settings = ScorerSettings(kind="triton", endpoints=(served.server.url,), shared_memory=shared_memory)
    scorer = TritonScorer(spec, settings, Metrics())
    await scorer.start()
    found = (await scorer.score(pcm)).scores
    await scorer.close()
    wanted = OnnxScorer(directory, spec).run(pcm)
    assert wanted.shape == (9, len(spec.labels))
    assert np.ptp(wanted) > 0.1
    assert found.tobytes() == wanted.tobytes()
