"""Faults of workers: killed, stopped, frozen, joining, leaving, restarted in turn, far from the brokers."""

import signal

from tests.chaos.network import FarHost
from tests.chaos.stage import Stage

PAST_SESSION_S = 8.0
"""Longer than a session of a worker (6 s)."""
THIRD, FAR = "three", "far"
READY_S = 60.0
LOST = "stood still", "gone on without us", "are not known since", "ours; who is live"
"""What a worker says that was away for longer than its session; the last, when it has partitions again."""


def worker_kill(stage: Stage) -> None:
    """Kill -9 a worker; the supervisor starts it again."""
    name, workers = stage.worker(), stage.system.workers
    starts = workers.starts(name)
    stage.note(f"kill -9 worker {name}")
    status = workers.kill(name)
    stage.expect(lambda: status == -signal.SIGKILL, f"worker {name} was killed: it ended with {status}", 0)
    stage.expect(lambda: workers.starts(name) > starts, f"worker {name} was started again")


def worker_stop(stage: Stage) -> None:
    """SIGTERM a worker; the supervisor starts it again."""
    name, workers = stage.worker(), stage.system.workers
    starts = workers.starts(name)
    stage.note(f"stop worker {name}")
    took_s = workers.stop(name)
    stage.note(f"it ended in {took_s:.1f} s")
    stage.expect(lambda: workers.starts(name) > starts, f"worker {name} was started again")


def worker_freeze(stage: Stage) -> None:
    """Freeze a worker until others have its partitions: thawed, it is a zombie."""
    name, workers = stage.worker(), stage.system.workers
    before = len(workers.log(name))
    stage.note(f"freeze worker {name}")
    workers.freeze(name)
    stage.wait(PAST_SESSION_S + stage.draw.uniform(0, 2))
    workers.thaw(name)
    stage.note("thawed")
    _expect_lost(stage, name, before)


def worker_joins(stage: Stage) -> None:
    """Add a worker."""
    stage.note("a third worker joins")
    stage.system.workers.add(THIRD, stage.system.worker_settings())
    _ready(stage)


def worker_leaves(stage: Stage) -> None:
    """Take a worker away, in order."""
    stage.note("the third worker leaves")
    status = stage.system.workers.remove(THIRD)
    stage.note(f"it ended with {status}")


def rolling_restart(stage: Stage) -> None:
    """SIGTERM one worker after the other, each once the one before is ready again."""
    for name in list(stage.system.workers.names):
        stage.note(f"restart worker {name}")
        stage.system.workers.stop(name)
        _ready(stage)


def third(stage: Stage) -> None:
    """Have a third worker from the start."""
    stage.system.workers.add(THIRD, stage.system.worker_settings())
    _ready(stage)


def _ready(stage: Stage) -> None:
    missing = stage.system.workers.ready(READY_S)
    stage.note(missing or "all workers are ready")
    if missing:
        stage.wrong.append(missing)


def _expect_lost(stage: Stage, name: str, before: int) -> None:
    """Expect a worker to say, behind a place in its log, that it was away for too long."""

    def found() -> bool:
        log = stage.system.workers.log(name)[before:]
        return any(sign in log for sign in LOST)

    stage.expect(found, f"worker {name} says that it was away")


def far(stage: Stage) -> None:
    """Have a worker on the far host from the start."""
    host = _far_host(stage)
    stage.system.workers.add(FAR, stage.system.far_settings(), host.command)
    _ready(stage)


def network_delay(stage: Stage) -> None:
    """Have packets of the far worker come late."""
    _worsen(stage, "150 ms each way", delay_ms=150.0, jitter_ms=30.0)


def network_loss(stage: Stage) -> None:
    """Lose packets of the far worker."""
    _worsen(stage, "5 % lost", delay_ms=5.0, loss=0.05)


def _worsen(stage: Stage, what: str, **how: float) -> None:
    host = _far_host(stage)
    stage.note(f"network of the far worker: {what}")
    host.worsen(**how)
    stage.wait(stage.size.ill_s)
    host.mend()
    stage.note("mended")


def network_cut(stage: Stage) -> None:
    """Cut a worker off the brokers until others have its partitions."""
    host, before = _far_host(stage), len(stage.system.workers.log(FAR))
    stage.note("network of the far worker: cut")
    host.cut()
    stage.wait(PAST_SESSION_S + stage.draw.uniform(0, 2))
    host.mend()
    stage.note("mended")
    _expect_lost(stage, FAR, before)


def _far_host(stage: Stage) -> FarHost:
    host = stage.system.far
    assert host is not None
    return host
