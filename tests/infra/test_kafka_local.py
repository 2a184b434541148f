"""A real broker: it starts, keeps records, comes back after a crash and is never left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import psutil
import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local.errors import MissingToolError, ServerStartError
from infra.local.java import find_java
from infra.local.kafka import KafkaServer, Listener, start_cluster, start_kafka
from infra.local.kafka_docker import container_environment

DEADLINE_S = 30.0
LONG_AGO_MS = 1_000_000_000_000
CHILD = """
import sys
from infra.local.kafka import start_kafka
with start_kafka() as kafka:
    print(kafka.pid, flush=True)
    sys.stdin.read()
"""


def test_a_record_comes_back_with_the_brokers_time(kafka: KafkaServer, topic_prefix: str) -> None:
    create_topic(kafka, topic_prefix, {"message.timestamp.type": "LogAppendTime"})
    produce(kafka, topic_prefix, b"hello", timestamp_ms=LONG_AGO_MS)
    record = read_one(kafka, topic_prefix)
    kind, time_ms = record.timestamp()
    assert record.value() == b"hello"
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert abs(time_ms - time.time() * 1000) < 60_000


def test_a_topic_nobody_created_is_not_created_by_asking(kafka: KafkaServer, topic_prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.list_topics(topic_prefix, timeout=DEADLINE_S)
    assert topic_prefix not in admin.list_topics(timeout=DEADLINE_S).topics


def test_a_killed_broker_comes_back_with_its_log_and_a_stopped_one_leaves_nothing(
    java: None,
) -> None:
    with start_kafka({"message.max.bytes": "2000000"}) as kafka:
        directory = kafka.plan.directory
        create_topic(kafka, "kept", {})
        produce(kafka, "kept", b"before")
        kafka.kill()
        assert not kafka.running
        kafka.start()
        assert read_one(kafka, "kept").value() == b"before"
        process = psutil.Process(kafka.pid)
        guards = guards_of(kafka.pid)
        assert len(guards) == 1
    assert not process.is_running()
    assert not guards[0].is_running()
    assert not directory.exists()


def test_a_cluster_keeps_what_was_acknowledged_when_a_node_is_killed(java: None) -> None:
    with start_cluster(3, listeners={"FURTHER": Listener("127.0.0.1")}) as cluster:
        create_topic(cluster, "kept", {}, replicas=3)
        produce(cluster, "kept", b"before")
        cluster.nodes[0].kill()
        produce(cluster, "kept", b"while one is away")
        admin = AdminClient({"bootstrap.servers": cluster.addresses("FURTHER")})
        assert set(admin.list_topics(timeout=DEADLINE_S).topics) >= {"kept"}
        cluster.start()
        assert all(node.running for node in cluster.nodes)
        assert read_one(cluster, "kept").value() == b"before"


def test_a_broker_does_not_outlive_a_killed_parent(java: None, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with parent:
        assert parent.stdout is not None
        broker = psutil.Process(int(parent.stdout.readline()))
        assert broker.is_running()
        parent.send_signal(signal.SIGKILL)
        psutil.wait_procs([broker], timeout=DEADLINE_S)
    assert not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE


def test_a_broker_that_does_not_start_quotes_its_own_words(java: None) -> None:
    nonsense = {"log.segment.bytes": "many"}
    with pytest.raises(ServerStartError, match=r"log\.segment\.bytes"), start_kafka(nonsense):
        pytest.fail("a broker with nonsensical settings started")


def test_without_java_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(MissingToolError, match=r"java.*install.*openjdk"):
        find_java()


@pytest.mark.parametrize(
    "script",
    ["echo 'openjdk version \"11.0.2\"' >&2", "echo 'no runtime' >&2; exit 1"],
    ids=["too old", "a stub that only complains"],
)
def test_a_java_that_cannot_run_kafka_is_not_taken(
    script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    launcher = tmp_path / "bin" / "java"
    launcher.parent.mkdir()
    launcher.write_text(f"#!/bin/sh\n{script}\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingToolError, match="java 17"):
        find_java()


def test_a_container_is_told_the_same_options_under_the_images_names() -> None:
    environment = container_environment("127.0.0.1:1234", {"log.segment.bytes": "1000000"})
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment["KAFKA_LOG_SEGMENT_BYTES"] == "1000000"
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:1234"


@pytest.fixture
def java() -> None:
    """Java is on this machine, or this is no build machine and the test is skipped."""
    try:
        find_java()
    except MissingToolError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


class Answers(Protocol):
    """A broker, or several."""

    @property
    def bootstrap_servers(self) -> str: ...


def create_topic(kafka: Answers, name: str, config: dict[str, str], replicas: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(name, 1, replicas, config=config)])[name].result(DEADLINE_S)


def produce(kafka: Answers, topic: str, value: bytes, timestamp_ms: int = 0) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    producer.produce(topic, value, timestamp=timestamp_ms)
    assert producer.flush(DEADLINE_S) == 0


def read_one(kafka: Answers, topic: str) -> Message:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    deadline_s = time.monotonic() + DEADLINE_S
    try:
        while time.monotonic() < deadline_s:
            record = consumer.poll(0.5)
            if record is not None and record.error() is None:
                return record
    finally:
        consumer.close()
    pytest.fail(f"no record in {topic} within {DEADLINE_S:g} s")


def guards_of(pid: int) -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if child.cmdline()[-2:] == ["guard", str(pid)]]
