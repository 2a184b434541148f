"""Faults of brokers and Tritons: killed, frozen, slow, away."""

import psutil

from infra.local.kafka import KafkaNode
from infra.local.triton import TritonServer
from tests.chaos.stage import Stage

DOWN_S = 4.0
"""Longer than a session of a broker (3 s)."""
RUNS_S, STANDS_S = 0.04, 0.16
"""Of a slow Triton, in turn."""


def leader_kill(stage: Stage) -> None:
    """Kill -9 the broker that leads a partition of the frames."""
    partition = stage.partition()
    _kill_broker(stage, stage.system.leader(partition), f"leader of partition {partition}")


def controller_kill(stage: Stage) -> None:
    """Kill -9 the active controller."""
    _kill_broker(stage, stage.system.controller(), "active controller")


def _kill_broker(stage: Stage, node: KafkaNode, what: str) -> None:
    stage.note(f"kill -9 broker {node.plan.node_id}, {what}")
    pid = node.pid
    node.kill()
    stage.wait(DOWN_S)
    stage.expect(lambda: not node.running, f"broker {node.plan.node_id} is gone", 0)
    node.start()
    stage.expect(lambda: node.running and node.pid != pid, f"broker {node.plan.node_id} is back", 0)
    stage.note("it is back")


def broker_freeze(stage: Stage) -> None:
    """Freeze a broker past its session with the controller."""
    node = stage.draw.choice(stage.system.cluster.nodes)
    stage.note(f"freeze broker {node.plan.node_id}")
    node.freeze()
    _expect_frozen(stage, node.pid)
    stage.wait(stage.size.ill_s + 1)
    node.thaw()
    stage.note("thawed")


def brokers_away(stage: Stage) -> None:
    """Kill -9 all brokers."""
    stage.note("kill -9 all brokers")
    stage.system.cluster.kill()
    stage.wait(stage.size.away_s)
    stage.expect(
        lambda: not any(node.running for node in stage.system.cluster.nodes), "all brokers are gone", 0
    )
    stage.system.cluster.start()
    stage.note("they are back")


def triton_kill(stage: Stage) -> None:
    """Kill -9 one of the Tritons."""
    server = stage.draw.choice(stage.system.tritons)
    before = _logged(stage)
    stage.note(f"kill -9 Triton {server.url}")
    server.kill()
    stage.wait(stage.size.ill_s)
    _expect_away(stage, server, before)
    server.start()
    stage.note("it is back")


def triton_freeze(stage: Stage) -> None:
    """Freeze one of the Tritons: it takes requests and never answers."""
    server = stage.draw.choice(stage.system.tritons)
    before = _logged(stage)
    stage.note(f"freeze Triton {server.url}")
    server.freeze()
    stage.wait(stage.size.ill_s)
    _expect_away(stage, server, before)
    server.thaw()
    stage.note("thawed")


def triton_slow(stage: Stage) -> None:
    """Let one of the Tritons run a fifth of the time."""
    server = stage.draw.choice(stage.system.tritons)
    stage.note(f"slow Triton {server.url}")
    server.freeze()
    _expect_frozen(stage, server.pid)
    for _ in range(round(stage.size.ill_s / (RUNS_S + STANDS_S))):
        server.freeze()
        stage.wait(STANDS_S)
        server.thaw()
        stage.wait(RUNS_S)
    stage.note("it is as quick as before")


def tritons_away(stage: Stage) -> None:
    """Kill -9 both Tritons."""
    before = _logged(stage)
    stage.note("kill -9 both Tritons")
    for server in stage.system.tritons:
        server.kill()
    stage.wait(stage.size.ill_s)
    for server in stage.system.tritons:
        _expect_away(stage, server, before)
    for server in stage.system.tritons:
        server.start()
    stage.note("they are back")


def _expect_frozen(stage: Stage, pid: int) -> None:
    """Expect a process to stand still; who asks a Triton may not even notice one that is slow."""
    stage.expect(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"process {pid} is frozen")


def _logged(stage: Stage) -> dict[str, int]:
    """Return how much each worker has printed."""
    return {name: len(stage.system.workers.log(name)) for name in stage.system.workers.names}


def _expect_away(stage: Stage, server: TritonServer, before: dict[str, int]) -> None:
    """Expect a worker to have said since then that it misses a Triton."""

    def found() -> bool:
        workers = stage.system.workers
        return any(
            f"{server.url} is away" in workers.log(name)[before.get(name, 0) :] for name in workers.names
        )

    stage.expect(found, f"a worker says that Triton {server.url} is away")
