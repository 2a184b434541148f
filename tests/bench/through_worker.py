"""One worker process over one frames topic, with a scorer that costs nothing: how fast frames become windows.

Run by `bench_throughput`, in a process of its own: the worker's own transport, engine and pipeline, as
`earwitness work` wires them. Prints one JSON object.
"""

import asyncio
import json
import sys
from time import perf_counter

import numpy as np

from earwitness.settings import Settings, load_settings
from processors.app import Worker
from processors.metrics import Metrics
from processors.score import Pcm, Scored
from processors.scorers import Scorers
from processors.transport import Fetch
from tests.processors.rig import opener


class NothingHeard:
    """Takes windows, adds up what is in them, and finds nothing at once."""

    identity, concurrency = "nothing", 1

    def __init__(self, labels: int) -> None:
        self._labels = labels
        self.windows, self.checksum = 0, 0

    async def score(self, pcm: Pcm, traceparent: str | None = None) -> Scored:
        """Return zeros for int16[B, window_samples]."""
        self.windows += len(pcm)
        self.checksum += int(pcm.sum(dtype=np.int64))
        return Scored(np.zeros((len(pcm), self._labels), np.float32), self.identity)

    async def close(self) -> None:
        """Hold on to nothing."""


class TimedWorker(Worker):
    """A worker that looks at the clock before its first fetch and after its last."""

    frames = 0
    first_s = last_s = 0.0

    async def _read(self, fetch: Fetch) -> None:
        self.first_s = self.first_s or perf_counter()
        await super()._read(fetch)
        self.last_s = perf_counter()
        self.frames += sum(map(len, fetch.records.values()))


async def _run(settings: Settings, frames: int, windows: int) -> dict[str, float]:
    decision = settings.decision()
    scorer, stop = NothingHeard(len(decision.spec.labels)), asyncio.Event()
    connections, scorers = settings.connections(), Scorers(opener(scorer))
    await scorers.open(decision)
    worker = TimedWorker(
        decision, settings.codec(), scorers, Metrics(), connections, settings.worker, settings.batch
    )
    running = asyncio.create_task(worker.run(stop))
    while worker.frames < frames or scorer.windows < windows:
        done, _ = await asyncio.wait([running], timeout=0.05)
        if done:
            running.result()
    found = {"frames": worker.frames, "windows": scorer.windows, "checksum": scorer.checksum}
    stop.set()
    await running
    return {**found, "seconds": worker.last_s - worker.first_s}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(load_settings(), int(sys.argv[1]), int(sys.argv[2])))))
