"""Who may do what, tried: every role reaches for every topic and group on a broker that believes nobody.

Each cell is tried by a plain client with the password of somebody of the role, whose ACLs are those that
`earwitness topics acls` writes, and allowed or refused by the broker. The table in docs/ is held to them.
"""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
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

from earwitness.acl_table import OPERATIONS, WORKERS, Thing, allowed, member, table, things
from earwitness.acls import CREATE, DESCRIBE, DESCRIBE_CONFIGS, READ, WRITE, Kind, Role, default_group
from earwitness.topics import TopicAdmin
from schemas.topics import Topics
from tests.integration.harness import DEADLINE_S
from tests.integration.secured import Secured

OURS, OTHERS = "matrix", "another"
pytestmark = pytest.mark.timeout(240)
REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
PAGE = Path(__file__).parents[2] / "docs" / "threat-model.md"


@pytest.fixture(scope="module")
def people(secured: Secured) -> Secured:
    """Two tenants' topics, and somebody of every role of the first."""
    for tenant in (OURS, OTHERS):
        topics = TopicAdmin({"bootstrap.servers": secured.kafka.super_servers})
        topics.create(Topics(tenant), 1, 1, 1.0)
        topics.create_log(f"{tenant}.audio.replay.tryout", 1, 1)
    for role in Role:
        secured.kafka.add_user(member(role), secured.password(member(role)))
        group = default_group(role, f"User:{member(role)}", WORKERS)
        secured.grant(role, member(role), OURS, group)
    for role in Role:
        secured.admit(member(role))
    return secured


@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_the_table_says_and_nothing_else(role: Role, people: Secured) -> None:
    client = people.client(people.by_password(member(role)))
    reached = things(OURS, OTHERS, role)
    topics = [thing.name for thing in reached if thing.kind is Kind.TOPIC]
    groups = [thing.name for thing in reached if thing.kind is Kind.GROUP]
    admin = AdminClient(client)
    may = {
        WRITE: written(client, topics),
        CREATE: created(admin, topics),
        DESCRIBE_CONFIGS: described(admin, topics),
        DESCRIBE: seen(admin, groups),
        READ: read(client, topics) | joined(admin, groups, topics),
    }
    found = {thing.name: of(thing, may) for thing in reached}
    assert found == {thing.name: allowed(role, OURS, thing) for thing in reached}


def test_nobody_of_a_tenant_may_change_rights(people: Secured) -> None:
    refused = people.client(people.by_password(member(Role.OPERATOR)))
    admin = AdminClient(refused)
    everything = AclBinding(
        ResourceType.TOPIC,
        "*",
        ResourcePatternType.LITERAL,
        "User:*",
        "*",
        AclOperation.ALL,
        AclPermissionType.ALLOW,
    )
    assert not any(outcomes(admin.create_acls([everything])).values())


def test_the_table_of_the_page_is_this_one() -> None:
    assert table() in PAGE.read_text("utf-8")


def of(thing: Thing, may: Mapping[str, Iterable[str]]) -> set[str]:
    """Return what was allowed of what is tried with a thing of this kind."""
    return {operation for operation in OPERATIONS[thing.kind] if thing.name in may[operation]}


def outcomes(answers: Mapping[Any, "Future[Any]"]) -> dict[Any, bool]:
    """Return for each answer whether it was allowed; what fails for another reason was."""
    found = {}
    for asked, future in answers.items():
        try:
            future.result(DEADLINE_S)
        except KafkaException as exc:
            found[asked] = exc.args[0].code() not in REFUSED
        else:
            found[asked] = True
    return found


def written(client: Mapping[str, Any], topics: list[str]) -> set[str]:
    """Return the topics that take a record. (That ours may be idempotent, our programs show.)"""
    told: dict[str, bool] = {}
    producer = Producer({**client, "message.timeout.ms": 30_000})
    for topic in topics:
        producer.produce(topic, b"", b"k", partition=0, on_delivery=partial(reported, told, topic))
    producer.flush(DEADLINE_S)
    assert set(told) == set(topics)
    return {topic for topic, well in told.items() if well}


def reported(told: dict[str, bool], topic: str, error: KafkaError | None, _: Message) -> None:
    told[topic] = error is None


def read(client: Mapping[str, Any], topics: list[str]) -> set[str]:
    """Return the topics that can be read to their end; what may not even be named is not waited for."""
    options = {"group.id": "somebody-elses", "enable.partition.eof": True, "enable.auto.commit": False}
    consumer = Consumer({**client, **options})
    told = {topic: False for topic in topics if unnamed(consumer, topic)}
    named = [topic for topic in topics if topic not in told]
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in named])
    deadline_s = time.monotonic() + DEADLINE_S
    while set(told) != set(topics):
        assert time.monotonic() < deadline_s, set(topics) - set(told)
        for message in consumer.consume(100, 0.1):
            error, topic = message.error(), message.topic()
            if topic in topics and (error is None or error.code() == KafkaError._PARTITION_EOF):
                told[topic] = True
            elif topic in topics and error is not None and error.code() in REFUSED:
                told[topic] = False
    consumer.close()
    return {topic for topic, well in told.items() if well}


def unnamed(consumer: Consumer, topic: str) -> bool:
    """Say whether the broker refuses to say anything of a topic."""
    error = consumer.list_topics(topic, DEADLINE_S).topics[topic].error
    return error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def created(admin: AdminClient, topics: list[str]) -> set[str]:
    """Return the topics that could be made; those that are there already say so."""
    answers = admin.create_topics([NewTopic(topic, 1, 1) for topic in topics], validate_only=True)
    return {topic for topic, well in outcomes(answers).items() if well}


def described(admin: AdminClient, topics: list[str]) -> set[str]:
    """Return the topics whose configuration is told."""
    answers = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic) for topic in topics])
    return {resource.name for resource, well in outcomes(answers).items() if well}


def seen(admin: AdminClient, groups: list[str]) -> set[str]:
    """Return the groups that are described."""
    return {group for group, well in outcomes(admin.describe_consumer_groups(groups)).items() if well}


def joined(admin: AdminClient, groups: list[str], topics: list[str]) -> set[str]:
    """Return the groups for which offsets can be committed: what members do, and nobody else may."""
    well = set[str]()
    for group in groups:
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topics[0], 0, 0)])
        (future,) = admin.alter_consumer_group_offsets([asked]).values()
        try:
            error = future.result(DEADLINE_S).topic_partitions[0].error
        except KafkaException as exc:
            error = exc.args[0]
        if error is None or error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
            well.add(group)
    return well
