"""Topics are read again without joining a group: by offset, by append time, to an end or on and on."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.log import LogReader
from schemas.errors import ConfigurationError
from tests.integration.harness import DEADLINE_S, Tenant

RECORDS, PARTITIONS = 500, 3
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def log(tenant: Tenant) -> Tenant:
    """A tenant whose frames topic has records of known order: value n in partition n % 3."""
    tenant.create(PARTITIONS)
    producer = Producer({**tenant.client, "enable.idempotence": True})
    for n in range(RECORDS):
        value = str(n).encode()
        producer.produce(tenant.topics.frames, value, b"key", n % PARTITIONS, headers={"n": value})
    assert producer.flush(DEADLINE_S) == 0
    return tenant


@pytest.fixture
def reader(tenant: Tenant) -> Iterator[LogReader]:
    """A reader of that tenant's broker."""
    with LogReader(tenant.client) as opened:
        yield opened


def test_a_whole_topic_is_read_once_and_in_the_order_of_each_partition(
    log: Tenant, reader: LogReader
) -> None:
    records = list(reader.read(log.topics.frames))
    assert sorted(int(r.value or b"") for r in records) == list(range(RECORDS))
    for number in range(PARTITIONS):
        offsets = [r.offset for r in records if r.partition == number]
        assert offsets == list(range(len(offsets)))
    assert records[0].headers == (("n", records[0].value),)
    assert records[0].place == f"{log.topics.frames}[{records[0].partition}]@{records[0].offset}"


def test_a_stretch_ends_where_it_is_said_to_and_another_read_begins_anew(
    log: Tenant, reader: LogReader
) -> None:
    topic = log.topics.frames
    for _ in range(2):
        found = [(r.partition, r.offset) for r in reader.read(topic, {0: (5, 8), 2: (160, 9999)})]
        assert sorted(found) == [(0, 5), (0, 6), (0, 7), *((2, n) for n in range(160, 166))]
    assert list(reader.read(topic, {1: (9, 9)})) == []


def test_one_record_is_found_by_its_offset_and_none_where_there_is_none(
    log: Tenant, reader: LogReader
) -> None:
    found = reader.at(log.topics.frames, 1, 3)
    assert found is not None
    assert found.value == b"10"
    assert reader.at(log.topics.frames, 1, 10_000) is None
    assert reader.at(log.topics.frames, 1, 1 << 70) is None


@pytest.mark.parametrize(("topic", "partition"), [("", PARTITIONS), ("", 1 << 40), ("-none", 0), (" no", 0)])
def test_a_partition_that_is_not_there_is_refused_with_its_name(
    log: Tenant, reader: LogReader, topic: str, partition: int
) -> None:
    name = f"{log.topics.frames}{topic}"
    with pytest.raises(ConfigurationError, match=rf"{name}\[{partition}\]'; accepted: a partition"):
        reader.at(name, partition, 0)


def test_offsets_are_found_by_append_time_and_the_end_where_nothing_is_younger(
    log: Tenant, reader: LogReader
) -> None:
    topic = log.topics.frames
    ends = {number: high for number, (_, high) in reader.limits(topic).items()}
    record = reader.at(topic, 0, 50)
    assert record is not None
    assert reader.offsets_at(topic, 0) == dict.fromkeys(range(PARTITIONS), 0)
    assert reader.offsets_at(topic, record.timestamp)[0] <= 50
    assert reader.offsets_at(topic, record.timestamp + 3_600_000) == ends


def test_what_retention_has_removed_is_passed_over(log: Tenant, reader: LogReader) -> None:
    topic = log.topics.frames
    admin = AdminClient(dict(log.client))
    (removed,) = admin.delete_records([TopicPartition(topic, 0, 100)]).values()
    removed.result(DEADLINE_S)
    assert reader.limits(topic)[0][0] == 100
    assert next(reader.read(topic, {0: (0, 200)})).offset == 100
    assert reader.at(topic, 0, 7) is None


def test_following_goes_on_with_what_is_appended_later(log: Tenant, reader: LogReader) -> None:
    topic, seen = log.topics.frames, list[bytes | None]()
    begin = {number: high for number, (_, high) in reader.limits(topic).items()}
    producer = Producer(dict(log.client))
    for record in reader.follow(topic, begin, lambda: len(seen) == 2):
        if record is not None:
            seen.append(record.value)
        elif not seen:
            producer.produce(topic, b"later", b"key", 1)
            producer.produce(topic, b"and later", b"key", 1)
            producer.flush(DEADLINE_S)
    assert seen == [b"later", b"and later"]


def test_a_topic_that_is_not_there_and_a_broker_that_is_away_are_said_to_be(reader: LogReader) -> None:
    with pytest.raises(ConfigurationError, match=r"topic nobody\.knows is .* a topic that exists"):
        reader.limits("nobody.knows")
    with (
        LogReader({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}, timeout_s=0.5) as away,
        pytest.raises(ConfigurationError, match=r"a broker that answers within 0\.5 s"),
    ):
        away.limits("any")
