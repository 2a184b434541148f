"""Models of the catalogue -> Triton model repository, and how to start Triton on it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any

from models.catalogue import find, names
from models.repository import CONFIG_FILE, Entry, write_repository
from models.triton_config import plan_command, read_serving
from models.triton_serving import Serving
from processors.score import OnnxScorer
from schemas.errors import ConfigurationError
from schemas.model import read_spec

IMAGE = "nvcr.io/nvidia/tritonserver:25.03-py3"
"""As docker-compose.yml has it."""
OTHER_PORTS = " --grpc-port 8011 --http-port 8010 --metrics-port 8012"
"""Of a second server, beside the image's."""


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
    """Return the shell commands that bring servers up on all of a repository, after what was written.

    A server of this machine has the python backend only, NVIDIA's image has the others: where a repository
    is served by both, each is a command of its own, and they listen on different ports.
    """
    servings = _servings(out)
    local = [name for name, serving in servings.items() if serving.backend == "python"]
    native = {name: serving for name, serving in servings.items() if serving.backend != "python"}
    plans = [
        f"{_docker(out, [entry.serving])} {' '.join(plan_command(entry.spec, entry.serving, _inside(entry)))}"
        for entry in entries
        if entry.serving.cuda_graphs
    ]
    servers = [_docker_server(out, native)] if native else []
    if local:
        models, ports = " ".join(f"--model {name}" for name in local), OTHER_PORTS if native else ""
        servers.append(f"python -m infra.local triton --repository {quote(str(out))} {models}{ports}")
    return [*plans, *servers]


def _servings(out: Path) -> dict[str, Serving]:
    """Read how each model is served, by name; those that are not of our writing are their owner's."""
    found = {}
    for file in sorted(out.glob(f"*/{CONFIG_FILE}")):
        with suppress(ConfigurationError):
            found[file.parent.name] = read_serving(file.read_text("utf-8", errors="replace"), str(file))
    return found


def _docker_server(out: Path, native: Mapping[str, Serving]) -> str:
    loaded = " ".join(f"--load-model={name}" for name in native)
    served = "tritonserver --model-repository=/models --model-control-mode=explicit"
    return f"{_docker(out, list(native.values()), serve=True)} {served} {loaded}"


def _docker(out: Path, servings: Sequence[Serving], *, serve: bool = False) -> str:
    gpus = ["--gpus all"] if any(serving.on_gpu for serving in servings) else []
    ports = ["-p 127.0.0.1:8000-8002:8000-8002 --shm-size=256m"] if serve else []
    caches = sorted({serving.engine_cache for serving in servings if serving.engine_cache}) if serve else []
    engines = [f"-v earwitness-engines:{quote(cache)}" for cache in caches]
    repository = f"-v {quote(str(out.resolve()))}:/models{':ro' if serve else ''}"
    return " ".join(["docker run --rm", *gpus, *ports, repository, *engines, IMAGE])


def _inside(entry: Entry) -> str:
    return f"/models/{entry.spec.reference}"
