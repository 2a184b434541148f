"""A registry that fails: what it says of a schema is believed, what it does not say is asked for again."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from schemas.codec import Codec, released_schemas
from schemas.detection import Detection
from schemas.errors import ConfigurationError, SchemaUnresolvedError, UnknownSchemaError
from schemas.frame import AudioFrame
from schemas.registry import AWAY_S, BOUNDED, ConfluentRegistry
from tests.integration.registry_server import Mood, RegistryServer, registry_server

Registries = Callable[..., ConfluentRegistry]
FRAMES = json.dumps(released_schemas()[AudioFrame.NAME][-1])


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as started:
        yield started


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def registry_at(clients: ExitStack) -> Registries:
    """Make a registry of our programs' that asks a server."""

    def made(server: RegistryServer, **options: object) -> ConfluentRegistry:
        client = SchemaRegistryClient({"url": server.url, **BOUNDED, **options})
        return ConfluentRegistry(clients.enter_context(client))

    return made


def test_a_schema_is_asked_for_once_and_is_the_same_for_whoever_registers_it_again(
    server: RegistryServer,
    registry_at: Registries,
) -> None:
    registry = registry_at(server)
    schema_id = registry.register("frames", FRAMES)
    assert registry_at(server).register("frames", FRAMES) == schema_id
    reader = registry_at(server)
    assert reader.schema(schema_id) == reader.schema(schema_id) == FRAMES
    assert server.asked(schema_id) == 1


def test_a_schema_that_older_readers_could_not_follow_is_refused_by_the_registry(
    server: RegistryServer,
    registry_at: Registries,
) -> None:
    registry = registry_at(server)
    registry.register("frames", FRAMES)
    newest = released_schemas()[AudioFrame.NAME][-1]
    without_default = {**newest, "fields": [*newest["fields"], {"name": "gain", "type": "float"}]}
    with pytest.raises(ConfigurationError, match=r"registry\.url .* takes frames: .*incompatible"):
        registry.register("frames", json.dumps(without_default))


def test_a_registry_that_hangs_is_given_up_after_a_bounded_time(
    server: RegistryServer,
    registry_at: Registries,
) -> None:
    server.mood = Mood.HANGS
    registry, since_s = registry_at(server, timeout=0.1), time.monotonic()
    with pytest.raises(SchemaUnresolvedError):
        registry.schema(1)
    with pytest.raises(ConfigurationError, match=r"registry\.url"):
        registry.register("frames", FRAMES)
    assert time.monotonic() - since_s < 5
    assert 0 < BOUNDED["timeout"] < 10  # as those of settings.registry_client are


def test_one_that_gave_no_answer_is_not_asked_again_for_a_moment(
    server: RegistryServer,
    registry_at: Registries,
) -> None:
    server.mood = Mood.FAILS
    registry = registry_at(server, **{"max.retries": 0})
    since_s = time.monotonic()
    for number in range(1, 1000):
        with pytest.raises(SchemaUnresolvedError):
            registry.schema(number)
    took_s = time.monotonic() - since_s
    assert len(server.requests) <= 1 + took_s / AWAY_S
    server.mood = Mood.WELL
    schema_id, deadline_s = server.put("frames", FRAMES), time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            assert registry.schema(schema_id) == FRAMES
            return
        except SchemaUnresolvedError:
            continue
    pytest.fail("it is never asked again")


def test_a_wrong_password_is_named_and_not_shown_and_may_come_right(registry_at: Registries) -> None:
    with registry_server("us:right") as locked:
        schema_id = locked.put("frames", FRAMES)
        wrong = registry_at(locked, **{"basic.auth.user.info": "us:wrong"})
        with pytest.raises(ConfigurationError, match=r"registry\.user or registry\.password") as refused:
            wrong.register("frames", FRAMES)
        assert "wrong" not in str(refused.value)
        with pytest.raises(SchemaUnresolvedError):
            wrong.schema(schema_id)
        right = registry_at(locked, **{"basic.auth.user.info": "us:right"})
        assert right.schema(schema_id) == FRAMES


def test_an_id_that_no_registry_gives_is_not_asked_for(
    server: RegistryServer,
    registry_at: Registries,
) -> None:
    with pytest.raises(UnknownSchemaError, match="31 bits"):
        registry_at(server).schema(2**31)
    assert server.requests == []


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "5",
        "null",
        "[]",
        '{"type": "array"}',
        '{"type": "fixed", "name": "x"}',
        '{"type": "record", "name": "x", "fields": 5}',
        '{"type": "record", "name": "x", "fields": [5]}',
        '{"type": "enum", "name": "x"}',
        '{"type": "enum", "name": "x", "symbols": [{}]}',
        '{"type": ["null", {"type": "map"}]}',
        '{"type": {"type": {"type": "nothing"}}}',
        '{"type": "record", "name": 7, "fields": []}',
        '["null", "null"]',
        '{"type": "Elsewhere"}',
        '{"type":' * 50_000,
        "[" * 50_000 + "]" * 50_000,
    ],
)
def test_whatever_somebody_registered_makes_a_schema_or_an_unknown_one(
    server: RegistryServer, registry_at: Registries, schema: str
) -> None:
    codec = Codec(registry_at(server))
    schema_id = server.put("strange", schema)
    try:
        codec.resolve(schema_id)
    except UnknownSchemaError:
        assert not codec.knows(schema_id)
    else:
        assert codec.knows(schema_id)


def test_what_is_registered_is_taken_from_the_registry_by_its_version(
    server: RegistryServer, registry_at: Registries, clients: ExitStack
) -> None:
    codec = Codec(registry_at(server), {Detection.NAME: "heard-value"})
    codec.prepare(Detection)
    client = clients.enter_context(SchemaRegistryClient({"url": server.url}))
    latest = client.get_latest_version("heard-value")
    assert latest.schema.schema_str is not None
    assert json.loads(latest.schema.schema_str) == released_schemas()[Detection.NAME][-1]
    assert client.test_compatibility("heard-value", latest.schema)
