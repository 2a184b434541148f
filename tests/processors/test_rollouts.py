"""Rollouts as workers read them from real control topics: what counts, and how long it is known."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from confluent_kafka import Producer

from earwitness.topics import TopicAdmin
from infra.local.kafka import KafkaServer
from processors.decision import Decision
from processors.rollouts import FAR_S, LEASE_S, Rollouts
from schemas.codec import Codec
from schemas.errors import ConfigurationError, StopError
from schemas.rollout import LEAD_S, Mode, Rollout
from schemas.topics import Topics
from tests.processors.logs import make_decision, seeded
from tests.processors.shell import until_listed

DEADLINE_S = 30.0
FIRST = make_decision(seeded(1), plain=True)


def other(version: str) -> Decision:
    return Decision(FIRST.spec.model_copy(update={"version": version}), FIRST.rules)


@pytest.fixture
def topics(kafka: KafkaServer, topic_prefix: str) -> Topics:
    made, admin = Topics(topic_prefix), TopicAdmin({"bootstrap.servers": kafka.bootstrap_servers})
    until_listed(admin, admin.create(made, partitions=1, replicas=1, retention_days=1), partitions=1)
    return made


class Writer:
    """Writes to a control topic, as the command does, or as nobody should."""

    def __init__(self, kafka: KafkaServer, topics: Topics) -> None:
        self._producer, self._topic = Producer({"bootstrap.servers": kafka.bootstrap_servers}), topics.control
        self._keys = 0

    def write(self, value: bytes) -> None:
        self._keys += 1
        self._producer.produce(self._topic, value, str(self._keys).encode(), partition=0)
        assert self._producer.flush(DEADLINE_S) == 0

    def announce(self, in_s: float, version: str = "2") -> Rollout:
        at_us = (round(time.time() * 1000) + round(in_s * 1000)) * 1000
        rollout = Rollout(at_us, Mode.SWITCH, other(version).spec.model_dump_json(), None, None)
        self.write(Codec().encode(rollout))
        return rollout


@pytest.fixture
def writer(kafka: KafkaServer, topics: Topics) -> Writer:
    return Writer(kafka, topics)


def reading(kafka: KafkaServer, *frames: str, now_s: Callable[[], float] = time.monotonic) -> Rollouts:
    return Rollouts({"bootstrap.servers": kafka.bootstrap_servers}, Codec(), FIRST, frames, now_s=now_s)


def test_what_is_announced_in_time_counts_and_the_rest_is_ignored_for_ever(
    kafka: KafkaServer, topics: Topics, writer: Writer
) -> None:
    good = writer.announce(LEAD_S + 5)
    writer.announce(LEAD_S - 1)
    writer.announce(-60)
    writer.announce(FAR_S + 60)
    writer.write(b"")
    writer.write(b"junk")
    writer.write(b"\x00\x00\x00\x00\x07junk")
    writer.write(b"\xc3\x01" + bytes(8))
    writer.write(Codec().encode(replace(good, at_us=good.at_us * 1000)))
    for _ in range(2):  # whoever comes later decides the same
        rollouts = reading(kafka, topics.frames)
        rollouts.refresh()
        assert rollouts.announced(topics.frames) == [good]
        assert rollouts.ignored == 8
        assert rollouts.courses[topics.frames].decision(0.0, good.at_ms - 1) is FIRST
        counts = rollouts.courses[topics.frames].decision(0.0, good.at_ms)
        assert counts is not None
        assert counts.digest == other("2").digest
        rollouts.close()


def test_what_is_new_is_read_once_and_a_cancel_takes_it_back(
    kafka: KafkaServer, topics: Topics, writer: Writer
) -> None:
    rollouts = reading(kafka, topics.frames)
    rollouts.refresh()
    assert rollouts.needed({topics.frames: 0}) == [FIRST]
    announced = writer.announce(LEAD_S + 5)
    rollouts.refresh()
    assert [d.spec.version for d in rollouts.needed({topics.frames: 0})] == ["1", "2"]
    assert [d.spec.version for d in rollouts.needed({topics.frames: announced.at_ms})] == ["2"]
    writer.write(Codec().encode(Rollout(announced.at_us, Mode.CANCEL, None, None, None)))
    rollouts.refresh()
    assert rollouts.needed({topics.frames: 0}) == [FIRST]
    rollouts.close()


def test_all_is_known_for_as_long_as_the_lease_once_what_was_read_is_in_use(
    kafka: KafkaServer, topics: Topics
) -> None:
    now = [100.0]
    rollouts = reading(kafka, topics.frames, now_s=lambda: now[0])
    assert not rollouts.fresh
    began_s = rollouts.refresh()
    assert not rollouts.fresh
    rollouts.confirm(began_s)
    assert rollouts.fresh
    now[0] += LEASE_S - 0.01
    assert rollouts.fresh
    now[0] += 0.02
    assert not rollouts.fresh
    rollouts.close()


def test_what_one_tenant_announced_is_kept_though_anothers_topic_cannot_be_read(
    kafka: KafkaServer, topics: Topics, writer: Writer
) -> None:
    rollouts = reading(kafka, topics.frames, Topics("nobody").frames)
    announced = writer.announce(LEAD_S + 5)
    with pytest.raises(Exception, match=r"nobody\.audio\.control|[Uu]nknown topic"):
        rollouts.refresh()
    assert not rollouts.fresh
    assert rollouts.announced(topics.frames) == [announced]
    assert [stage.at_ms for stage in rollouts.courses[topics.frames].stages] == [announced.at_ms]
    rollouts.close()


def test_a_shadow_hears_what_is_in_the_shadow_and_nothing_else(
    kafka: KafkaServer, topics: Topics, writer: Writer
) -> None:
    plain = writer.announce(LEAD_S + 5)
    model, candidate = (other(version).spec.model_dump_json() for version in ("2", "3"))
    shadow = Rollout(plain.at_us + 1_000_000, Mode.SHADOW, model, candidate, None)
    writer.write(Codec().encode(shadow))
    client = {"bootstrap.servers": kafka.bootstrap_servers}
    rollouts = Rollouts(client, Codec(), FIRST, [topics.frames], shadow=True)
    rollouts.refresh()
    course = rollouts.courses[topics.frames]
    assert course.decision(0.0, plain.at_ms - 1) is course.decision(0.0, plain.at_ms) is None
    heard = course.decision(0.0, shadow.at_ms)
    assert heard is not None
    assert heard.spec.version == "3"
    rollouts.close()


def test_a_control_topic_that_was_made_anew_ends_the_worker(kafka: KafkaServer, topics: Topics) -> None:
    rollouts = reading(kafka, topics.frames)
    rollouts.refresh()
    rollouts._next[topics.frames] = 5  # as if there had been records
    with pytest.raises(StopError, match="made anew") as stopped:
        rollouts.refresh()
    assert not isinstance(stopped.value, ConfigurationError)
    rollouts.close()
