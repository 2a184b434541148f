"""What the broker will never take is set aside in the spool, and what stands behind it goes on in order."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local.kafka import KafkaServer
from producers.client import PublisherSettings
from producers.keeper import Keeper
from producers.spool import FILE, SpoolSettings
from producers.spooling import SpoolingSink
from schemas.codec import Codec
from schemas.topics import Topics
from tests.producers.conftest import DEADLINE_S, a_frame, records_of

MOST_BYTES = 3000


@pytest.fixture
def topics(kafka: KafkaServer, topic_prefix: str) -> Iterator[Topics]:
    """Topics of which that of the past takes small batches only."""
    topics, admin = Topics(topic_prefix), AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    small = {"max.message.bytes": str(MOST_BYTES)}
    made = admin.create_topics([NewTopic(topics.frames, 1), NewTopic(topics.backfill, 1, config=small)])
    for future in made.values():
        future.result(DEADLINE_S)
    yield topics
    admin.delete_topics(list(made))


def test_a_frame_too_large_for_the_topic_is_set_aside_and_those_too_large_together_are_not(
    kafka: KafkaServer, topics: Topics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = SpoolSettings(directory=tmp_path, drain_rate=100.0, synchronous="normal")
    keeper = Keeper(spool, topics.frames)
    sizes, first = [320] * 10 + [MOST_BYTES] + [320] * 10, 0
    for samples in sizes:
        keeper.take("roof", a_frame(first, samples), flying=False)
        first += samples
    keeper.close()
    client = {"bootstrap.servers": kafka.bootstrap_servers}
    sink = SpoolingSink(client, topics, Codec(), PublisherSettings(linger_ms=200.0), spool)
    sink.finish(Event())
    assert (sink.spool.drained, sink.spool.kept.refused, sink.spool.kept.waiting) == (20, 1, 0)
    assert not sink.spool.kept.whole
    assert sink.close(DEADLINE_S) == 0
    assert "can never be sent, and is set aside in it: Broker: Message size too large" in caplog.text
    firsts = [
        record.frame.first_sample for record in records_of(kafka.bootstrap_servers, topics.backfill, 20)
    ]
    assert firsts == [320 * k for k in range(10)] + [3200 + MOST_BYTES + 320 * k for k in range(10)]
    db = sqlite3.connect(tmp_path / FILE)
    assert db.execute("SELECT first_sample FROM refused").fetchall() == [(3200,)]
    db.close()
