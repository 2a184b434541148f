"""Tritons that serve a model for tests of the whole program."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.local.triton import TritonServer, start_triton
from models.repository import write_repository
from schemas.model import read_spec


@contextmanager
def tritons(directory: Path, model: Path, count: int) -> Iterator[list[TritonServer]]:
    """Start servers that all serve one model directory; the repository is left in `directory`."""
    write_repository(directory, [model], {"backend": "python"})
    with ExitStack() as started:
        yield [started.enter_context(start_triton(directory, [read_spec(model).name])) for _ in range(count)]


def scored_by(servers: list[TritonServer], **more: object) -> dict[str, object]:
    """Return the settings of a worker that asks these servers."""
    endpoints = ",".join(server.url for server in servers)
    scorer = {f"scorer__{key}": value for key, value in more.items()}
    return {"scorer__kind": "triton", "scorer__endpoints": endpoints, **scorer}
