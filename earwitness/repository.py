"""Models of the catalogue -> Triton model repository, and how to start Triton on it."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from models.catalogue import find, names
from models.repository import Entry, write_repository
from models.triton_config import plan_command
from processors.score import OnnxScorer
from schemas.model import read_spec

IMAGE = "nvcr.io/nvidia/tritonserver:25.03-py3"
"""As docker-compose.yml has it."""


def write_models(out: Path, models: Sequence[str], given: Mapping[str, Any]) -> list[Entry]:
    """Write models, by default all of the catalogue, once each has scored a window here.

    Raises:
        ConfigurationError: as `write_repository`, or a graph is not what its spec says.

    """
    sources = [find(name) for name in models or names()]
    for source in sources:
        asyncio.run(_check_graph(source))
    return write_repository(out, sources, given)


async def _check_graph(directory: Path) -> None:
    scorer = OnnxScorer(directory, read_spec(directory))
    await scorer.close()


def starting(out: Path, entries: Sequence[Entry]) -> list[str]:
    """Return the shell commands that bring a server up on what was written."""
    names = sorted({entry.spec.name for entry in entries})
    if all(entry.serving.backend == "python" for entry in entries):
        models = " ".join(f"--model {name}" for name in names)
        return [f"python -m infra.local triton --repository {quote(str(out))} {models}"]
    plans = [
        f"{_docker(out, entry)} {' '.join(plan_command(entry.spec, entry.serving, _inside(entry)))}"
        for entry in entries
        if entry.serving.cuda_graphs and entry.added
    ]
    loaded = " ".join(f"--load-model={name}" for name in names)
    served = "tritonserver --model-repository=/models --model-control-mode=explicit"
    return [*plans, f"{_docker(out, entries[0], serve=True)} {served} {loaded}"]


def _docker(out: Path, entry: Entry, *, serve: bool = False) -> str:
    gpus = ["--gpus all"] if entry.serving.on_gpu else []
    ports = ["-p 127.0.0.1:8000-8002:8000-8002 --shm-size=256m"] if serve else []
    cache = entry.serving.engine_cache
    engines = [f"-v earwitness-engines:{quote(cache)}"] if cache and serve else []
    repository = f"-v {quote(str(out.resolve()))}:/models{':ro' if serve else ''}"
    return " ".join(["docker run --rm", *gpus, *ports, repository, *engines, IMAGE])


def _inside(entry: Entry) -> str:
    return f"/models/{entry.spec.name}/{entry.spec.version}"
