"""Workers: who is in the group, what it has committed, how far behind it is, and how far ahead of retention.

The committed offset is a mark, the lowest offset that is still needed: up to a segment behind by design.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

from earwitness.operation.checks.finding import TIMEOUT_S, Case, Finding, broken, ok, warn
from earwitness.operation.health import length
from earwitness.topics import RETENTION_MS
from processors.log import LogReader

LATE_S, TOO_LATE_S = 20.0, 60.0
"""On top of a segment, which the mark may be behind by design."""
SHIPPED_HOP_S = 0.5
"""Of the models that ship."""
NEAR_RETENTION, AT_RETENTION = 0.5, 0.1
"""What is left of the time for which a record is kept, when somebody should look, and when it is urgent."""
START = "start one: `earwitness work`"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a group stands in one partition; times are append times in ms, None where there is no record."""

    number: int
    low: int
    end: int
    mark: int | None
    marked_ms: int | None
    last_ms: int | None

    @property
    def behind(self) -> int:
        """Records from the mark on."""
        return 0 if self.mark is None else self.end - max(self.mark, self.low)

    @property
    def behind_s(self) -> float:
        """Time from the record at the mark to the last one."""
        if self.marked_ms is None or self.last_ms is None:
            return 0.0
        return max(0.0, (self.last_ms - self.marked_ms) / 1000)


def workers(case: Case) -> Iterator[Finding]:
    """Look at the group's members, and at where it stands in every topic that it reads."""
    group = case.settings.worker.group
    yield from _members(case, group)
    with case.reader() as reader:
        for topic in case.settings.frames_topics:
            begun = [s for s in _standings(case, reader, group, topic) if s.mark is not None]
            if begun:
                yield _lag(case, topic, begun)
                yield from _retention(topic, begun, _kept_ms(case, topic), case.now_ms)
            else:
                yield warn(topic, f"group {group} has never committed anything", START)


def _members(case: Case, group: str) -> Iterator[Finding]:
    (answer,) = case.admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S).values()
    try:
        found = answer.result(TIMEOUT_S)
        members, state = found.members, found.state.name
    except KafkaException as exc:
        if exc.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise
        members, state = [], "unknown"
    if not members:
        yield broken(f"group {group}", "has no worker: nobody listens", START)
        return
    hosts = ", ".join(sorted({f"{member.client_id}@{member.host.strip('/')}" for member in members}))
    yield ok(f"group {group}", f"{len(members)} workers, {state}: {hosts}")
    taken = {(p.topic, p.partition) for member in members for p in member.assignment.topic_partitions}
    yield from _unread(case, taken, state)


def _unread(case: Case, taken: set[tuple[str, int]], state: str) -> Iterator[Finding]:
    with case.reader() as reader:
        every = {(topic, n) for topic in case.settings.frames_topics for n in reader.partitions(topic)}
    left = sorted(every - taken)
    if left and state != "STABLE":
        yield warn(
            "partitions", f"the group is {state}: partitions are being given out", "look again in 10 s"
        )
    elif left:
        names = ", ".join(f"{topic}[{number}]" for topic, number in left[:5])
        yield broken(
            "partitions", f"{len(left)} are nobody's: {names}", "restart workers; see to topics.tenants"
        )


def _standings(case: Case, reader: LogReader, group: str, topic: str) -> list[Standing]:
    limits = reader.limits(topic)
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, number) for number in limits])
    (answer,) = case.admin.list_consumer_group_offsets([asked], request_timeout=TIMEOUT_S).values()
    marks = {p.partition: p.offset for p in answer.result(TIMEOUT_S).topic_partitions if p.offset >= 0}
    first = {n: (at, at + 1) for n, mark in marks.items() if (at := max(mark, limits[n][0])) < limits[n][1]}
    marked = {record.partition: record.timestamp for record in reader.read(topic, first)}
    lasts = {n: (end - 1, end) for n, (low, end) in limits.items() if low < end}
    last = {record.partition: record.timestamp for record in reader.read(topic, lasts)}
    return [
        Standing(n, low, end, marks.get(n), marked.get(n), last.get(n)) for n, (low, end) in limits.items()
    ]


def _lag(case: Case, topic: str, begun: list[Standing]) -> Finding:
    worst = max(begun, key=lambda standing: standing.behind_s)
    total, place = sum(standing.behind for standing in begun), f"{topic}[{worst.number}]@{worst.mark}"
    found = f"mark at most {length(worst.behind_s)} behind, at {place}; {total} records in all"
    designed_s = case.settings.detect.segment_windows * _hop_s(case)
    if worst.behind_s > designed_s + TOO_LATE_S:
        return broken(topic, found, "add workers; see whether scoring is slow (earwitness_score_seconds)")
    if worst.behind_s > designed_s + LATE_S:
        return warn(topic, found, "it should be catching up: look again in a minute, or add workers")
    return ok(topic, found)


def _hop_s(case: Case) -> float:
    """Return the time from window to window, which the model knows, if it can be read here."""
    if case.decision is not None:
        return case.decision.spec.hop_s
    return case.settings.window.hop_s or SHIPPED_HOP_S


def _retention(topic: str, begun: list[Standing], kept_ms: int | None, now_ms: float) -> Iterator[Finding]:
    expired = [s.number for s in begun if s.mark is not None and s.mark < s.low]
    if expired:
        found = f"retention has removed what nobody has read, in partitions {expired}"
        yield broken(topic, found, f"add workers, raise {RETENTION_MS}; coverage will say EXPIRED")
    if kept_ms is None or kept_ms < 0:
        return
    ages = [(now_ms - s.marked_ms, s.number) for s in begun if s.marked_ms is not None]
    age_ms, number = max(ages, default=(0.0, 0))
    left_ms = kept_ms - age_ms
    left = f"{length(left_ms / 1000)} until retention removes what {topic}[{number}] still needs"
    if left_ms < AT_RETENTION * kept_ms:
        yield broken(topic, left, f"raise {RETENTION_MS} at once, then add workers")
    elif left_ms < NEAR_RETENTION * kept_ms:
        yield warn(topic, left, f"add workers, or raise {RETENTION_MS}")
    elif ages:
        yield ok(topic, left)


def _kept_ms(case: Case, topic: str) -> int | None:
    (answer,) = case.admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, topic)], request_timeout=TIMEOUT_S
    ).values()
    try:
        config: Mapping[str, str] = {key: entry.value for key, entry in answer.result(TIMEOUT_S).items()}
    except KafkaException as exc:
        if exc.args[0].code() not in (KafkaError._UNSUPPORTED_FEATURE, KafkaError.TOPIC_AUTHORIZATION_FAILED):  # noqa: SLF001
            raise
        return None  # another check says that it may not be looked at
    return int(config[RETENTION_MS]) if RETENTION_MS in config else None
