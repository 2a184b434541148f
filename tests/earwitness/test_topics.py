"""Topics are made with the configuration that workers need, and others are refused by name and reason."""

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it exports them without saying so
    AdminClient,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from earwitness.embedded import embedded_broker
from earwitness.topics import SMALL_TO_READ, TopicAdmin, check_topics
from infra.local.kafka import KafkaServer
from schemas.errors import ConfigurationError
from schemas.topics import Topics
from tests.processors.shell import DEADLINE_S, until_listed

TOPICS = Topics()
DAY_MS = 86_400_000


# -- on the embedded broker -----------------------------------------------------------------------------


def test_topics_of_equal_partition_counts_will_do() -> None:
    with embedded_broker((TOPICS.frames, *TOPICS.outputs)) as broker:
        check_topics(TopicAdmin({"bootstrap.servers": broker}), TOPICS, embedded=True)


@pytest.mark.parametrize("missing", [TOPICS.frames, *TOPICS.outputs])
def test_a_missing_topic_is_named_and_so_is_the_command_that_makes_it(missing: str) -> None:
    with embedded_broker({TOPICS.frames, *TOPICS.outputs} - {missing}) as broker:
        admin = TopicAdmin({"bootstrap.servers": broker})
        with pytest.raises(ConfigurationError) as refused:
            check_topics(admin, TOPICS, embedded=True)
        assert str(refused.value) == (
            f"topic {missing} is 'missing'; accepted: a topic that exists: `earwitness topics create`"
        )
        with pytest.raises(ConfigurationError, match="is 'missing'"):  # looking did not make it
            check_topics(admin, TOPICS, embedded=True)


def test_topics_of_another_tenant_are_not_ones_own() -> None:
    acme = Topics("acme")
    with embedded_broker((acme.frames, *acme.outputs)) as broker:
        admin = TopicAdmin({"bootstrap.servers": broker})
        check_topics(admin, acme, embedded=True)
        with pytest.raises(ConfigurationError, match=r"topic audio\.frames is 'missing'"):
            check_topics(admin, TOPICS, embedded=True)


def test_partitions_are_counted_of_the_topics_that_exist() -> None:
    with embedded_broker((TOPICS.frames,)) as broker:
        assert TopicAdmin({"bootstrap.servers": broker}).partitions([TOPICS.frames, "none"]) == {
            TOPICS.frames: 4
        }


# -- on Kafka -------------------------------------------------------------------------------------------


@pytest.fixture
def servers(kafka: KafkaServer) -> str:
    return kafka.bootstrap_servers


@pytest.fixture
def admin(servers: str) -> TopicAdmin:
    return TopicAdmin({"bootstrap.servers": servers})


@pytest.fixture
def topics(topic_prefix: str) -> Topics:
    return Topics(topic_prefix)


def make(servers: str, name: str, partitions: int, **config: str) -> None:
    """Make a topic as somebody else would."""
    new = NewTopic(name, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([new])[name].result(DEADLINE_S)


def test_on_kafka_topics_are_made_once_and_are_what_a_worker_accepts(
    admin: TopicAdmin, topics: Topics
) -> None:
    names = list(topics.every)
    assert sorted(admin.create(topics, partitions=3, replicas=1, retention_days=2)) == sorted(names)
    assert admin.create(topics, partitions=3, replicas=1, retention_days=2) == []
    until_listed(admin, names)
    check_topics(admin, topics, embedded=False)
    check_topics(admin, topics, embedded=False, backfill=True)
    found = admin.describe([*names, "none"])
    assert list(found) == names
    control = found.pop(topics.control)
    assert (control.partitions, control.replicas, control.cleanup_policy) == (1, 1, "compact")
    assert control.timestamp_type == "LogAppendTime"
    assert {(topic.partitions, topic.replicas) for topic in found.values()} == {(3, 1)}
    assert found[topics.frames].timestamp_type == found[topics.detections].timestamp_type == "LogAppendTime"
    assert found[topics.sensors].cleanup_policy == "compact"
    for name in set(found) - {topics.sensors}:
        assert (found[name].cleanup_policy, found[name].retention_ms) == ("delete", 2 * DAY_MS)


def test_on_kafka_the_tail_of_who_is_there_is_ten_minutes_and_not_a_week(
    servers: str, admin: TopicAdmin, topics: Topics
) -> None:
    admin.create(topics, partitions=1, replicas=1, retention_days=7)
    asked = ConfigResource(ResourceType.TOPIC, topics.sensors)
    client = AdminClient({"bootstrap.servers": servers})
    (answer,) = client.describe_configs([asked]).values()
    config = {key: entry.value for key, entry in answer.result(DEADLINE_S).items()}
    assert {key: config[key] for key in SMALL_TO_READ} == SMALL_TO_READ


def test_a_worker_of_the_backfill_needs_it_and_not_the_live_frames() -> None:
    with embedded_broker((TOPICS.backfill, *TOPICS.outputs)) as broker:
        admin = TopicAdmin({"bootstrap.servers": broker})
        check_topics(admin, TOPICS, embedded=True, backfill=True)
        with pytest.raises(ConfigurationError, match=r"topic audio\.frames is 'missing'"):
            check_topics(admin, TOPICS, embedded=True)


def test_what_is_heard_in_a_backfill_goes_beside_the_live_frames() -> None:
    for topics in (TOPICS, Topics("acme")):
        assert Topics.beside(topics.frames) == Topics.beside(topics.backfill) == topics


def test_on_kafka_only_what_is_missing_is_made(servers: str, admin: TopicAdmin, topics: Topics) -> None:
    make(servers, topics.frames, 3, message_timestamp_type="LogAppendTime")
    assert sorted(admin.create(topics, 3, 1, 7)) == sorted(set(topics.every) - {topics.frames})
    until_listed(admin, topics.outputs)
    check_topics(admin, topics, embedded=False)


def test_on_kafka_another_partition_count_than_that_of_the_frames_is_refused(
    servers: str, admin: TopicAdmin, topics: Topics
) -> None:
    admin.create(topics, partitions=3, replicas=1, retention_days=7)
    until_listed(admin, (topics.frames, *topics.outputs))
    more = NewPartitions(topics.coverage, 4)
    client = AdminClient({"bootstrap.servers": servers})
    client.create_partitions([more])[topics.coverage].result(DEADLINE_S)
    until_listed(admin, [topics.coverage], partitions=4)
    with pytest.raises(ConfigurationError) as refused:
        check_topics(admin, topics, embedded=False)
    assert str(refused.value) == (
        f"partition count of {topics.coverage} is 4; "
        f"accepted: 3, as {topics.frames} has: outputs keep the partition of their frames"
    )


@pytest.mark.parametrize("of", ["frames", "coverage", "sensors"])
def test_on_kafka_topics_with_their_senders_clocks_are_refused(
    servers: str, admin: TopicAdmin, topics: Topics, of: str
) -> None:
    name = getattr(topics, of)
    make(servers, name, 3, message_timestamp_type="CreateTime")
    admin.create(topics, partitions=3, replicas=1, retention_days=7)
    until_listed(admin, (topics.frames, *topics.outputs))
    with pytest.raises(ConfigurationError) as refused:
        check_topics(admin, topics, embedded=False)
    assert str(refused.value) == (
        f"message.timestamp.type of {name} is 'CreateTime'; "
        "accepted: LogAppendTime: one clock for all sensors"
    )
    check_topics(admin, topics, embedded=True)


def test_on_kafka_what_the_broker_does_not_allow_is_refused_with_its_reason(
    admin: TopicAdmin, topics: Topics
) -> None:
    with pytest.raises(ConfigurationError, match=r"is 'not created'; accepted: .*[Rr]eplication"):
        admin.create(topics, partitions=1, replicas=9, retention_days=7)
