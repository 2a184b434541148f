"""Every frame's fate is counted, and every frame is where any other client would have put it."""

import logging
import time
import uuid
from threading import Event

import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from infra.local.kafka import KafkaServer
from producers.client import PublisherSettings
from producers.errors import BufferFullError
from producers.publisher import FramePublisher
from schemas.codec import Codec
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame
from tests.producers.conftest import DEADLINE_S, a_frame, records_of

NOBODY = {"bootstrap.servers": "127.0.0.1:1"}

JAVA_MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
    "kafka": 1348980580,
    "amqp": 767747138,
    "giberish123456789": 257239820,
}
"""What Java's `Utils.murmur2` returns, from the tests of Apache Kafka (UtilsTest), and what is left of it
once it is made positive, from the tests of librdkafka."""
POSITIVE = 0x7FFFFFFF


def java_partition(java_hash: int, partitions: int) -> int:
    """Return what Java's `BuiltInPartitioner.partitionForKey` does with a hash."""
    return (java_hash & POSITIVE) % partitions


@pytest.fixture
def topic() -> str:
    return f"frames-{uuid.uuid4().hex}"


def publisher_to(bootstrap_servers: str, topic: str) -> FramePublisher:
    return FramePublisher({"bootstrap.servers": bootstrap_servers}, topic, Codec())


@pytest.mark.parametrize("key", JAVA_MURMUR2)
def test_the_reference_hash_is_javas(key: str) -> None:
    assert murmur2(key.encode()) & POSITIVE == JAVA_MURMUR2[key] & POSITIVE


def test_frames_lie_on_the_partitions_that_javas_hashes_name(embedded: str, topic: str) -> None:
    publisher = publisher_to(embedded, topic)
    partitions = publisher.partition_count(DEADLINE_S)
    assert partitions == 4
    for sensor in JAVA_MURMUR2:
        publisher.publish(sensor, a_frame())
    assert publisher.close(DEADLINE_S) == 0
    found = {record.sensor: record.partition for record in records_of(embedded, topic, len(JAVA_MURMUR2))}
    assert found == {key: java_partition(value, partitions) for key, value in JAVA_MURMUR2.items()}


def test_what_was_acknowledged_is_in_the_topic_in_order_and_counted_by_sensor(
    embedded: str, topic: str
) -> None:
    publisher = publisher_to(embedded, topic)
    for k in range(50):
        publisher.publish("roof", a_frame(320 * k))
        publisher.publish("hall", a_frame(160 * k, 160))
    assert publisher.flush(DEADLINE_S) == 0
    counts = publisher.counts
    assert (counts.acknowledged, counts.failed, counts.buffered, counts.refused) == (100, 0, 0, 0)
    assert publisher.samples_acknowledged == {"roof": 16_000, "hall": 8_000}
    records = records_of(embedded, topic, 100)
    assert [r.frame.first_sample for r in records if r.sensor == "roof"] == [320 * k for k in range(50)]
    assert publisher.close(DEADLINE_S) == 0


def test_a_delivery_is_reported_with_its_frame_and_offset(embedded: str, topic: str) -> None:
    reports: list[tuple[str, int, int | None]] = []

    def keep(sensor: str, frame: AudioFrame, offset: int | None, append_ms: int | None) -> None:
        reports.append((sensor, frame.first_sample, offset))

    publisher = FramePublisher({"bootstrap.servers": embedded}, topic, Codec(), on_delivery=keep)
    publisher.publish("roof", a_frame(0))
    publisher.publish("roof", a_frame(320))
    publisher.close(DEADLINE_S)
    assert reports == [("roof", 0, 0), ("roof", 320, 1)]


@pytest.mark.parametrize("sensor", ["", "two\nlines", "x" * 257, "\ud800"])
def test_a_sensor_that_cannot_be_a_key_is_refused(sensor: str) -> None:
    with pytest.raises(ConfigurationError, match="sensor"):
        FramePublisher(NOBODY, "frames", Codec()).publish(sensor, a_frame())


def test_a_frame_that_no_request_can_hold_is_refused(embedded: str, topic: str) -> None:
    with pytest.raises(ConfigurationError, match=r"message\.max\.bytes"):
        publisher_to(embedded, topic).publish("roof", a_frame(samples=1_000_000))


def test_a_full_buffer_refuses_at_once_and_says_so_once(topic: str, caplog: pytest.LogCaptureFixture) -> None:
    publisher = FramePublisher(NOBODY, topic, Codec(), PublisherSettings(buffer_frames=10))
    for k in range(10):
        publisher.publish("roof", a_frame(320 * k))
    for _ in range(2):
        with pytest.raises(BufferFullError, match="roof"):
            publisher.publish("roof", a_frame())
    counts = publisher.counts
    assert (counts.buffered, counts.refused) == (10, 2)
    assert caplog.text.count("sound is being lost") == 1


def test_waiting_for_room_ends_with_stop(topic: str) -> None:
    publisher, stop = FramePublisher(NOBODY, topic, Codec(), PublisherSettings(buffer_frames=1)), Event()
    publisher.publish_waiting("roof", a_frame(), stop)
    stop.set()
    with pytest.raises(BufferFullError):
        publisher.publish_waiting("roof", a_frame(), stop)


def test_who_waits_for_room_loses_nothing(embedded: str, topic: str) -> None:
    settings = PublisherSettings(buffer_frames=5)
    publisher = FramePublisher({"bootstrap.servers": embedded}, topic, Codec(), settings)
    for k in range(500):
        publisher.publish_waiting("roof", a_frame(320 * k))
    assert publisher.close(DEADLINE_S) == 0
    assert publisher.samples_acknowledged == {"roof": 500 * 320}


def test_a_broker_that_is_away_fails_frames_in_time_with_the_reason_and_without_the_password(
    topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    reports: list[int | None] = []
    client = {**NOBODY, "sasl.password": "refused"}
    publisher = FramePublisher(
        client,
        topic,
        Codec(),
        PublisherSettings(delivery_timeout_ms=1000),
        on_delivery=lambda sensor, frame, offset, append_ms: reports.append(offset),
    )
    started_s = time.monotonic()
    for k in range(3):
        publisher.publish("roof", a_frame(320 * k))
    assert publisher.flush(DEADLINE_S) == 0
    assert time.monotonic() - started_s < 5.0  # the client looks for frames to give up once a second
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert topic in errors[0]
    assert "a frame of roof was not delivered: Local: Message timed out; _TRANSPORT" in errors[0]
    assert "Connection ***" in errors[0]
    assert (publisher.counts.failed, publisher.counts.buffered) == (3, 0)
    assert publisher.samples_acknowledged == {"roof": 0}
    assert reports == [None, None, None]
    assert publisher.close(DEADLINE_S) == 3


def test_a_broker_that_does_not_speak_tls_fails_frames_with_that_as_the_reason(
    embedded: str, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = {"bootstrap.servers": embedded, "security.protocol": "SSL"}
    publisher = FramePublisher(client, topic, Codec(), PublisherSettings(delivery_timeout_ms=1000))
    publisher.publish("roof", a_frame())
    assert publisher.close(DEADLINE_S) == 1
    assert "not delivered: Local: Message timed out; _TRANSPORT" in caplog.text
    said = caplog.records[-1].getMessage()  # the second where the broker's reset comes first
    assert "connecting to a PLAINTEXT broker listener?" in said or "connection reset by peer" in said


def test_closing_gives_up_what_cannot_be_delivered_and_says_how_much(topic: str) -> None:
    publisher = FramePublisher(NOBODY, topic, Codec())
    for k in range(3):
        publisher.publish("roof", a_frame(320 * k))
    assert publisher.close(timeout_s=0.2) == 3
    assert publisher.counts.buffered == 0


def test_partitions_cannot_be_counted_while_the_broker_is_away(topic: str) -> None:
    assert FramePublisher(NOBODY, topic, Codec()).partition_count(timeout_s=0.2) is None


def test_on_kafka_partitions_are_javas_and_all_that_was_acknowledged_is_there(
    kafka: KafkaServer, topic_prefix: str
) -> None:
    topic, partitions = f"{topic_prefix}.audio.frames", 7
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    stamped = {"message.timestamp.type": "LogAppendTime"}
    admin.create_topics([NewTopic(topic, partitions, 1, config=stamped)])[topic].result(DEADLINE_S)
    append_times_ms: list[int | None] = []
    publisher = FramePublisher(
        {"bootstrap.servers": kafka.bootstrap_servers},
        topic,
        Codec(),
        on_delivery=lambda sensor, frame, offset, append_ms: append_times_ms.append(append_ms),
    )
    assert publisher.partition_count(DEADLINE_S) == partitions
    sensors = [*JAVA_MURMUR2, *(f"sensor-{number:04d}" for number in range(100)), "Bühne-µ"]
    before_ms = time.time_ns() // 1_000_000
    for k in range(5):
        for sensor in sensors:
            publisher.publish(sensor, a_frame(320 * k))
    assert publisher.close(DEADLINE_S) == 0

    records = records_of(kafka.bootstrap_servers, topic, 5 * len(sensors))
    assert {(r.sensor, r.partition) for r in records} == {
        (sensor, java_partition(murmur2(sensor.encode()), partitions)) for sensor in sensors
    }
    for sensor in sensors:
        frames = [r.frame for r in records if r.sensor == sensor]
        assert [frame.first_sample for frame in frames] == [320 * k for k in range(5)]
        assert sum(f.samples for f in frames) == publisher.samples_acknowledged[sensor]
    assert all(at_ms is not None and at_ms >= before_ms - 1000 for at_ms in append_times_ms)


def test_on_kafka_a_topic_that_gains_partitions_is_noticed(kafka: KafkaServer, topic_prefix: str) -> None:
    topic = f"{topic_prefix}.audio.frames"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(DEADLINE_S)
    publisher = publisher_to(kafka.bootstrap_servers, topic)
    assert publisher.partition_count(DEADLINE_S) == 2
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(DEADLINE_S)
    deadline_s = time.monotonic() + DEADLINE_S
    while publisher.partition_count(DEADLINE_S) != 5:
        assert time.monotonic() < deadline_s
    for sensor in JAVA_MURMUR2:
        publisher.publish(sensor, a_frame())
    assert publisher.close(DEADLINE_S) == 0
    found = {r.sensor: r.partition for r in records_of(kafka.bootstrap_servers, topic, len(JAVA_MURMUR2))}
    assert found == {key: java_partition(value, 5) for key, value in JAVA_MURMUR2.items()}
