"""Real Tritons with tiny models, and what their scores must be."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import grpc
import numpy as np
import psutil
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as service

from infra.local.triton import TritonServer
from models.repository import write_repository
from processors.metrics import Metrics
from processors.score import OnnxScorer, Pcm, Scored, Scorer, ScorerSettings
from processors.triton.scorer import TritonScorer
from schemas.errors import ScorerError
from schemas.model import ModelSpec, read_spec
from tests.processors.tiny_model import WINDOW, write_model

MAX_BATCH = 32
WAIT_S = 30.0
SLOW = """

import time

_Quick = TritonPythonModel


class TritonPythonModel(_Quick):
    def execute(self, requests):
        time.sleep({seconds})
        return super().execute(requests)
"""


class Listening(Protocol):
    """A server, or what stands before one."""

    @property
    def url(self) -> str:
        """Where it listens, as `host:port`."""


class Rig:
    """A tiny model, its repository, and ONNX Runtime's word on what its scores are."""

    def __init__(self, directory: Path, graph: Any = None, **spec: Any) -> None:
        self.directory, self.repository = directory / "model", directory / "repository"
        write_model(self.directory, graph, **spec)
        self.write()
        self.onnx = OnnxScorer(self.directory, self.spec)

    @property
    def spec(self) -> ModelSpec:
        """What the model's directory says."""
        return read_spec(self.directory)

    @property
    def served(self) -> Path:
        """The model in the repository."""
        return self.repository / self.spec.name

    def write(self) -> None:
        """Write the repository."""
        write_repository(self.repository, [self.directory], {"backend": "python", "max_batch": MAX_BATCH})

    def slow_down(self, seconds: float) -> None:
        """Let every execution take so long."""
        with (self.served / self.spec.version / "model.py").open("a", encoding="utf-8") as file:
            file.write(SLOW.format(seconds=seconds))

    def settings(self, *servers: Listening, **more: Any) -> ScorerSettings:
        """Name servers as endpoints."""
        given = {"kind": "triton", "endpoints": tuple(server.url for server in servers), **more}
        return ScorerSettings(**given)

    @asynccontextmanager
    async def scorer(
        self, *servers: Listening, fallback: Scorer | None = None, **more: Any
    ) -> AsyncIterator[tuple[TritonScorer, Metrics]]:
        """Start a scorer of these servers."""
        metrics = Metrics()
        scorer = TritonScorer(self.spec, self.settings(*servers, **more), metrics, fallback)
        await scorer.start()
        try:
            yield scorer, metrics
        finally:
            await scorer.close()


def windows(count: int, seed: int = 0) -> Pcm:
    """Draw windows of noise, each of another loudness below half of full scale; int16[count, WINDOW]."""
    rng = np.random.default_rng(seed)
    loudest = rng.integers(1, 16_000, size=(count, 1))
    return rng.integers(-loudest, loudest + 1, size=(count, WINDOW)).astype(np.int16)


class Load:
    """Keeps batches in flight until told to stop, and holds every score against ONNX Runtime's."""

    def __init__(self, rig: Rig, scorer: TritonScorer, at_once: int = 8) -> None:
        self._rig, self._scorer = rig, scorer
        self.scored, self.identities = 0, set[str]()
        self._stopped = False
        self._workers = [asyncio.create_task(self._work(number)) for number in range(at_once)]

    async def more(self, batches: int) -> None:
        """Wait until so many more batches are scored."""
        wanted = self.scored + batches
        await until(lambda: self.scored >= wanted or any(worker.done() for worker in self._workers))
        for worker in self._workers:
            if worker.done():
                worker.result()

    async def stop(self) -> None:
        """Let the last batches be scored."""
        self._stopped = True
        await asyncio.wait_for(asyncio.gather(*self._workers), WAIT_S)

    def give_up(self) -> None:
        """Forget what is in flight, and what became of it."""
        for worker in self._workers:
            worker.cancel()
            worker.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        self._workers = []

    async def _work(self, seed: int) -> None:
        while not self._stopped:
            pcm = windows(1 + seed % MAX_BATCH, seed)
            scored = await self._scorer.score(pcm)
            assert scored.scores.tobytes() == self._rig.onnx.run(pcm).tobytes()
            self.identities.add(scored.identity)
            self.scored += 1
            seed += len(self._workers)


@asynccontextmanager
async def loaded(rig: Rig, scorer: TritonScorer, at_once: int = 8) -> AsyncIterator[Load]:
    """Keep a scorer busy."""
    load = Load(rig, scorer, at_once)
    yield load
    await load.stop()


async def until(reached: Callable[[], bool], within_s: float = WAIT_S) -> float:
    """Wait for something to become true; return how long that took, in seconds."""
    since_s = monotonic()
    while not reached():
        assert monotonic() - since_s < within_s, "it never came true"
        await asyncio.sleep(0.002)
    return monotonic() - since_s


def calls(metrics: Metrics, server: Listening, outcome: str = "ok") -> float:
    """Return how many calls to a server ended so."""
    labels = {"endpoint": server.url, "outcome": outcome}
    return metrics.registry.get_sample_value("earwitness_scorer_calls_total", labels) or 0.0


def is_ready(metrics: Metrics, server: Listening) -> bool:
    """Tell whether a server is in use."""
    labels = {"endpoint": server.url, "model": "tiny/1"}
    return metrics.registry.get_sample_value("earwitness_scorer_ready", labels) == 1


async def regions_of(server: Listening) -> set[str]:
    """Return the names of the shared memory that a server has mapped."""
    async with grpc.aio.insecure_channel(server.url) as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        return set((await stub.SystemSharedMemoryStatus(messages.SystemSharedMemoryStatusRequest())).regions)


def kill_stubs(server: TritonServer) -> None:
    """Kill the processes that a server's models run in, and leave the server alone."""
    children = psutil.Process(server.pid).children(recursive=True)
    for stub in [child for child in children if "stub" in child.name()]:
        stub.kill()


async def failure_of(scorer: TritonScorer, pcm: Pcm) -> str | Scored:
    """Return what a scorer says against a batch, or its scores."""
    try:
        return await scorer.score(pcm)
    except ScorerError as exc:
        return str(exc)
