"""What is in the log is acknowledged, what is not is not, and everything is where its frame was, in order."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from earwitness.topics import TopicAdmin
from infra.local.kafka import KafkaServer, start_kafka
from processors.partition import TICK_HEADER, Output
from processors.publish import Publisher, topic_of
from schemas.codec import Codec
from schemas.coverage import Coverage
from schemas.deadletter import DeadLetter, Header
from schemas.detection import Detection, DetectionState
from schemas.errors import DeliveryError
from schemas.sensor import SensorState
from schemas.topics import Topics
from tests.processors.shell import DEADLINE_S, TOPICS, broker_with_topics, end_of, read, until, until_listed

ACTIVE = Detection(
    id="9d3f1f5e-0f0c-5a0b-8b8e-0f5e5c1b2a3d",
    sensor="roof",
    label="siren",
    state=DetectionState.ACTIVE,
    epoch="01900000-0000-7000-8000-00000000000a",
    start_sample=0,
    end_sample=1600,
    sample_rate_hz=16_000,
    start_us=1_750_000_000_000_000,
    end_us=1_750_000_000_100_000,
    peak_score=0.75,
    windows=1,
    threshold=0.5,
    continued=False,
    missing_samples=0,
    model_name="tiny",
    model_version="1",
    decision_digest="00" * 32,
    topic=TOPICS.frames,
    partition=2,
    first_offset=3,
    last_offset=7,
)
LETTER = DeadLetter(
    topic=TOPICS.frames,
    partition=1,
    offset=41,
    exception="MalformedRecordError",
    message="it begins with 68656c6c6f",
    key=b"\xff\x00",
    value=b"hello\x00\xff",
    headers=(("traceparent", b"00-ab"), ("empty", b""), ("null", None), ("traceparent", b"00-cd")),
)


@dataclass
class Fates:
    """What a publisher has reported."""

    published: list[tuple[Output, int]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def publisher(self, broker: str, options: Mapping[str, Any] | None = None) -> Publisher:
        """Open a publisher that reports here."""
        client = {"bootstrap.servers": broker, **(options or {})}
        return Publisher(client, Codec(), headers_of, self.add, self.failures.append)

    def add(self, output: Output, appended_ms: int) -> None:
        self.published.append((output, appended_ms))


def headers_of(output: Output) -> list[Header]:
    return [("earwitness-scorer", b"tiny")]


def output_of(
    record: Detection | Coverage | SensorState | DeadLetter,
    held: dict[object, int],
    partition: int = 2,
    topic: str = TOPICS.frames,
) -> Output:
    """Make an output that holds offset 3 until it is acknowledged."""
    key = record.key if isinstance(record, DeadLetter) else b"roof"
    output = Output(topic, partition, key, record, None, held)
    held[output] = 3
    return output


@pytest.fixture
def broker() -> Iterator[str]:
    with broker_with_topics() as address:
        yield address


async def test_an_acknowledged_output_releases_its_hold_and_is_in_the_log(broker: str) -> None:
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher(broker)
    output = output_of(ACTIVE, held)
    publisher.send([output])
    assert publisher.unacknowledged == 1
    assert held == {output: 3}
    assert await publisher.drain(DEADLINE_S)
    assert (publisher.unacknowledged, held, fates.failures) == (0, {}, [])
    await publisher.close(0)

    (found,) = read(broker, TOPICS.detections, 1)
    assert [output for output, _ in fates.published] == [output]
    assert (found.partition, found.key) == (2, b"roof")
    assert Codec().decode(Detection, found.value) == ACTIVE
    assert found.headers == [("earwitness-scorer", b"tiny")]


async def test_on_kafka_an_acknowledgement_carries_the_append_time(
    kafka: KafkaServer, topic_prefix: str
) -> None:
    topics, servers = Topics(topic_prefix), kafka.bootstrap_servers
    admin = TopicAdmin({"bootstrap.servers": servers})
    until_listed(admin, admin.create(topics, partitions=3, replicas=1, retention_days=1))
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher(servers)
    outputs = [output_of(record, held, topic=topics.frames) for record in (ACTIVE, LETTER)]
    publisher.send(outputs)
    assert await publisher.drain(DEADLINE_S)
    await publisher.close(0)
    appended_ms = {topic_of(output): at_ms for output, at_ms in fates.published}
    for topic in (topics.detections, topics.dead_letters):
        (found,) = read(servers, topic, 1)
        assert (found.partition, found.timestamp_ms) == (2, appended_ms[topic])


async def test_ended_stands_behind_active(broker: str) -> None:
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher(broker)
    said = []
    for n in range(100):
        active = replace(ACTIVE, id=f"{n}", start_sample=n)
        said += [active, replace(active, state=DetectionState.ENDED, peak_score=None)]
        publisher.send([output_of(record, held) for record in said[-2:]])
    assert await publisher.drain(DEADLINE_S)
    await publisher.close(0)
    found = sorted(read(broker, TOPICS.detections, len(said)), key=lambda record: record.offset)
    assert [Codec().decode(Detection, record.value) for record in found] == said
    assert [output.record for output, _ in fates.published] == said


async def test_a_dead_letter_keeps_key_value_and_headers_byte_for_byte(broker: str) -> None:
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher(broker)
    empty = replace(LETTER, offset=42, key=None, value=None, headers=())
    publisher.send([output_of(LETTER, held, partition=1), output_of(empty, held, partition=1)])
    assert await publisher.drain(DEADLINE_S)
    await publisher.close(0)

    first, second = read(broker, TOPICS.dead_letters, 2)
    assert (first.partition, first.key, first.value) == (1, LETTER.key, LETTER.value)
    assert first.headers[:4] == list(LETTER.headers)
    assert dict(first.headers[4:]) == {
        "__streams.errors.topic": b"audio.frames",
        "__streams.errors.partition": b"1",
        "__streams.errors.offset": b"41",
        "__streams.errors.exception": b"MalformedRecordError",
        "__streams.errors.message": b"it begins with 68656c6c6f",
    }
    assert DeadLetter.from_wire(first.key, first.value, first.headers) == LETTER
    assert DeadLetter.from_wire(second.key, second.value, second.headers) == empty


async def test_outputs_go_to_the_topics_of_their_own_tenant() -> None:
    acme, held = Topics("acme"), dict[object, int]()
    detection = output_of(replace(ACTIVE, topic=acme.frames), held, topic=acme.frames)
    letter = output_of(replace(LETTER, topic=acme.frames), held, topic=acme.frames)
    assert (topic_of(detection), topic_of(letter)) == (acme.detections, acme.dead_letters)
    fates = Fates()
    with broker_with_topics(acme) as broker:
        publisher = fates.publisher(broker)
        publisher.send([detection])
        assert await publisher.drain(DEADLINE_S)
        await publisher.close(0)
        assert len(read(broker, "acme.audio.detections", 1)) == 1


async def test_what_does_not_fit_into_the_queue_waits_and_keeps_its_order(broker: str) -> None:
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher(broker, {"queue.buffering.max.messages": 2})
    said = [replace(ACTIVE, id=f"{n}") for n in range(20)]
    publisher.send([output_of(record, held) for record in said])
    assert publisher.full
    assert publisher.unacknowledged == 20
    assert await publisher.drain(DEADLINE_S)
    assert not publisher.full
    await publisher.close(0)
    assert [output.record for output, _ in fates.published] == said
    assert (held, fates.failures) == ({}, [])


async def test_a_partition_that_does_not_exist_is_a_failure_and_no_acknowledgement(broker: str) -> None:
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher(broker)
    output = output_of(ACTIVE, held, partition=99)
    publisher.send([output])
    await publisher.drain(DEADLINE_S)
    assert isinstance(fates.failures[0], DeliveryError)
    # The client knows the partitions by now, and refuses at once, as it may have before.
    publisher.send([output])
    assert len(fates.failures) == 2
    for failure in fates.failures:
        assert str(failure).startswith("cannot publish to audio.detections[99]: ")
        assert "Local: Unknown partition" in str(failure)
        assert "KafkaError{" not in str(failure)
    assert (fates.published, held) == ([], {output: 3})
    await publisher.close(0)


async def test_a_broker_that_is_away_is_a_failure_with_its_reason_and_no_acknowledgement() -> None:
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher("127.0.0.1:1", {"delivery.timeout.ms": 300})
    output = output_of(ACTIVE, held)
    publisher.send([output])
    await publisher.drain(DEADLINE_S)
    (failure,) = fates.failures
    assert isinstance(failure, DeliveryError)
    assert "cannot publish to audio.detections[2]: Local: Message timed out" in str(failure)
    assert "127.0.0.1:1" in str(failure)
    assert (fates.published, held) == ([], {output: 3})
    await publisher.close(0)


async def test_draining_gives_up_in_time_and_says_so() -> None:
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher("127.0.0.1:1")
    publisher.send([output_of(ACTIVE, held)])
    assert not await asyncio.wait_for(publisher.drain(0.05), DEADLINE_S)
    await publisher.close(0)
    assert publisher.unacknowledged == 1
    assert len(held) == 1


async def test_a_tick_is_an_empty_record_with_a_mark_in_the_frames_topic(broker: str) -> None:
    publisher = Fates().publisher(broker)
    publisher.tick(TOPICS.frames, 3)
    (found,) = await asyncio.to_thread(read, broker, TOPICS.frames, 1)
    assert (found.partition, found.key, found.value) == (3, None, None)
    assert found.headers == [(TICK_HEADER, b"1")]
    await publisher.close(0)


async def test_a_tick_waits_for_nobody() -> None:
    publisher = Fates().publisher("127.0.0.1:1", {"queue.buffering.max.messages": 1})
    for _ in range(3):
        publisher.tick(TOPICS.frames, 3)
    assert publisher.unacknowledged == 0
    await publisher.close(0)


@pytest.mark.parametrize(
    "size", [3 << 20, 9 << 20], ids=["more than a topic takes", "more than a client sends"]
)
async def test_a_dead_letter_that_no_topic_takes_says_what_it_leaves_out(
    kafka: KafkaServer, topic_prefix: str, size: int
) -> None:
    topics, servers = Topics(topic_prefix), kafka.bootstrap_servers
    admin = TopicAdmin({"bootstrap.servers": servers})
    until_listed(admin, admin.create(topics, partitions=3, replicas=1, retention_days=1))
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher(servers)
    publisher.send([output_of(replace(LETTER, value=bytes(size)), held, topic=topics.frames)])
    assert await publisher.drain(DEADLINE_S)
    await publisher.close(0)
    assert (held, fates.failures) == ({}, [])

    (found,) = read(servers, topics.dead_letters, 1)
    assert found.value is None
    letter = DeadLetter.from_wire(found.key, found.value, found.headers)
    assert (letter.key, letter.offset, letter.message) == (LETTER.key, LETTER.offset, LETTER.message)
    assert dict(letter.headers) == {
        "earwitness-value-bytes": str(size).encode(),
        "earwitness-value-sha256": hashlib.sha256(bytes(size)).hexdigest().encode(),
    }


@pytest.mark.parametrize(
    ("wrong", "key_kept"),
    [
        ({"key": bytes(3 << 20)}, False),
        ({"value": None, "headers": (("zeros", bytes(9 << 20)),)}, True),
        (
            {"value": None, "key": None, "headers": tuple(("x" * 1000, bytes(1000)) for _ in range(1500))},
            True,
        ),
    ],
    ids=["key", "header", "many headers"],
)
async def test_a_dead_letter_with_a_key_or_headers_that_no_topic_takes_is_published_without_them(
    kafka: KafkaServer, topic_prefix: str, wrong: dict[str, Any], key_kept: bool
) -> None:
    topics, servers = Topics(topic_prefix), kafka.bootstrap_servers
    admin = TopicAdmin({"bootstrap.servers": servers})
    until_listed(admin, admin.create(topics, partitions=3, replicas=1, retention_days=1))
    fates, held = Fates(), dict[object, int]()
    publisher, letter = fates.publisher(servers), replace(LETTER, **wrong)
    publisher.send([output_of(letter, held, topic=topics.frames)])
    assert await publisher.drain(DEADLINE_S)
    await publisher.close(0)
    assert (held, fates.failures) == ({}, [])

    (found,) = read(servers, topics.dead_letters, 1)
    back = DeadLetter.from_wire(found.key, found.value, found.headers)
    assert (back.offset, back.message, back.value) == (letter.offset, letter.message, None)
    assert back.key == (letter.key if key_kept else None)
    digest = hashlib.sha256(letter.key or b"").hexdigest().encode()
    assert dict(back.headers).get("earwitness-key-sha256") == (None if key_kept else digest)


@pytest.mark.timeout(120)
async def test_what_was_not_sent_when_all_was_let_go_is_never_appended_and_what_follows_is() -> None:
    fates, held = Fates(), dict[object, int]()
    one_by_one = {"max.in.flight.requests.per.connection": 1, "batch.num.messages": 1}
    with start_kafka() as node:
        admin = TopicAdmin({"bootstrap.servers": node.bootstrap_servers})
        until_listed(admin, admin.create(TOPICS, partitions=3, replicas=1, retention_days=1))
        publisher = fates.publisher(node.bootstrap_servers, one_by_one)
        publisher.send([output_of(ACTIVE, held)])
        assert await publisher.drain(DEADLINE_S)
        node.freeze()
        publisher.send([output_of(ACTIVE, held) for _ in range(100)])
        publisher.tick(TOPICS.frames, 2)
        publisher.forget_waiting()
        await until(lambda: publisher.unacknowledged <= 1)
        in_flight = publisher.unacknowledged
        node.thaw()
        publisher.send([output_of(ACTIVE, held)])
        assert await publisher.drain(DEADLINE_S)
        await publisher.close(0)
        assert (len(fates.published), len(held), fates.failures) == (2 + in_flight, 100 - in_flight, [])
        assert end_of(node.bootstrap_servers, TOPICS.detections, 2) == 2 + in_flight
