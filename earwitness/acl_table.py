"""Rights -> who may do what, for one tenant among others: a table that tests hold against a real broker."""

from dataclasses import dataclass

from earwitness.acls import (
    CREATE,
    DESCRIBE,
    DESCRIBE_CONFIGS,
    READ,
    WRITE,
    Kind,
    Right,
    Role,
    default_group,
    own_topics,
    rights_of,
)
from schemas.topics import Topics

WORKERS = "earwitness"
OPERATIONS = {
    Kind.TOPIC: (READ, WRITE, CREATE, DESCRIBE_CONFIGS),
    Kind.GROUP: (READ, DESCRIBE),
}
_SHOWN = {READ: "read", WRITE: "write", CREATE: "create", DESCRIBE: "see", DESCRIBE_CONFIGS: "see settings"}
_SHOWN_OF_GROUP = {READ: "join", DESCRIBE: "see"}


@dataclass(frozen=True, slots=True)
class Thing:
    """A topic or a group; `shown` names it in the table."""

    kind: Kind
    name: str
    shown: str


def things(tenant: str, other: str, role: Role) -> list[Thing]:
    """Return everything that somebody of a role might reach for, in the order of the table."""
    topics = Topics(tenant)
    ours = [Thing(Kind.TOPIC, name, f"`{name.removeprefix(f'{tenant}.')}`") for name in topics.every]
    group = default_group(role, f"User:{member(role)}", WORKERS)
    own = f"{member(role)}-alerts" if group == WORKERS else group.replace("*", "alerts")
    return [
        *ours,
        Thing(Kind.TOPIC, own_topics(topics) + "tryout", "`audio.replay.…`"),
        *(Thing(Kind.TOPIC, name, "any topic of another tenant") for name in Topics(other).every),
        Thing(Kind.TOPIC, own_topics(Topics(other)) + "tryout", "any topic of another tenant"),
        Thing(Kind.GROUP, WORKERS, "the workers' group"),
        Thing(Kind.GROUP, own, "a group of its own"),
        Thing(Kind.GROUP, "somebody-elses", "somebody else's group"),
    ]


def member(role: Role) -> str:
    """Return the name of somebody of a role."""
    return f"one-of-{role}"


def allowed(role: Role, tenant: str, thing: Thing) -> set[str]:
    """Return what a role may do to a thing, of the operations that the table is about."""
    rights = rights_of(role, Topics(tenant), default_group(role, f"User:{member(role)}", WORKERS))
    return {operation for operation in OPERATIONS[thing.kind] if _covered(rights, thing, operation)}


def table() -> str:
    """Return the table in Markdown: topics and groups below each other, roles beside each other."""
    tenant, other = "acme", "other"
    cells: dict[str, dict[Role, set[str]]] = {}
    for role in Role:
        for thing in things(tenant, other, role):
            shown = _SHOWN_OF_GROUP if thing.kind is Kind.GROUP else _SHOWN
            words = {shown[operation] for operation in allowed(role, tenant, thing)}
            cells.setdefault(thing.shown, {}).setdefault(role, set()).update(words)
    lines = [["", *Role], ["---"] * (1 + len(Role))]
    lines += [[name, *(", ".join(_sorted(words)) for words in row.values())] for name, row in cells.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _covered(rights: tuple[Right, ...], thing: Thing, operation: str) -> bool:
    return any(right.covers(thing.kind, thing.name, operation) for right in rights)


def _sorted(words: set[str]) -> list[str]:
    return [word for word in (*_SHOWN.values(), "join") if word in words]
