"""What the schema registry does not know, or not yet, stops nothing but the record that needs it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from schemas.codec import CONFLUENT, Codec, released_schemas
from schemas.deadletter import DeadLetter
from schemas.detection import DetectionState
from schemas.errors import SchemaUnresolvedError
from schemas.frame import AudioFrame
from schemas.registry import ConfluentRegistry, SchemaRegistry
from tests.processors.rig import KEY, rig_on
from tests.processors.shell import (
    LOUD,
    TOPICS,
    Record,
    broker_with_topics,
    frames_of,
    read,
    records_of,
    stretches,
    until,
)

UNKNOWN_ID = 999


class RegistryThatWasAway:
    """A registry that does not answer the first question of every id."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self.asked: list[int] = []

    def register(self, subject: str, schema: str) -> int:
        return self._registry.register(subject, schema)

    def schema(self, schema_id: int) -> str:
        self.asked.append(schema_id)
        if self.asked.count(schema_id) == 1:
            raise SchemaUnresolvedError(schema_id)
        return self._registry.schema(schema_id)


@pytest.fixture
def broker() -> Iterator[str]:
    with broker_with_topics() as address:
        yield address


def new_registry() -> ConfluentRegistry:
    """Return Confluent's own registry in memory."""
    return ConfluentRegistry(SchemaRegistryClient.new_client({"url": "mock://"}))


def under_another_id(registry: SchemaRegistry, record: Record) -> Record:
    """Return a record as a writer wrote it that registered its frames with a comment of its own."""
    schema = released_schemas()[AudioFrame.NAME][-1]
    schema_id = registry.register("theirs", json.dumps({**schema, "doc": "as our sensors write it"}))
    return with_id(schema_id, record)


def with_id(schema_id: int, record: Record) -> Record:
    value = CONFLUENT + schema_id.to_bytes(4) + (record.value or b"")[5:]
    return Record(record.offset, record.timestamp, record.key, value)


async def test_an_id_that_the_registry_knows_is_asked_for_once(broker: str, tmp_path: Path) -> None:
    registry = RegistryThatWasAway(new_registry())
    async with rig_on(broker, tmp_path, codec=Codec(registry)) as (rig, _):
        records = records_of(rig.codec, frames_of(stretches(LOUD)))
        await rig.feed([under_another_id(registry, record) for record in records])
        await until(lambda: bool(rig.said(DetectionState.ACTIVE)))
        assert len(registry.asked) == 2  # it was away when it was asked first
        assert (rig.position, rig.failures) == (10, [])


async def test_an_id_that_nobody_knows_makes_a_dead_letter_and_the_other_records_go_on(
    broker: str, tmp_path: Path
) -> None:
    async with rig_on(broker, tmp_path, codec=Codec(new_registry())) as (rig, _):
        frames = frames_of(stretches(LOUD))
        before = records_of(rig.codec, frames[:3])
        strange = [
            with_id(UNKNOWN_ID + n, records_of(rig.codec, frames[:1], 3 + n, b"shed")[0]) for n in range(2)
        ]
        after = records_of(rig.codec, frames[3:], 5)
        await rig.feed([*before, *strange, *after])
        await until(lambda: bool(rig.said(DetectionState.ACTIVE)))
        assert rig.position == 12
        letters = [
            DeadLetter.from_wire(x.key, x.value, x.headers) for x in read(broker, TOPICS.dead_letters, 2)
        ]
        assert [(x.offset, x.key, x.value, x.exception) for x in letters] == [
            (record.offset, b"shed", record.value, "UnknownSchemaError") for record in strange
        ]
        assert "unknown schema id 999: the registry has none" in letters[0].message


async def test_a_partition_that_is_lost_while_the_registry_is_asked_is_fed_no_more(
    broker: str, tmp_path: Path
) -> None:
    registry = new_registry()
    async with rig_on(broker, tmp_path, codec=Codec(registry)) as (rig, _):
        records = records_of(rig.codec, frames_of(stretches(LOUD)))
        records[2:] = [under_another_id(registry, record) for record in records[2:]]
        await rig.feed(records, is_current=lambda: False)
        assert rig.position == 2


async def test_what_is_fetched_behind_a_record_that_waits_is_taken_after_it(
    broker: str, tmp_path: Path
) -> None:
    registry = RegistryThatWasAway(new_registry())
    async with rig_on(broker, tmp_path, codec=Codec(registry)) as (rig, _):
        records = records_of(rig.codec, frames_of(stretches(LOUD)))
        await rig.feed([under_another_id(registry, record) for record in records[:3]])
        await rig.feed(records[3:6])
        await rig.feed(records[6:])
        assert (rig.position, rig.engine.parked) == (0, {KEY})
        await until(lambda: rig.position == len(records))
        assert (rig.engine.parked, rig.failures) == (set(), [])
