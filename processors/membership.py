"""How a worker joins its group, reaches Kafka and serves its status: apart from what they set in motion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker reads.

    Raises:
        ConfigurationError: a value that cannot work.

    """

    group: str = "earwitness"
    begin_at: str = "latest"
    """Where a new group begins: `latest`, `earliest`, or a time in ISO 8601."""
    fetch_min_bytes: int = 1_000_000
    fetch_max_wait_ms: int = 10
    commit_interval_s: float = 1.0
    session_timeout_s: float = 6.0
    overload: Literal["lag", "shed"] = "lag"
    """What happens when more comes in than can be scored. `lag`: all of it is heard, later. `shed`: the
    worker stays live; what it cannot hear in time it skips, by turns of n windows, the same share of every
    sensor, and coverage says SHED. What is published then depends on how fast things went: neither another
    run over the same log nor the successor of a worker that was killed need say the same."""
    deadline_ms: int = 1000
    """With `shed`: what a window decides is in the log so long after its last frame was, at the latest, but
    for one in a hundred. Windows wait for nine tenths of it, less the time that scoring a batch takes."""

    def __post_init__(self) -> None:
        if not self.group:
            raise ConfigurationError("worker.group", self.group, "a name")
        if self.begin_at not in ("latest", "earliest"):
            _check_time("worker.begin_at", self.begin_at)
        _check("worker.fetch_min_bytes", self.fetch_min_bytes, 1, 64 << 20)
        _check("worker.fetch_max_wait_ms", self.fetch_max_wait_ms, 0, 1000)
        _check("worker.commit_interval_s", self.commit_interval_s, 0.1, 60)
        _check("worker.session_timeout_s", self.session_timeout_s, 6, 300)
        _check("worker.deadline_ms", self.deadline_ms, 100, 60_000)


def _check(key: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise ConfigurationError(key, value, f"{lowest:g} to {highest:g}")


def _check_time(key: str, value: str) -> None:
    accepted = "latest, earliest, or a time with its zone, such as 2026-01-31T03:12:00+00:00"
    try:
        zone = datetime.fromisoformat(value).tzinfo
    except ValueError as exc:
        raise ConfigurationError(key, value, accepted) from exc
    if zone is None:
        raise ConfigurationError(key, value, accepted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """How to reach Kafka: options for librdkafka's clients, and the same for Faust's consumer."""

    client: Mapping[str, Any] = field(repr=False)
    broker_urls: tuple[str, ...]
    faust_credentials: Any = field(default=None, repr=False)
    frames_topics: tuple[str, ...]
    shadow: bool = False
    """Whether what is heard is a model's in the shadow of another, and goes to topics of its own."""
    log_append_time: bool = True
    """Whether frames must carry the broker's clock; only the embedded broker cannot do that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSettings:
    """Where status is served: on loopback unless told otherwise. Port 0 takes any free one.

    Raises:
        ConfigurationError: a value that cannot work.

    """

    host: str = "127.0.0.1"
    port: int = 9464

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigurationError("status.port", self.port, "0 to 65535")
