"""Windows through a TritonScorer, as the engine scores: tasks that each await a batch before the next.

Run by `bench_triton`, in a process of its own, with the collector as a worker has it. What is answered within
the measured time counts, as perf_analyzer counts it. Prints one JSON object.
"""

import asyncio
import gc
import json
import sys
from time import monotonic_ns, process_time
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as service

from models.catalogue import find
from processors.metrics import Metrics
from processors.score import Pcm, ScorerSettings, Scores
from processors.triton.scorer import TritonScorer
from schemas.model import read_spec

WARM_S = 0.7
STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


class Load:
    """Scores windows over and over, a batch from each of them on in turn, and compares all scores."""

    def __init__(self, scorer: TritonScorer, pcm: Pcm, expected: Scores, batch: int) -> None:
        self._scorer, self._batch, self._starts = scorer, batch, len(pcm)
        self._pcm, self._expected = np.concatenate([pcm, pcm]), np.concatenate([expected, expected])
        self._at, self.running, self.different = 0, True, 0
        self.calls: list[tuple[int, int]] = []
        """When each began and ended, in ns of the clock that Triton uses as well."""

    async def ask(self) -> None:
        """Score batch after batch while `running`."""
        while self.running:
            at = self._at = (self._at + 1) % self._starts
            pcm, since_ns = self._pcm[at : at + self._batch], monotonic_ns()
            scores = (await self._scorer.score(pcm)).scores
            self.calls.append((since_ns, monotonic_ns()))
            self.different += scores.tobytes() != self._expected[at : at + self._batch].tobytes()


async def _run(job: dict[str, Any]) -> dict[str, Any]:
    spec, metrics = read_spec(find(job["model"])), Metrics()
    settings = ScorerSettings(kind="triton", endpoints=(job["url"],), **job["settings"])
    scorer = TritonScorer(spec, settings, metrics)
    await scorer.start()
    load = Load(scorer, np.load(job["windows"]), np.load(job["expected"]), job["batch"])
    tasks = [asyncio.create_task(load.ask()) for _ in range(settings.concurrency)]
    await asyncio.sleep(WARM_S)
    gc.collect()
    gc.freeze()
    async with grpc.aio.insecure_channel(job["url"]) as channel:
        found = await _measured(load, metrics, service.GRPCInferenceServiceStub(channel), job["seconds"])
    load.running = False
    await asyncio.gather(*tasks)
    await scorer.close()
    return {**found, "calls_ns": load.calls, "different": load.different}


async def _measured(load: Load, metrics: Metrics, stub: Any, seconds: float) -> dict[str, Any]:
    """Measure for so long; `stages_us` is the server's own mean of each, `call_us` the mean without turns."""
    before = await _statistics(stub)
    called, first, since_ns, cpu_s = _calls(metrics), len(load.calls), monotonic_ns(), process_time()
    await asyncio.sleep(seconds)
    elapsed_ns, cpu_s = monotonic_ns() - since_ns, process_time() - cpu_s
    calls, last = _calls(metrics), len(load.calls)
    after = await _statistics(stub)
    stages_us = {
        name: (getattr(after, name).ns - getattr(before, name).ns)
        / max(1, getattr(after, name).count - getattr(before, name).count)
        / 1000
        for name in STAGES
    }
    call_us = (calls[0] - called[0]) / max(1, calls[1] - called[1]) * 1e6
    return {
        "measured": [first, last],
        "elapsed_s": elapsed_ns / 1e9,
        "cpu_s": cpu_s,
        "call_us": call_us,
        "stages_us": stages_us,
    }


async def _statistics(stub: Any) -> Any:
    return (await stub.ModelStatistics(messages.ModelStatisticsRequest())).model_stats[0].inference_stats


def _calls(metrics: Metrics) -> tuple[float, float]:
    """Return the seconds of all calls that were answered, and how many there were."""
    samples = [sample for family in metrics.scorer_call_seconds.collect() for sample in family.samples]
    return tuple(  # type: ignore[return-value]
        sum(sample.value for sample in samples if sample.name.endswith(end)) for end in ("_sum", "_count")
    )


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(json.loads(sys.argv[1])))))
