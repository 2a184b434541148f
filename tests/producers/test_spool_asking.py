"""When a sink with a spool finds the broker back: on a slow line, without a registry, with a new topic."""

import asyncio
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from producers.asker import Complaint
from producers.client import PublisherSettings
from producers.errors import SpoolFullError
from producers.keeper import Keeper
from producers.publisher import FramePublisher
from producers.readback import LogReader, read_back
from producers.spooling import SpoolingSink
from schemas.codec import Codec
from schemas.registry import BOUNDED, ConfluentRegistry
from schemas.topics import Topics
from tests.integration.registry_server import registry_server
from tests.producers.conftest import DEADLINE_S, a_frame
from tests.producers.test_spool_sink import NOBODY, make, sink_to, told, topics, until

__all__ = ["topics"]
ONE_WAY_S = 0.4


@contextmanager
def slow_line(to: str, one_way_s: float) -> Iterator[str]:
    """Give an address from which every byte takes so long to another one and back."""
    host, port = to.split(":")
    loop, bound = asyncio.new_event_loop(), Event()
    address: list[str] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            loop.call_later(one_way_s, writer.write, data)
        loop.call_later(one_way_s, writer.close)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pipe(reader, there_writer), pipe(there_reader, writer), return_exceptions=True)

    async def listen() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address.append(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        bound.set()

    def run() -> None:
        loop.run_until_complete(listen())
        loop.run_forever()

    thread = Thread(target=run, daemon=True)
    thread.start()
    assert bound.wait(DEADLINE_S)
    yield address[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_broker_on_a_slow_line_is_not_taken_for_away_for_ever(
    embedded: str, topics: Topics, tmp_path: Path
) -> None:
    make(embedded, topics.frames, topics.backfill)
    with slow_line(embedded, ONE_WAY_S) as servers:
        sink = sink_to(servers, topics, told(tmp_path))
        assert not sink.spool.live
        until(lambda: sink.spool.live)
        assert sink.close(DEADLINE_S) == 0


def test_without_its_registry_a_producer_keeps_its_sound_until_the_registry_is_back(
    embedded: str, topics: Topics, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(embedded, topics.frames, topics.backfill)
    with registry_server() as server:
        server.stop()
        codec = Codec(ConfluentRegistry(SchemaRegistryClient({"url": server.url, **BOUNDED})))
        client = {"bootstrap.servers": embedded}
        sink = SpoolingSink(client, topics, codec, PublisherSettings(), told(tmp_path))
        for number in range(3):
            sink.publish("roof", a_frame(320 * number))
        assert sink.spool.as_words() == ["3 spooled", "BROKER AWAY"]
        until(lambda: "sound waits in the spool: registry.url" in caplog.text)
        server.start()
        sink.finish(Event())
        assert (sink.spool.drained, sink.spool.kept.waiting, sink.spool.live) == (3, 0, True)
        assert sink.close(DEADLINE_S) == 0


def test_who_can_wait_waits_for_room_in_the_file_and_nothing_is_given_up(
    topics: Topics, tmp_path: Path
) -> None:
    sink, stop = sink_to(NOBODY, topics, told(tmp_path, max_bytes=1 << 20, commit_ms=1.0)), Event()
    taken: list[int] = []

    def play() -> None:
        with suppress(SpoolFullError):
            while True:
                sink.publish_waiting("roof", a_frame(3200 * len(taken), 3200), stop)
                taken.append(1)

    player = Thread(target=play)
    player.start()
    until(lambda: sink._keeper.crowded and not len(sink._keeper._pending))
    stop.set()
    player.join()
    assert sink.close(0.0) == 0
    assert len(taken) > 50
    assert (sink.spool.kept.waiting, sink.spool.kept.given_up) == (len(taken), 0)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    embedded: str, topics: Topics, tmp_path: Path
) -> None:
    make(embedded, topics.frames)
    client = {"bootstrap.servers": embedded}
    publisher = FramePublisher(client, topics.frames, Codec())
    publisher.publish("roof", a_frame())
    publisher.close(DEADLINE_S)
    log, keeper = LogReader(client, Codec()), Keeper(told(tmp_path), topics.frames)
    cluster, ends = log.ends(topics.frames)
    keeper.begin_at(cluster, topics.frames, dict.fromkeys(ends, 1000))
    keeper.take("roof", a_frame(), flying=False)
    assert read_back(log, keeper, topics.frames, Event()) == 1
    assert set(keeper.positions(cluster, topics.frames).values()) >= {0}, "as the next start will find it"
    keeper.close()


def test_a_new_reason_is_said_at_once_and_the_same_one_seldom(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    complaint = Complaint(f"t{uuid.uuid4().hex}")
    for reason in ("nobody listens", "nobody listens", "the password is wrong", "the password is wrong"):
        complaint.say(reason)
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "nobody listens",
        "the password is wrong",
    ]
    complaint.said_s -= 601.0
    complaint.say("the password is wrong")
    assert len(caplog.records) == 3
