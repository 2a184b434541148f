"""Whoever asks a registry that is away waits once an outage, and finds it again when it is back."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from processors.asker import Asker
from schemas.codec import Codec, released_schemas
from schemas.errors import UnknownSchemaError
from schemas.frame import AudioFrame
from schemas.registry import ConfluentRegistry
from tests.integration.registry_server import Mood, RegistryServer, registry_server
from tests.processors.shell import until

FRAMES = released_schemas()[AudioFrame.NAME][-1]
WAIT_S = 1.0
QUICK = {"timeout": 0.3, "max.retries": 0}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as started:
        yield started


@asynccontextmanager
async def asker_of(server: RegistryServer, wait_s: float = WAIT_S) -> AsyncIterator[tuple[Asker, Codec]]:
    with SchemaRegistryClient({"url": server.url, **QUICK}) as client:
        codec = Codec(ConfluentRegistry(client))
        asker = Asker(codec, wait_s)
        yield asker, codec
        asker.close()


def a_schema(server: RegistryServer, doc: str) -> int:
    return server.put("frames", json.dumps({**FRAMES, "doc": doc}))


async def test_a_schema_that_many_ask_for_at_once_is_looked_up_once(server: RegistryServer) -> None:
    schema_id = a_schema(server, "new")
    async with asker_of(server) as (asker, codec):
        assert await asyncio.gather(*(asker.ask(schema_id) for _ in range(20))) == [None] * 20
        assert codec.knows(schema_id)
    assert server.asked(schema_id) == 1


async def test_an_id_that_nobody_has_is_asked_for_once_and_refused_from_then_on(
    server: RegistryServer,
) -> None:
    async with asker_of(server) as (asker, _):
        for _ in range(3):
            refusal = await asker.ask(4711)
            assert isinstance(refusal, UnknownSchemaError)
    assert server.asked(4711) == 1


@pytest.mark.parametrize(
    "mood", [Mood.HANGS, Mood.FAILS, None], ids=["hangs", "fails", "refuses connections"]
)
async def test_thousands_of_unknown_ids_wait_no_longer_than_one(
    server: RegistryServer, mood: Mood | None
) -> None:
    if mood is None:
        server.stop()
    else:
        server.mood = mood
    async with asker_of(server) as (asker, _):
        since_s = monotonic()
        together = asyncio.gather(*(asker.ask(10_000 + n) for n in range(10)))
        refusals = [await asker.ask(20_000 + n) for n in range(2000)] + await together
        took_s = monotonic() - since_s
    assert all("no answer for 1 s" in str(refusal) for refusal in refusals)
    assert WAIT_S * 0.9 < took_s < 3 * WAIT_S


async def test_an_id_that_was_refused_for_want_of_an_answer_is_known_once_there_is_one(
    server: RegistryServer,
) -> None:
    schema_id = a_schema(server, "new")
    server.stop()
    async with asker_of(server) as (asker, codec):
        assert await asker.ask(schema_id) is not None
        server.start()
        await until(lambda: codec.knows(schema_id))
        assert await asker.ask(schema_id) is None


async def test_a_registry_that_comes_back_in_time_has_refused_nothing(server: RegistryServer) -> None:
    ids = [a_schema(server, f"new {n}") for n in range(5)]
    server.mood = Mood.FAILS
    async with asker_of(server, wait_s=30.0) as (asker, _):
        asked = asyncio.gather(*(asker.ask(schema_id) for schema_id in ids))
        await until(lambda: len(server.requests) >= 2)
        server.mood = Mood.WELL
        assert await asked == [None] * 5


async def test_every_outage_is_waited_for_anew(server: RegistryServer) -> None:
    first, second = a_schema(server, "first"), a_schema(server, "second")
    async with asker_of(server) as (asker, codec):
        server.mood = Mood.FAILS
        assert await asker.ask(first) is not None
        server.mood = Mood.WELL
        await until(lambda: codec.knows(first))
        await until(lambda: not asker._away)
        server.mood = Mood.FAILS
        since_s = monotonic()
        assert await asker.ask(second) is not None
        assert monotonic() - since_s > WAIT_S * 0.9


async def test_one_schema_on_which_the_registry_fails_does_not_stand_for_all(server: RegistryServer) -> None:
    broken, good = a_schema(server, "broken"), a_schema(server, "good")
    server.broken.add(broken)
    async with asker_of(server) as (asker, codec):
        assert await asker.ask(broken) is not None
        await asker.ask(good)
        await until(lambda: codec.knows(good))
        assert not codec.knows(broken)
