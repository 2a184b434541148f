"""Roles -> the least rights that Kafka has to grant them: as ACLs, as `kafka-acls` commands, as a table.

    sensors ──WRITE──► frames ──READ──► worker ──WRITE──► detections, coverage, sensors ──READ──► consumers
                                          └──WRITE──► frames (ticks), dead letters            └──► analysts

Every right is of one topic by its whole name, but for an analyst's own topics, whose prefix begins with the
tenant's: a role of one tenant reaches no other's. READ and WRITE imply DESCRIBE, which is not granted beside
them; and since Kafka 3.0 whoever may WRITE to a topic may do so idempotently: no IDEMPOTENT_WRITE.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from processors.membership import WorkerSettings
from schemas.errors import ConfigurationError
from schemas.topics import Topics

READ, WRITE, CREATE = "READ", "WRITE", "CREATE"
DESCRIBE, DESCRIBE_CONFIGS = "DESCRIBE", "DESCRIBE_CONFIGS"
DEFAULT_GROUP = WorkerSettings().group
_IMPLIED = {DESCRIBE: {READ, WRITE}}
"""Operation -> those that include it, besides itself."""


class Role(StrEnum):
    """Who connects to Kafka, and what for."""

    SENSORS = "sensors"
    """`earwitness capture`, `earwitness simulate`."""
    SPOOLING_SENSORS = "spooling-sensors"
    """`earwitness capture --spool`, which reads back what it had sent: it can hear its tenant."""
    WORKER = "worker"
    """`earwitness work`."""
    BACKFILL_WORKER = "backfill-worker"
    """`earwitness work -s topics.backfill=true`."""
    SHADOW_WORKER = "shadow-worker"
    """`earwitness work -s topics.shadow=true`."""
    CONSUMER = "detections-consumer"
    """A service that acts on detections; `earwitness watch`."""
    ANALYST = "analyst"
    """`replay`, `export`, `explain`, `diff`, `timeline`, `sensors`, `latency`."""
    OPERATOR = "operator"
    """`topics create`, `doctor`, `model rollout`, `dead-letters retry`, `sensors --forget`."""


class Kind(StrEnum):
    """What a right is about."""

    TOPIC = "topic"
    GROUP = "group"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One thing that may be done to one topic or group, or to all whose names begin so."""

    kind: Kind
    name: str
    operation: str
    prefixed: bool = False

    def covers(self, kind: Kind, name: str, operation: str) -> bool:
        """Say whether this allows something, as Kafka's own authorizer decides."""
        named = name.startswith(self.name) if self.prefixed else name == self.name
        included = {operation, *_IMPLIED.get(operation, ())}
        return self.kind is kind and named and self.operation in included


def read_role(name: str) -> Role:
    """Return a role by its name.

    Raises:
        ConfigurationError: there is none.

    """
    if name not in set(Role):
        raise ConfigurationError("--role", name, ", ".join(Role))
    return Role(name)


def default_group(role: Role, principal: str, workers: str) -> str:
    """Return the group that a role has rights to; `workers` is that of the settings.

    Workers of the past and of shadows have groups of their own, and readers whatever begins with their name.
    """
    match role:
        case Role.WORKER | Role.OPERATOR:
            return workers
        case Role.BACKFILL_WORKER:
            return f"{workers}-backfill"
        case Role.SHADOW_WORKER:
            return f"{workers}-shadow"
    return f"{principal.partition(':')[2]}-*"


def group_warning(role: Role, tenants: Iterable[str], workers: str) -> str | None:
    """Return what to say where workers of a named tenant get the group that all have by default."""
    shared = role in (Role.WORKER, Role.BACKFILL_WORKER, Role.SHADOW_WORKER) and workers == DEFAULT_GROUP
    if not (shared and any(tenants)):
        return None
    return (
        f"worker.group is {workers}, as every tenant's is by default: who may join it can keep others' "
        f"partitions unheard; give the workers of tenants that do not trust each other groups of their own"
    )


def rights_of(role: Role, topics: Topics, group: str) -> tuple[Right, ...]:
    """Return what a role needs, for one tenant; a group that ends with `*` stands for all that begin so."""
    rights = {
        Right(Kind.TOPIC, name, operation)
        for operation, names in _on_topics(role, topics).items()
        for name in names
    }
    if role is Role.ANALYST:
        own = own_topics(topics)
        rights |= {Right(Kind.TOPIC, own, operation, True) for operation in (CREATE, READ, WRITE)}
    if role not in (Role.SENSORS, Role.SPOOLING_SENSORS):
        operation = DESCRIBE if role is Role.OPERATOR else READ
        rights.add(Right(Kind.GROUP, group.removesuffix("*"), operation, group.endswith("*")))
    return tuple(sorted(rights))


def own_topics(topics: Topics) -> str:
    """Return how the topics begin that analysts make: for `replay --to-topic`."""
    return topics.frames.removesuffix("frames") + "replay."


def _on_topics(role: Role, topics: Topics) -> Mapping[str, Iterable[str]]:
    match role:
        case Role.SENSORS:
            return {WRITE: (topics.frames,)}
        case Role.SPOOLING_SENSORS:
            return dict.fromkeys((READ, WRITE), (topics.frames, topics.backfill))
        case Role.WORKER:
            return _of_worker(topics.frames, topics.control, topics.outputs)
        case Role.BACKFILL_WORKER:
            return {
                **_of_worker(topics.backfill, topics.control, _of_past(topics)),
                DESCRIBE: (topics.sensors,),
            }
        case Role.SHADOW_WORKER:
            rights = _of_worker(topics.frames, topics.control, topics.shadows)
            return {**rights, WRITE: topics.shadows, DESCRIBE: (topics.sensors,)}
        case Role.CONSUMER:
            return {READ: (topics.detections, topics.coverage, topics.sensors)}
        case Role.ANALYST:
            return {READ: topics.every}
        case Role.OPERATOR:
            return {
                CREATE: topics.every,
                DESCRIBE_CONFIGS: topics.every,
                READ: topics.every,
                WRITE: (topics.control, topics.sensors, topics.backfill),
            }


def _of_past(topics: Topics) -> tuple[str, ...]:
    """Return what a worker of the backfill writes: of sensors it says nothing, and only counts partitions."""
    return tuple(name for name in topics.outputs if name != topics.sensors)


def _of_worker(frames: str, control: str, outputs: Iterable[str]) -> dict[str, Iterable[str]]:
    # Frames are written, too: a tick brings the broker's clock into a partition that has gone quiet.
    return {
        READ: (frames, control),
        WRITE: (frames, *outputs),
        DESCRIBE_CONFIGS: (frames, control, *outputs),
    }


@dataclass(frozen=True, slots=True)
class Grant:
    """Rights of somebody; `principal` as Kafka writes it: `User:anna`.

    Raises:
        ConfigurationError: nobody is written so.

    """

    principal: str
    rights: tuple[Right, ...]

    def __post_init__(self) -> None:
        kind, separator, name = self.principal.partition(":")
        if not (kind and separator and name) or name == "*":
            accepted = (
                "one whom Kafka knows, such as User:anna; of a certificate without a mapping, User:CN=anna"
            )
            raise ConfigurationError("--principal", self.principal, accepted)

    @property
    def name(self) -> str:
        """The principal without its kind."""
        return self.principal.partition(":")[2]

    def commands(self, servers: str) -> Iterator[str]:
        """Yield what to type where Kafka's own tools are: a command for each topic and group."""
        for (kind, name, prefixed), rights in groupby(self.rights, lambda r: (r.kind, r.name, r.prefixed)):
            operations = [word for right in rights for word in ("--operation", _camel(right.operation))]
            words = [
                "kafka-acls",
                "--bootstrap-server",
                servers,
                "--add",
                "--allow-principal",
                self.principal,
            ]
            pattern = ["--resource-pattern-type", "prefixed"] if prefixed else []
            yield shlex.join([*words, *operations, f"--{kind}", name, *pattern])


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))
