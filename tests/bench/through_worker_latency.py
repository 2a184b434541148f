"""One worker process over one frames topic: how long after its append each frame is in the agent's hand.

Run by `bench_added_latency`, in a process of its own: the worker's own transport, engine and pipeline, with a
scorer that costs nothing. What it reads again to know who is live is not counted.

    python -m tests.bench.through_worker_latency BEGIN FRAMES FILE     (settings in the environment)
"""

import asyncio
from collections.abc import Callable
from time import time

from earwitness.settings import Settings, load_settings
from processors.app import Worker
from processors.metrics import Metrics
from processors.scorers import Scorers
from processors.transport import Fetch
from tests.bench.contenders.arrivals import READY, Arrivals
from tests.bench.through_worker import NothingHeard
from tests.processors.rig import opener

LOOK_AGAIN_S = 0.05


class LatencyWorker(Worker):
    """A worker that looks at the clock when the agent is given a fetch."""

    arrivals: Arrivals

    async def _read(self, fetch: Fetch) -> None:
        now_s = time()
        for tp, records in fetch.records.items():
            frames = [(record.offset, record.timestamp) for record in records if record.key is not None]
            self.arrivals.add(now_s, tp.partition, frames)
        await super()._read(fetch)


async def _run(settings: Settings, arrivals: Arrivals) -> None:
    decision, stop = settings.decision(), asyncio.Event()
    scorers = Scorers(opener(NothingHeard(len(decision.spec.labels))))
    await scorers.open(decision)
    worker = LatencyWorker(
        decision,
        settings.codec(),
        scorers,
        Metrics(),
        settings.connections(),
        settings.worker,
        settings.batch,
    )
    worker.arrivals = arrivals
    running = asyncio.create_task(worker.run(stop))
    await _until(lambda: worker.ready, running)
    print(READY, flush=True)
    await _until(lambda: arrivals.complete, running)
    arrivals.save()
    stop.set()
    await running


async def _until(condition: Callable[[], bool], running: asyncio.Task[None]) -> None:
    while not condition():
        done, _ = await asyncio.wait([running], timeout=LOOK_AGAIN_S)
        if done:
            running.result()


if __name__ == "__main__":
    asyncio.run(_run(load_settings(), Arrivals.from_arguments()))
