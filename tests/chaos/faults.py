"""The kinds of fault, by name: what each does, and how it is undone.

A kind's `part` says what it lays hands on: a storm takes kinds of different parts, so that they do not undo
each other.
"""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.chaos import server_faults as servers
from tests.chaos import worker_faults as workers
from tests.chaos.broken import send_broken
from tests.chaos.network import why_not
from tests.chaos.stage import Act, Stage


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. `before`: what has to be there before sound is played; `pauses` has sensors pause."""

    act: Act
    part: str
    before: Act | None = None
    pauses: bool = False
    not_here: Callable[[], str | None] = lambda: None


def calm(stage: Stage) -> None:
    """Do nothing: what the others are measured against."""


def producer_kill(stage: Stage) -> None:
    """Kill -9 a producer of half the sensors, and start it again."""
    group = stage.draw.randrange(stage.sensors.groups)
    stage.note(f"kill -9 producer {group}")
    status, written = stage.sensors.kill(group), stage.sensors.journal_bytes(group)
    stage.expect(lambda: status == -signal.SIGKILL, f"producer {group} was killed: it ended with {status}", 0)
    stage.expect(
        lambda: stage.sensors.journal_bytes(group) > written, f"producer {group} stores frames again"
    )


def sensor_pauses(stage: Stage) -> None:
    """Have sensors pause and return in the same epoch: what they play says when."""
    pauses = [pause for part in stage.sensors.parts for pause in part.pauses]
    lengths_s = sorted(for_s for _, for_s in pauses)
    stage.note(f"{len(pauses)} sensors pause, for {lengths_s[0]:.1f} to {lengths_s[-1]:.1f} s")
    stage.wait(max(at_s + for_s for at_s, for_s in pauses) - stage.size.calm_s)
    stage.note("they are back")


def _far_kind(act: Act) -> Kind:
    return Kind(act, "network", before=workers.far, not_here=why_not)


KINDS: Mapping[str, Kind] = {
    "calm": Kind(calm, "nothing"),
    "worker_kill": Kind(workers.worker_kill, "worker"),
    "worker_stop": Kind(workers.worker_stop, "worker"),
    "worker_freeze": Kind(workers.worker_freeze, "worker"),
    "worker_joins": Kind(workers.worker_joins, "worker"),
    "worker_leaves": Kind(workers.worker_leaves, "worker", before=workers.third),
    "rolling_restart": Kind(workers.rolling_restart, "worker"),
    "leader_kill": Kind(servers.leader_kill, "broker"),
    "controller_kill": Kind(servers.controller_kill, "broker"),
    "broker_freeze": Kind(servers.broker_freeze, "broker"),
    "brokers_away": Kind(servers.brokers_away, "broker"),
    "triton_kill": Kind(servers.triton_kill, "triton"),
    "triton_freeze": Kind(servers.triton_freeze, "triton"),
    "triton_slow": Kind(servers.triton_slow, "triton"),
    "tritons_away": Kind(servers.tritons_away, "triton"),
    "producer_kill": Kind(producer_kill, "sensor"),
    "sensor_pauses": Kind(sensor_pauses, "sensor", pauses=True),
    "broken_records": Kind(send_broken, "log"),
    "network_delay": _far_kind(workers.network_delay),
    "network_loss": _far_kind(workers.network_loss),
    "network_cut": _far_kind(workers.network_cut),
}
STORM = "storm"
NOT_IN_STORMS = "brokers_away", "rolling_restart", "calm"
"""They last too long, or do nothing."""


def kinds_here() -> list[str]:
    """Return the kinds that can be played on this machine."""
    return [*(name for name, kind in KINDS.items() if kind.not_here() is None), STORM]


def left_out() -> dict[str, str]:
    """Return the kinds that cannot be played on this machine, and why."""
    reasons = {name: kind.not_here() for name, kind in KINDS.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}
