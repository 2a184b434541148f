"""The topics of a tenant: make them, describe them, and refuse those that cannot work."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it exports them without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from earwitness.acls import READ, WRITE, Grant, Right
from processors.reasons import Reasons, first_answer
from schemas.errors import ConfigurationError
from schemas.topics import Topics

logger = logging.getLogger("librdkafka")

T = TypeVar("T")
TIMEOUT_S, LIST_RETRY_S = 10.0, 0.1
ADMIT_S = 5.0
"""How long whoever brings sound waits to be turned away: live sound waits, too."""
TIMESTAMP_TYPE, CLEANUP_POLICY, RETENTION_MS = "message.timestamp.type", "cleanup.policy", "retention.ms"
MAX_BYTES, IN_SYNC = "max.message.bytes", "min.insync.replicas"
MAX_FRAME_BYTES, HEADER_ROOM_BYTES = 1 << 20, 1 << 16
"""A dead letter is the record that it holds, and headers: whatever fits the one topic fits the other."""
DAY_MS = 86_400_000
SMALL_TO_READ = {
    "segment.ms": "600000",
    "min.compaction.lag.ms": "600000",
    "max.compaction.lag.ms": "1200000",
    "min.cleanable.dirty.ratio": "0.1",
}
"""Of a compacted topic the segment that is written to stays whole, for a week by default: whoever asks who is
there would read a week. The last ten minutes stay, since they tell how far a sensor's clock drifts."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker has it; `timestamp_type` is None where the broker cannot be asked."""

    name: str
    partitions: int
    replicas: int
    timestamp_type: str | None
    cleanup_policy: str | None
    retention_ms: int | None


class TopicAdmin:
    """Asks and tells a broker about topics."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._reasons = Reasons(client)
        options: dict[str, Any] = {**client, "error_cb": self._reasons.note}
        self._admin = AdminClient(options, logger=logger)
        self._servers = client["bootstrap.servers"]

    def create(self, topics: Topics, partitions: int, replicas: int, retention_days: float) -> list[str]:
        """Create what is missing; return the names of what was created."""
        existing = self.describe(topics.every)
        new = [
            NewTopic(name, 1 if name == topics.control else partitions, replicas, config=config)
            for name, config in _configs(topics, round(retention_days * DAY_MS), replicas).items()
            if name not in existing
        ]
        created = []
        answers = self._admin.create_topics(new, request_timeout=TIMEOUT_S) if new else {}
        for name, future in answers.items():
            try:
                future.result()
            except KafkaException as exc:
                if exc.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    continue  # somebody was faster, or it is so new that the broker does not list it yet
                raise ConfigurationError(
                    f"topic {name}", "not created", f"what the broker allows: {exc}"
                ) from exc
            created.append(name)
        self._wait_until_listed(topics.every)
        return created

    def create_log(self, name: str, partitions: int, replicas: int) -> None:
        """Create one topic of somebody's own, with the broker's clock and retention."""
        config = {TIMESTAMP_TYPE: "LogAppendTime", CLEANUP_POLICY: "delete"}
        (answer,) = self._admin.create_topics([NewTopic(name, partitions, replicas, config=config)]).values()
        try:
            answer.result()
        except KafkaException as exc:
            if exc.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise ConfigurationError(f"topic {name}", "not created", f"what is allowed: {exc}") from exc
        self._wait_until_listed((name,))

    def check_rights(self, needed: Mapping[str, Iterable[str]]) -> None:
        """Refuse topics on which we lack rights, such as `WRITE`, as far as the broker tells.

        Raises:
            ConfigurationError: the first of them.

        """
        names = TopicCollection(list(needed))
        told = self._admin.describe_topics(
            names, include_authorized_operations=True, request_timeout=TIMEOUT_S
        )
        for name, future in told.items():
            try:
                allowed = {operation.name for operation in future.result().authorized_operations or ()}
            except KafkaException as exc:
                if exc.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    continue  # what is missing, others say; what an old broker does not tell shows later
                allowed = {"nothing"}
            lacking = [operation for operation in needed[name] if operation not in allowed]
            if lacking and allowed:
                rights = f"{' and '.join(lacking)} on it, as `earwitness topics acls` gives them"
                raise ConfigurationError(f"topic {name}", "not for us", rights)

    def check_group(self, group: str) -> None:
        """Refuse a group that we may not join, as far as the broker tells.

        Raises:
            ConfigurationError: we may not. (A consumer would only hear nothing of it.)

        """
        told = self._admin.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=TIMEOUT_S
        )
        try:
            allowed = {operation.name for operation in told[group].result().authorized_operations or ()}
        except KafkaException as exc:
            refused = exc.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED
            allowed = {"nothing"} if refused else set()
        if allowed and READ not in allowed:
            accepted = "a group with READ for us, as `earwitness topics acls` gives it"
            raise ConfigurationError("worker.group", group, accepted)

    def check_admitted(self, topic: str) -> None:
        """Refuse to begin where a broker turns us away; where none answers, it may yet come: go on.

        Raises:
            ConfigurationError: the password, the certificate or the protocol is wrong, or we may not write.

        """
        try:
            self._asked(lambda timeout_s: self._admin.list_topics(topic, timeout=timeout_s), ADMIT_S)
        except KafkaException as exc:
            why = self._reasons.why()
            if self._reasons.refused:
                answers = f"a broker that takes us{why}"
                raise ConfigurationError("kafka.bootstrap_servers", self._servers, answers) from exc
            return
        self.check_rights({topic: (WRITE,)})

    def allow(self, grant: Grant) -> None:
        """Write ACLs. Those that are there already stay; nothing is taken away.

        Raises:
            ConfigurationError: the broker has no authorizer, or we may not change rights, or none answers.

        """
        self._metadata()  # who cannot connect is told why
        bindings = [_binding(grant.principal, right) for right in grant.rights]
        for future in self._admin.create_acls(bindings, request_timeout=TIMEOUT_S).values():
            try:
                future.result()
            except KafkaException as exc:
                allowed = f"a broker with ACLs, which lets us change them: {exc.args[0].str()}"
                raise ConfigurationError(f"ACLs of {grant.principal}", "not written", allowed) from exc

    def _wait_until_listed(self, names: tuple[str, ...]) -> None:
        # A broker answers before it lists: what is started next would not see the topics.
        listed = Retrying(
            retry=retry_if_result(lambda found: len(found) < len(names)),
            wait=wait_fixed(LIST_RETRY_S),
            stop=stop_after_delay(TIMEOUT_S),
            retry_error_callback=lambda _: None,
        )
        listed(self.partitions, names)

    def describe(self, names: Iterable[str]) -> dict[str, Topic]:
        """Return those of the topics that exist."""
        metadata = self._metadata()
        found = [metadata[name] for name in names if name in metadata and metadata[name].error is None]
        configs = self._configs([topic.topic for topic in found])
        return {topic.topic: _topic(topic, configs.get(topic.topic, {})) for topic in found}

    def partitions(self, names: Iterable[str]) -> dict[str, int]:
        """Return the partition counts of those of the topics that exist."""
        metadata = self._metadata()
        return {
            name: len(metadata[name].partitions)
            for name in names
            if name in metadata and metadata[name].error is None
        }

    def _metadata(self) -> dict[str, Any]:
        try:
            return self._asked(lambda timeout_s: self._admin.list_topics(timeout=timeout_s).topics)
        except KafkaException as exc:
            why = self._reasons.why() or f"; it says: {exc.args[0].str()}"
            answers = f"a broker that answers within {TIMEOUT_S:g} s{why}"
            raise ConfigurationError("kafka.bootstrap_servers", self._servers, answers) from exc

    def _asked(self, ask: Callable[[float], T], timeout_s: float = TIMEOUT_S) -> T:
        return first_answer(ask, self._reasons, self._admin.poll, timeout_s)

    def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._admin.describe_configs(resources, request_timeout=TIMEOUT_S)
        try:
            return {
                resource.name: {key: entry.value for key, entry in future.result().items()}
                for resource, future in answers.items()
            }
        except KafkaException as exc:
            if exc.args[0].code() in (KafkaError._UNSUPPORTED_FEATURE, KafkaError.TOPIC_AUTHORIZATION_FAILED):  # noqa: SLF001
                return {}  # the worker refuses CreateTime again at the first record
            raise


def check_topics(
    admin: TopicAdmin, topics: Topics, *, embedded: bool, backfill: bool = False, shadow: bool = False
) -> None:
    """Refuse topics with which a worker, of live frames, of the backfill or of shadows, cannot work.

    Raises:
        ConfigurationError: one is missing, has another partition count than the frames topic, or the frames
            or the rollouts carry their senders' clocks.

    """
    frames = topics.backfill if backfill else topics.frames
    control = () if embedded else (topics.control,)
    outputs = topics.shadows if shadow else topics.outputs
    names = (frames, *control, *outputs)
    counts = admin.partitions(names)
    if not embedded:
        # Of the past nothing is said of sensors; a shadow brings no clock into frames that have gone quiet.
        written = [name for name in outputs if not (backfill and name == topics.sensors)]
        ticked = (READ,) if shadow else (READ, WRITE)
        admin.check_rights({topics.control: (READ,), frames: ticked, **dict.fromkeys(written, (WRITE,))})
    for name in names:
        if name not in counts:
            raise ConfigurationError(
                f"topic {name}", "missing", "a topic that exists: `earwitness topics create`"
            )
        if counts[name] != counts[frames] and name != topics.control:
            same = f"{counts[frames]}, as {frames} has: outputs keep the partition of their frames"
            raise ConfigurationError(f"partition count of {name}", counts[name], same)
    if embedded:
        return
    for found in admin.describe(names).values():
        if found.timestamp_type not in (None, "LogAppendTime"):
            one_clock = "LogAppendTime: one clock for all sensors"
            raise ConfigurationError(f"{TIMESTAMP_TYPE} of {found.name}", found.timestamp_type, one_clock)


def _configs(topics: Topics, retention_ms: int, replicas: int) -> dict[str, dict[str, str]]:
    log = {
        TIMESTAMP_TYPE: "LogAppendTime",
        CLEANUP_POLICY: "delete",
        RETENTION_MS: str(retention_ms),
        MAX_BYTES: str(MAX_FRAME_BYTES),
    }
    compacted = {TIMESTAMP_TYPE: "LogAppendTime", CLEANUP_POLICY: "compact", **SMALL_TO_READ}
    letters = {
        TIMESTAMP_TYPE: "LogAppendTime",
        CLEANUP_POLICY: "delete",
        RETENTION_MS: str(retention_ms),
        MAX_BYTES: str(MAX_FRAME_BYTES + HEADER_ROOM_BYTES),
    }
    for config in (log, compacted, letters):
        config[IN_SYNC] = str(max(1, replicas - 1))  # or `acks=all` could mean one disk
    return {
        topics.frames: log,
        topics.backfill: log,
        topics.detections: log,
        topics.coverage: log,
        topics.sensors: compacted,
        topics.control: compacted,
        **dict.fromkeys(topics.shadows, log),
        topics.dead_letters: letters,
    }


def _binding(principal: str, right: Right) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    operation, allow = AclOperation[right.operation], AclPermissionType.ALLOW
    return AclBinding(ResourceType[right.kind.name], right.name, pattern, principal, "*", operation, allow)


def _topic(metadata: Any, config: Mapping[str, str]) -> Topic:
    retention = config.get(RETENTION_MS)
    return Topic(
        name=metadata.topic,
        partitions=len(metadata.partitions),
        replicas=min((len(p.replicas) for p in metadata.partitions.values()), default=0),
        timestamp_type=config.get(TIMESTAMP_TYPE),
        cleanup_policy=config.get(CLEANUP_POLICY),
        retention_ms=None if retention is None else int(retention),
    )
