"""A sink with a spool: live while the broker takes frames, else the spool; never both, never neither."""

import logging
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from confluent_kafka import Producer

from producers.capture import Capture, CaptureSettings
from producers.client import PublisherSettings
from producers.framer import FramerSettings
from producers.keeper import Keeper
from producers.publisher import FramePublisher
from producers.readback import LogReader, read_back, still_leaving
from producers.spool import SpoolSettings, what_waits
from producers.spooling import SpoolingSink
from schemas.codec import Codec
from schemas.errors import ConfigurationError
from schemas.topics import Topics
from tests.producers.conftest import (
    DEADLINE_S,
    ArraySource,
    ManualClock,
    a_frame,
    counting,
    heard,
    records_of,
)
from tests.producers.test_spool import small_disk

NOBODY = "127.0.0.1:1"


@pytest.fixture
def topics() -> Topics:
    return Topics(f"t{uuid.uuid4().hex[:12]}")


def until(condition: Callable[[], object]) -> None:
    deadline_s, never = time.monotonic() + DEADLINE_S, Event()
    while not condition():
        assert time.monotonic() < deadline_s
        never.wait(0.02)


def told(directory: Path, **more: float) -> SpoolSettings:
    given = {"after_s": 0.5, "drain_rate": 100.0, **more}
    return SpoolSettings(directory=directory, synchronous="normal", **given)  # type: ignore[arg-type]


def sink_to(servers: str, topics: Topics, spool: SpoolSettings, room: int = 1000) -> SpoolingSink:
    client = {"bootstrap.servers": servers}
    return SpoolingSink(client, topics, Codec(), PublisherSettings(buffer_frames=room), spool)


def make(servers: str, *names: str) -> None:
    """Have the embedded broker make topics."""
    producer = Producer({"bootstrap.servers": servers})
    for name in names:
        until(lambda name=name: producer.list_topics(name, DEADLINE_S).topics[name].partitions)  # type: ignore[misc]


def test_while_the_broker_takes_frames_they_are_live_and_the_spool_stays_empty(
    embedded: str, topics: Topics, tmp_path: Path
) -> None:
    make(embedded, topics.frames, topics.backfill)
    sink = sink_to(embedded, topics, told(tmp_path, commit_ms=1000.0))
    assert sink.spool.live
    assert all(sink.publish("roof", a_frame(320 * k)) for k in range(50))
    until(lambda: sink.counts.acknowledged == 50)
    assert what_waits(tmp_path) == []
    assert sink.close(DEADLINE_S) == 0
    records = records_of(embedded, topics.frames, 50)
    assert [record.frame.first_sample for record in records] == [320 * k for k in range(50)]


def test_what_is_captured_while_nobody_answers_waits_in_order_and_is_no_loss(
    topics: Topics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink, sound = sink_to(NOBODY, topics, told(tmp_path)), counting(16_000)
    played = Capture("roof", sink, clock=ManualClock()).play([ArraySource(sound)], Event())
    assert (played.samples, played.losses, played.epochs) == (16_000, 0, 1)
    assert sink.spool.as_words() == ["50 spooled", "BROKER AWAY"]
    assert sink.close(DEADLINE_S) == 0
    keeper = Keeper(told(tmp_path), topics.frames)
    assert np.array_equal(heard([spooled.frame for spooled in keeper.backlog(0, 1000)]), sound)
    keeper.close()
    assert f"{topics.frames}: sound waits in the spool: " in caplog.text


def test_what_waits_goes_to_the_backfill_at_the_next_start_while_live_sound_goes_on(
    embedded: str, topics: Topics, tmp_path: Path
) -> None:
    make(embedded, topics.frames, topics.backfill)
    past, live = counting(16_000), -counting(8_000)
    sink = sink_to(NOBODY, topics, told(tmp_path))
    Capture("roof", sink, clock=ManualClock()).play([ArraySource(past)], Event())
    sink.close(DEADLINE_S)
    sink = sink_to(embedded, topics, told(tmp_path))
    Capture("roof", sink, clock=ManualClock()).play([ArraySource(live)], Event())
    sink.finish(Event())
    assert (sink.spool.drained, sink.spool.kept.waiting) == (50, 0)
    assert sink.close(DEADLINE_S) == 0
    assert np.array_equal(heard([r.frame for r in records_of(embedded, topics.backfill, 50)]), past)
    assert np.array_equal(heard([r.frame for r in records_of(embedded, topics.frames, 25)]), live)
    assert what_waits(tmp_path) == []


def test_what_the_log_has_already_is_not_sent_again(embedded: str, topics: Topics, tmp_path: Path) -> None:
    make(embedded, topics.frames, topics.backfill)
    log, client = LogReader({"bootstrap.servers": embedded}, Codec()), {"bootstrap.servers": embedded}
    keeper = Keeper(told(tmp_path), topics.frames)
    for topic, there in ((topics.frames, range(10)), (topics.backfill, range(10, 15))):
        keeper.begin_at(*_places(log, topic))
        publisher = FramePublisher(client, topic, Codec())
        for k in there:
            publisher.publish("roof", a_frame(320 * k))
        publisher.close(DEADLINE_S)
    for k in range(5, 20):
        keeper.take("roof", a_frame(320 * k), flying=False)
    keeper.close()
    sink = sink_to(embedded, topics, told(tmp_path))
    sink.finish(Event())
    assert (sink.spool.found, sink.spool.drained) == (10, 5)
    sink.close(DEADLINE_S)
    firsts = [record.frame.first_sample // 320 for record in records_of(embedded, topics.backfill, 10)]
    assert firsts == list(range(10, 20))


def _places(log: LogReader, topic: str) -> tuple[str, str, dict[int, int]]:
    cluster, ends = log.ends(topic)
    return cluster, topic, ends


def test_the_log_of_another_cluster_or_from_before_the_spool_is_not_read(
    embedded: str, topics: Topics, tmp_path: Path
) -> None:
    make(embedded, topics.frames)
    publisher = FramePublisher({"bootstrap.servers": embedded}, topics.frames, Codec())
    publisher.publish("roof", a_frame())
    publisher.close(DEADLINE_S)
    log, keeper = LogReader({"bootstrap.servers": embedded}, Codec()), Keeper(told(tmp_path), topics.frames)
    keeper.take("roof", a_frame(), flying=False)
    assert read_back(log, keeper, topics.frames, Event()) == 0, "nothing was ever sent from here"
    _, ends = log.ends(topics.frames)
    keeper.begin_at("another cluster", topics.frames, dict.fromkeys(ends, 0))
    assert read_back(log, keeper, topics.frames, Event()) == 0
    keeper.begin_at(*_places(log, topics.frames))
    assert read_back(log, keeper, topics.frames, Event()) == 0, "it is from before"
    keeper.close()


def test_a_buffer_that_is_full_and_frames_that_fail_are_no_loss_and_end_the_epoch(
    embedded: str, topics: Topics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(embedded, topics.frames, topics.backfill)
    sink, sound = sink_to(embedded, topics, told(tmp_path, after_s=60.0), room=2), counting(32_000)
    how = CaptureSettings(framer=FramerSettings(frame_ms=10))
    played = Capture("roof", sink, how, ManualClock()).play([ArraySource(sound)], Event())
    sink.finish(Event())
    sink.close(DEADLINE_S)
    assert (played.samples, played.losses) == (32_000, 0)
    assert played.epochs > 1
    assert "sound is being lost" not in caplog.text
    live = records_of(embedded, topics.frames, sink.counts.acknowledged - sink.spool.drained)
    past = records_of(embedded, topics.backfill, sink.spool.drained)
    frames = sorted((r.frame for r in live + past), key=lambda frame: (frame.epoch, frame.first_sample))
    assert np.array_equal(heard(frames), sound)
    assert len(frames) == 200


def test_a_full_disk_while_nobody_answers_is_a_loss_that_is_counted_and_opens_an_epoch(
    topics: Topics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        sink = sink_to(NOBODY, topics, told(disk))
        source = ArraySource(counting(2_000_000, 2), 384_000, 38_400)
        played = Capture("roof", sink, clock=ManualClock()).play([source], Event())
        assert played.losses > 0
        assert 0 < played.lost_samples == 2_000_000 - played.samples
        assert "the spool cannot be written: " in caplog.text
        said = [r.getMessage() for r in caplog.records if "sound was lost" in r.getMessage()]
        assert "the broker takes nothing, and the spool cannot be written" in said[0]
        assert sink.close(0.0) > 0, "what memory held is in neither place"


def test_a_sensor_that_cannot_be_a_key_is_refused_and_leaves_nothing(
    embedded: str, topics: Topics, tmp_path: Path
) -> None:
    make(embedded, topics.frames)
    sink = sink_to(embedded, topics, told(tmp_path))
    with pytest.raises(ConfigurationError, match="sensor"):
        sink.publish("two\nlines", a_frame())
    sink.close(DEADLINE_S)
    assert what_waits(tmp_path) == []


def test_a_frame_that_can_never_be_sent_does_not_hold_up_those_behind_it(
    embedded: str, topics: Topics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(embedded, topics.frames, topics.backfill)
    keeper = Keeper(told(tmp_path), topics.frames)
    for sensor in ("two\nlines", "roof"):
        keeper.take(sensor, a_frame(), flying=False)
    keeper.close()
    sink = sink_to(embedded, topics, told(tmp_path))
    sink.finish(Event())
    assert sink.spool.as_words() == ["1 REFUSED, set aside in the spool", "1 to the backfill"]
    assert "can never be sent" in caplog.text
    sink.close(DEADLINE_S)


def test_who_is_stopped_while_the_spool_waits_leaves_it_for_the_next_start(
    topics: Topics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sink, stop = sink_to(NOBODY, topics, told(tmp_path)), Event()
    sink.publish("roof", a_frame())
    stop.set()
    sink.finish(stop)
    assert sink.close(0.0) == 0
    assert [waits.frames for waits in what_waits(tmp_path)] == [1]


def test_a_request_that_the_system_still_delivers_for_the_dead_is_seen() -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("no /proc/net/tcp: not Linux")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        broker, _ = server.accept()
        client.setblocking(False)
        try:
            while client.send(bytes(65_536)):
                pass
        except BlockingIOError:
            pass
        assert not still_leaving({port})
        client.close()
        assert still_leaving({port})
        assert not still_leaving({port + 1})
        while broker.recv(1 << 20):
            pass
        broker.close()
        until(lambda: not still_leaving({port}))
