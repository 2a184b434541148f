"""Brokers and topics: whether they are there, and whether topics are what workers and sensors need."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

from earwitness.operation.checks.finding import TIMEOUT_S, Case, Finding, broken, ok, warn
from earwitness.operation.health import length
from earwitness.topics import (
    CLEANUP_POLICY,
    HEADER_ROOM_BYTES,
    IN_SYNC,
    MAX_BYTES,
    RETENTION_MS,
    TIMESTAMP_TYPE,
)
from schemas.topics import Topics

RETENTION_BYTES, SEGMENT_MS, VERSION = "retention.bytes", "segment.ms", "inter.broker.protocol.version"
SHORT_RETENTION_MS, LONG_SEGMENT_MS = 3_600_000, 7_200_000
"""An hour is what it takes to wake somebody; a compacted topic is read whole: its tail must not be days."""
SLOW_MS = 100.0
CREATE = "`earwitness topics create`"
_MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)  # noqa: SLF001 - its public name


def brokers(case: Case) -> Iterator[Finding]:
    """Say who answers, who leads them, and how fast."""
    since_s = monotonic()
    metadata = case.admin.list_topics(timeout=TIMEOUT_S)
    took_ms = (monotonic() - since_s) * 1000
    nodes = sorted(metadata.brokers.values(), key=lambda node: node.id)
    names = ", ".join(f"{node.host}:{node.port}" for node in nodes)
    yield ok("brokers", f"{len(nodes)} of cluster {metadata.cluster_id}: {names}")
    if metadata.controller_id < 0:
        yield broken("controller", "none", "without one nothing fails over: see to the brokers' logs")
    answered = f"an answer takes {took_ms:.0f} ms"
    yield (
        ok("round trip", answered)
        if took_ms < SLOW_MS
        else warn("round trip", answered, "detections are late by that: see to the network and the brokers")
    )
    if nodes and not case.settings.kafka.embedded:
        yield ok("kafka", f"version {_version(case, nodes[0].id)}")


def _version(case: Case, broker: int) -> str:
    """Return what a broker says of its version: the protocol does not name it, a configuration may."""
    resource = ConfigResource(ResourceType.BROKER, str(broker))
    try:
        (answer,) = case.admin.describe_configs([resource], request_timeout=TIMEOUT_S).values()
        entry = answer.result(TIMEOUT_S).get(VERSION)
    except KafkaException:  # one may use topics without being told about brokers
        entry = None
    return (
        f"{entry.value} or newer" if entry is not None and entry.value else "unknown: brokers need not tell"
    )


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the brokers have it; `config` is empty where they do not tell."""

    name: str
    partitions: Mapping[int, Any]
    config: Mapping[str, str]

    def number(self, key: str) -> int | None:
        """Return a configured number."""
        value = self.config.get(key)
        return None if value is None else int(value)

    @property
    def replicas(self) -> int:
        """How many disks the least replicated partition is on."""
        return min((len(partition.replicas) for partition in self.partitions.values()), default=0)


def topics(case: Case) -> Iterator[Finding]:
    """Compare every tenant's topics with what they are made with."""
    metadata = case.admin.list_topics(timeout=TIMEOUT_S)
    if case.settings.kafka.embedded:  # it describes nothing: what it lists is all that can be known
        yield from _listed(case, metadata.topics)
        return
    nodes = len(metadata.brokers)
    for tenant in case.tenants:
        asked = {name: _ask(case, name) for name in tenant.every}
        refused = [finding for finding in asked.values() if isinstance(finding, Finding)]
        found = {name: topic for name, topic in asked.items() if isinstance(topic, Found)}
        if not found and all(finding.found == "missing" for finding in refused):
            yield broken(tenant.frames, "none of its topics exists", f"{CREATE}, or another topics.tenants")
            continue
        wrong = [*refused, *_wrong(case, tenant, found, nodes)]
        yield from wrong
        if not wrong:
            count = len(found[tenant.frames].partitions)
            yield ok(tenant.frames, f"and what lies beside it: {len(found)} topics of {count} partitions")


def _listed(case: Case, names: Mapping[str, Any]) -> Iterator[Finding]:
    for tenant in case.tenants:
        missing = [name for name in (tenant.frames, *tenant.outputs) if name not in names]
        for name in missing:
            yield broken(name, "missing", CREATE)
        if not missing:
            yield ok(tenant.frames, "and its outputs exist, on an embedded broker")


def _ask(case: Case, name: str) -> Found | Finding:
    (answer,) = case.admin.describe_topics(TopicCollection([name]), request_timeout=TIMEOUT_S).values()
    try:
        partitions = {partition.id: partition for partition in answer.result(TIMEOUT_S).partitions}
    except KafkaException as exc:
        return _refusal(case, name, exc)
    return Found(name, partitions, _config(case, name))


def _refusal(case: Case, name: str, exc: KafkaException) -> Finding:
    if exc.args[0].code() not in _MISSING:
        return warn(name, f"cannot be looked at: {exc.args[0].str()}", "allow DESCRIBE on it")
    tenant, ours = Topics.beside(name), case.settings.topics
    if name == tenant.backfill and not ours.backfill:
        return warn(name, "missing", f"dead letters cannot be retried without it: {CREATE}")
    if name in tenant.shadows and not ours.shadow:
        return warn(name, "missing", f"no model can be tried in the shadow of another: {CREATE}")
    return broken(name, "missing", CREATE)


def _config(case: Case, name: str) -> Mapping[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    (answer,) = case.admin.describe_configs([resource], request_timeout=TIMEOUT_S).values()
    try:
        return {key: entry.value for key, entry in answer.result(TIMEOUT_S).items()}
    except KafkaException as exc:
        if exc.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise
        return {}


def _wrong(case: Case, tenant: Topics, found: Mapping[str, Found], nodes: int) -> Iterator[Finding]:
    frames = found.get(tenant.frames)
    for topic in found.values():
        counts = topic.name != tenant.control
        if counts and frames is not None and len(topic.partitions) != len(frames.partitions):
            count = f"{len(topic.partitions)} partitions, where {frames.name} has {len(frames.partitions)}"
            yield broken(topic.name, count, "give them the same number; workers refuse to start")
        yield from _copies(topic, nodes)
        if topic.config:
            yield from _configured(tenant, topic)
        else:
            yield warn(topic.name, "its configuration may not be looked at", "allow DESCRIBE_CONFIGS on it")
    yield from _room_for_letters(tenant, found)


def _copies(topic: Found, nodes: int) -> Iterator[Finding]:
    dead = [number for number, p in topic.partitions.items() if p.leader is None or p.leader.id < 0]
    behind = [number for number, p in topic.partitions.items() if len(p.isr) < len(p.replicas)]
    minimum = topic.number(IN_SYNC) or 1
    stuck = [number for number, p in topic.partitions.items() if len(p.isr) < minimum]
    if dead:
        yield broken(topic.name, f"nobody leads partitions {_some(dead)}", "bring their brokers back")
    if stuck:
        found = f"partitions {_some(stuck)} have fewer than {minimum} replicas in sync: nothing is taken"
        yield broken(topic.name, found, "bring their brokers back")
    elif behind:
        yield warn(topic.name, f"partitions {_some(behind)} miss a replica", "see which broker is away")
    if topic.replicas > 1 and minimum >= topic.replicas:
        found = f"{IN_SYNC} is {minimum} of {topic.replicas}: one broker away stops it"
        yield warn(topic.name, found, f"set {IN_SYNC} to {topic.replicas - 1}")
    elif topic.replicas == 1 < nodes:
        yield warn(
            topic.name, f"on one disk, of {nodes} brokers", "replicate it: one disk lost is sound lost"
        )


def _configured(tenant: Topics, topic: Found) -> Iterator[Finding]:
    if topic.config.get(TIMESTAMP_TYPE) != "LogAppendTime":
        read = topic.name in (tenant.frames, tenant.backfill, tenant.control)
        say = broken if read else warn
        advice = f"set {TIMESTAMP_TYPE}=LogAppendTime" + ("; workers refuse to start" if read else "")
        yield say(topic.name, f"{TIMESTAMP_TYPE} is {topic.config.get(TIMESTAMP_TYPE)}", advice)
    compacted = topic.name in (tenant.sensors, tenant.control)
    policy, should = topic.config.get(CLEANUP_POLICY), "compact" if compacted else "delete"
    if policy != should:
        say = broken if topic.name in (tenant.frames, tenant.control) else warn
        yield say(topic.name, f"{CLEANUP_POLICY} is {policy}", f"set {CLEANUP_POLICY}={should}")
    retention = topic.number(RETENTION_MS)
    if should == "delete" and retention is not None and 0 <= retention < SHORT_RETENTION_MS:
        kept = f"kept for {length(retention / 1000)} only"
        yield warn(topic.name, kept, f"raise {RETENTION_MS}: what workers do not read in time is lost")
    if topic.name == tenant.frames and (topic.number(RETENTION_BYTES) or -1) > 0:
        found = f"{RETENTION_BYTES} is {topic.config[RETENTION_BYTES]}: more sound is kept for less time"
        yield warn(topic.name, found, f"set it to -1 and rely on {RETENTION_MS}, or watch the disks")
    segment = topic.number(SEGMENT_MS)
    if should == "compact" and segment is not None and segment > LONG_SEGMENT_MS:
        found = (
            f"{SEGMENT_MS} is {length(segment / 1000)}: so much of it is never compacted, and read each time"
        )
        yield warn(topic.name, found, f"set {SEGMENT_MS}=600000, and max.compaction.lag.ms=1200000")


def _room_for_letters(tenant: Topics, found: Mapping[str, Found]) -> Iterator[Finding]:
    frames, letters = found.get(tenant.frames), found.get(tenant.dead_letters)
    most = frames.number(MAX_BYTES) if frames else None
    room = letters.number(MAX_BYTES) if letters else None
    if most is not None and room is not None and room < most + HEADER_ROOM_BYTES:
        found_is = f"{MAX_BYTES} is {room}, where frames may have {most}"
        advice = f"set it to {most + HEADER_ROOM_BYTES}, or large dead letters lose their value"
        yield warn(tenant.dead_letters, found_is, advice)


def _some(numbers: list[int], limit: int = 10) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:limit]))
    return shown if len(numbers) <= limit else f"{shown} and {len(numbers) - limit} more"
