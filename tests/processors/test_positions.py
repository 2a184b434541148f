"""Where a group begins, where a worker takes a partition over, and what retention has done to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from earwitness.topics import TopicAdmin
from infra.local.kafka import KafkaServer
from processors.decision import DecisionSettings
from processors.partition import Start
from processors.positions import Positions
from schemas.errors import ConfigurationError
from schemas.topics import Topics
from tests.processors.shell import DEADLINE_S, TOPICS, broker_with_topics, until_listed

RULES = DecisionSettings(idle_s=0.02, margin_s=0.01)
SCAN_MS = 50
"""How long before the mark the scan begins: idle_s and three margins."""


@contextmanager
def positions_of(servers: str, group: str) -> Iterator[Positions]:
    """Open the positions of a group."""
    positions = Positions({"bootstrap.servers": servers, "log_level": 0}, group, DEADLINE_S)
    try:
        yield positions
    finally:
        positions.close()


def append(servers: str, topic: str, partition: int, count: int, span_ms: int = 0) -> list[int]:
    """Append records one after another, until their append times span so much; return these times."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 0, "log_level": 0})
    deadline_s, times_ms = monotonic() + DEADLINE_S, list[int]()
    while len(times_ms) < count or times_ms[-1] - times_ms[0] < span_ms:
        assert monotonic() < deadline_s
        producer.produce(
            topic, b"sound", partition=partition, on_delivery=lambda e, m: times_ms.append(m.timestamp()[1])
        )
        assert producer.flush(DEADLINE_S) == 0
    return times_ms


def commit(servers: str, group: str, topic: str, partition: int, offset: int) -> None:
    """Commit an offset as a member of the group would."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
    consumer.close()


# -- on the embedded broker -----------------------------------------------------------------------------


@pytest.fixture
def broker() -> Iterator[str]:
    with broker_with_topics() as address:
        yield address


def all_of(topic: str) -> list[tuple[str, int]]:
    return [(topic, number) for number in range(4)]


@pytest.mark.parametrize(("begin_at", "start"), [("latest", 5), ("earliest", 0)])
def test_a_new_group_begins_where_it_was_told(broker: str, begin_at: str, start: int) -> None:
    append(broker, TOPICS.frames, 1, 5)
    with positions_of(broker, "new") as positions:
        assert positions.begin([TOPICS.frames], begin_at) == all_of(TOPICS.frames)
        starts = positions.starts(all_of(TOPICS.frames), RULES)
    assert starts[TOPICS.frames, 1].start == start
    assert starts[TOPICS.frames, 0] == Start(0, 0)


def test_a_group_that_has_begun_goes_on_where_it_was(broker: str) -> None:
    with positions_of(broker, "old") as positions:
        positions.begin([TOPICS.frames], "latest")
        append(broker, TOPICS.frames, 1, 5)
        assert positions.begin([TOPICS.frames], "latest") == []
        assert positions.starts([(TOPICS.frames, 1)], RULES)[TOPICS.frames, 1].start == 0


def test_only_partitions_without_a_mark_begin_anew(broker: str) -> None:
    append(broker, TOPICS.frames, 1, 5)
    commit(broker, "partly", TOPICS.frames, 1, 2)
    with positions_of(broker, "partly") as positions:
        assert positions.begin([TOPICS.frames], "latest") == [
            key for key in all_of(TOPICS.frames) if key[1] != 1
        ]
        assert positions.starts([(TOPICS.frames, 1)], RULES)[TOPICS.frames, 1].start == 2


def test_a_partition_for_which_nothing_is_committed_begins_at_the_logs_start(broker: str) -> None:
    append(broker, TOPICS.frames, 3, 2)
    with positions_of(broker, "none") as positions:
        assert positions.starts([(TOPICS.frames, 3)], RULES) == {(TOPICS.frames, 3): Start(0, 0)}


def test_an_offset_beyond_the_logs_end_is_refused(broker: str) -> None:
    append(broker, TOPICS.frames, 1, 5)
    commit(broker, "ahead", TOPICS.frames, 1, 6)
    with (
        positions_of(broker, "ahead") as positions,
        pytest.raises(
            ConfigurationError, match=r"audio\.frames\[1\] by group ahead is 6; .* the log's end, 5"
        ),
    ):
        positions.starts([(TOPICS.frames, 1)], RULES)


def test_where_the_broker_knows_no_times_the_scan_begins_at_the_logs_start(broker: str) -> None:
    append(broker, TOPICS.frames, 1, 5)
    commit(broker, "timeless", TOPICS.frames, 1, 5)
    with positions_of(broker, "timeless") as positions:
        assert positions.starts([(TOPICS.frames, 1)], RULES) == {(TOPICS.frames, 1): Start(5, 0)}


# -- on Kafka -------------------------------------------------------------------------------------------


@pytest.fixture
def servers(kafka: KafkaServer) -> str:
    return kafka.bootstrap_servers


@pytest.fixture
def topic(servers: str, topic_prefix: str) -> str:
    """A frames topic of two partitions, with the broker's clock."""
    topics, admin = Topics(topic_prefix), TopicAdmin({"bootstrap.servers": servers})
    until_listed(admin, admin.create(topics, partitions=2, replicas=1, retention_days=1), partitions=2)
    return topics.frames


def first_from(times_ms: list[int], at_ms: int) -> int:
    """Return the offset of the first record that was appended at a time or later."""
    return next(offset for offset, time_ms in enumerate(times_ms) if time_ms >= at_ms)


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()


def test_on_kafka_a_topic_that_does_not_exist_has_no_beginning(servers: str, topic_prefix: str) -> None:
    with (
        positions_of(servers, topic_prefix) as positions,
        pytest.raises(KafkaException, match="Unknown topic"),
    ):
        positions.begin([f"{topic_prefix}.missing"], "latest")


def test_on_kafka_a_new_group_begins_at_a_time(servers: str, topic: str, topic_prefix: str) -> None:
    times_ms = append(servers, topic, 1, 20, span_ms=20)
    at_ms = times_ms[-1]
    with positions_of(servers, topic_prefix) as positions:
        assert len(positions.begin([topic], iso(at_ms))) == 2
        starts = positions.starts([(topic, 0), (topic, 1)], RULES)
    assert starts[topic, 1].start == first_from(times_ms, at_ms) > 0
    assert starts[topic, 0] == Start(0, 0)


@pytest.mark.parametrize("begin_at", ["latest", "earliest", "2099-01-01T00:00:00+00:00"])
def test_on_kafka_a_new_group_begins_at_an_end_of_the_log(
    servers: str, topic: str, topic_prefix: str, begin_at: str
) -> None:
    append(servers, topic, 1, 3)
    with positions_of(servers, topic_prefix) as positions:
        positions.begin([topic], begin_at)
        start = positions.starts([(topic, 1)], RULES)[topic, 1].start
    assert start == (0 if begin_at == "earliest" else 3)


def test_on_kafka_the_scan_begins_as_long_before_the_mark_as_a_sensor_may_be_silent(
    servers: str, topic: str, topic_prefix: str
) -> None:
    times_ms = append(servers, topic, 1, 20, span_ms=6 * SCAN_MS)
    mark = len(times_ms) - 5
    commit(servers, topic_prefix, topic, 1, mark)
    with positions_of(servers, topic_prefix) as positions:
        starts = positions.starts([(topic, 1)], RULES)
    scan_from = first_from(times_ms, times_ms[mark - 1] - SCAN_MS)
    assert 0 < scan_from < mark
    assert starts == {(topic, 1): Start(mark, scan_from)}


def test_on_kafka_what_retention_removed_unread_has_expired(
    servers: str, topic: str, topic_prefix: str
) -> None:
    append(servers, topic, 1, 10)
    commit(servers, topic_prefix, topic, 1, 4)
    delete_before(servers, topic, 1, 7)
    with positions_of(servers, topic_prefix) as positions:
        starts = positions.starts([(topic, 1)], RULES)
    assert starts == {(topic, 1): Start(7, 7, cut=True, expired_from=4)}


def test_on_kafka_a_scan_that_retention_has_cut_says_so(servers: str, topic: str, topic_prefix: str) -> None:
    append(servers, topic, 1, 10)
    for mark in (7, 9):
        commit(servers, topic_prefix, topic, 1, mark)
        delete_before(servers, topic, 1, 7)
        with positions_of(servers, topic_prefix) as positions:
            starts = positions.starts([(topic, 1)], DecisionSettings())
        assert starts == {(topic, 1): Start(mark, 7, cut=True)}


def test_on_kafka_the_members_of_a_group_have_decided_where_it_begins(
    servers: str, topic: str, topic_prefix: str
) -> None:
    append(servers, topic, 1, 3)
    member = Consumer({"bootstrap.servers": servers, "group.id": topic_prefix, "log_level": 0})
    member.subscribe([topic])
    deadline_s = monotonic() + DEADLINE_S
    while not member.assignment():
        assert monotonic() < deadline_s
        member.poll(0.1)
    with positions_of(servers, topic_prefix) as positions:
        positions.begin([topic], "latest")
        assert positions.starts([(topic, 1)], RULES)[topic, 1].start == 0
    member.close()


def delete_before(servers: str, topic: str, partition: int, offset: int) -> None:
    """Remove a partition's records before an offset, as retention does."""
    admin = AdminClient({"bootstrap.servers": servers})
    wanted = TopicPartition(topic, partition, offset)
    for future in admin.delete_records([wanted]).values():
        future.result(DEADLINE_S)
