"""Faults of brokers and Tritons: killed, frozen, slow, away."""

from infra.local.kafka import KafkaNode
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
    node.kill()
    stage.wait(DOWN_S)
    node.start()
    stage.note("it is back")


def broker_freeze(stage: Stage) -> None:
    """Freeze a broker past its session with the controller."""
    node = stage.draw.choice(stage.system.cluster.nodes)
    stage.note(f"freeze broker {node.plan.node_id}")
    node.freeze()
    stage.wait(stage.size.ill_s + 1)
    node.thaw()
    stage.note("thawed")


def brokers_away(stage: Stage) -> None:
    """Kill -9 all brokers."""
    stage.note("kill -9 all brokers")
    stage.system.cluster.kill()
    stage.wait(stage.size.away_s)
    stage.system.cluster.start()
    stage.note("they are back")


def triton_kill(stage: Stage) -> None:
    """Kill -9 one of the Tritons."""
    server = stage.draw.choice(stage.system.tritons)
    stage.note(f"kill -9 Triton {server.url}")
    server.kill()
    stage.wait(stage.size.ill_s)
    server.start()
    stage.note("it is back")


def triton_freeze(stage: Stage) -> None:
    """Freeze one of the Tritons: it takes requests and never answers."""
    server = stage.draw.choice(stage.system.tritons)
    stage.note(f"freeze Triton {server.url}")
    server.freeze()
    stage.wait(stage.size.ill_s)
    server.thaw()
    stage.note("thawed")


def triton_slow(stage: Stage) -> None:
    """Let one of the Tritons run a fifth of the time."""
    server = stage.draw.choice(stage.system.tritons)
    stage.note(f"slow Triton {server.url}")
    for _ in range(round(stage.size.ill_s / (RUNS_S + STANDS_S))):
        server.freeze()
        stage.wait(STANDS_S)
        server.thaw()
        stage.wait(RUNS_S)
    stage.note("it is as quick as before")


def tritons_away(stage: Stage) -> None:
    """Kill -9 both Tritons."""
    stage.note("kill -9 both Tritons")
    for server in stage.system.tritons:
        server.kill()
    stage.wait(stage.size.ill_s)
    for server in stage.system.tritons:
        server.start()
    stage.note("they are back")
