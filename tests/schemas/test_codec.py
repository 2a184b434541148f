import json
from collections.abc import Callable
from io import BytesIO
from itertools import count
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from schemas.codec import Codec, Format, Record, avro_fingerprint, released_schemas
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.errors import (
    ConfigurationError,
    MalformedRecordError,
    SchemaUnresolvedError,
    UnknownSchemaError,
)
from schemas.frame import AudioFrame
from schemas.registry import ConfluentRegistry
from tests.schemas.records import COVERAGE, DETECTION, FRAME, RECORDS

_registries = count()
Avro = dict[str, Any]


def registry() -> ConfluentRegistry:
    """Return a registry of its own, in memory."""
    return ConfluentRegistry(SchemaRegistryClient.new_client({"url": f"mock://codec-{next(_registries)}"}))


def write(schema: Avro, fields: dict[str, object]) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), fields)
    return out.getvalue()


def frame_fields() -> dict[str, object]:
    return {name: getattr(FRAME, name) for name in FRAME.__slots__}


@pytest.mark.parametrize("make", [Codec, lambda: Codec(registry())], ids=["single object", "registry"])
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.NAME)
def test_what_was_encoded_is_decoded(make: Callable[[], Codec], record: Record) -> None:
    codec = make()
    assert codec.decode(type(record), codec.encode(record)) == record


def test_without_a_registry_a_record_begins_with_its_schemas_fingerprint() -> None:
    value = Codec().encode(FRAME)
    assert value[:2] == b"\xc3\x01"
    assert value[2:10] == avro_fingerprint(released_schemas()["audio_frame"][-1])


def test_with_a_registry_a_record_begins_with_its_schemas_id_there() -> None:
    shared = registry()
    value = Codec(shared, {"audio_frame": "audio.frames-value"}).encode(FRAME)
    assert value[0] == 0
    schema_id = int.from_bytes(value[1:5])
    assert json.loads(shared.schema(schema_id)) == released_schemas()["audio_frame"][-1]
    assert (
        shared.register("audio.frames-value", json.dumps(released_schemas()["audio_frame"][-1])) == schema_id
    )


class Noting:
    """A registry that notes what is registered, and says what it was told."""

    def __init__(self) -> None:
        self.schemas: list[str] = []
        self.subjects: list[str] = []

    def register(self, subject: str, schema: str) -> int:
        self.subjects.append(subject)
        self.schemas.append(schema)
        return len(self.schemas)

    def schema(self, schema_id: int) -> str:
        return self.schemas[schema_id - 1]


def test_who_only_reads_registers_nothing() -> None:
    shared, writer = Noting(), Codec(Noting())
    reader = Codec(shared)
    assert reader.decode(AudioFrame, Codec().encode(FRAME)) == FRAME
    with pytest.raises(SchemaUnresolvedError):
        reader.decode(AudioFrame, writer.encode(FRAME))
    assert shared.subjects == []


def test_a_schema_is_registered_once_when_it_is_first_written_with_or_prepared() -> None:
    shared = Noting()
    codec = Codec(shared, {"coverage": "audio.coverage-value"})
    for _ in range(3):
        codec.encode(DETECTION)
        assert shared.subjects == ["detection"]
    codec.prepare(Detection, Coverage)
    codec.encode(COVERAGE)
    assert shared.subjects == ["detection", "audio.coverage-value"]


def test_what_is_written_in_json_is_not_registered() -> None:
    shared = Noting()
    codec = Codec(shared, output=Format.JSON)
    codec.prepare(AudioFrame, Detection)
    assert codec.encode(DETECTION)[:1] == b"{"
    assert shared.subjects == ["audio_frame"]


def test_one_of_our_schemas_that_somebody_else_registered_is_read_as_ours() -> None:
    shared = Noting()
    value = Codec(shared).encode(COVERAGE)
    reader = Codec(shared)
    reader.resolve(1)
    assert reader.decode(Coverage, value) == COVERAGE
    with pytest.raises(MalformedRecordError, match="this is coverage; accepted: audio_frame"):
        reader.decode(AudioFrame, value)


def test_both_framings_carry_the_same_avro() -> None:
    assert Codec().encode(DETECTION)[10:] == Codec(registry()).encode(DETECTION)[5:]


def test_a_reader_with_a_registry_reads_records_without_one() -> None:
    assert Codec(registry()).decode(AudioFrame, Codec().encode(FRAME)) == FRAME


def test_the_fingerprint_is_the_published_one_little_endian() -> None:
    # Avro 1.11, "Schema Fingerprints": CRC-64-AVRO of "int" is 0x7275d51a3f395c8f.
    assert avro_fingerprint("int") == (0x7275D51A3F395C8F).to_bytes(8, "little")  # type: ignore[arg-type]


def test_every_record_has_a_schema_with_its_fields_in_their_order() -> None:
    released = released_schemas()
    assert set(released) == {type(record).NAME for record in RECORDS}
    for record in RECORDS:
        assert [field["name"] for field in released[record.NAME][-1]["fields"]] == list(record.__slots__)


def test_no_two_released_schemas_have_the_same_fingerprint() -> None:
    fingerprints = [avro_fingerprint(s) for versions in released_schemas().values() for s in versions]
    assert len(set(fingerprints)) == len(fingerprints) == sum(map(len, released_schemas().values()))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.NAME)
def test_the_newest_reader_reads_every_released_version(record: Record) -> None:
    for version in released_schemas()[record.NAME]:
        names = {field["name"] for field in version["fields"]}
        newest = released_schemas()[record.NAME][-1]
        out = BytesIO(Codec().encode(record)[10:])
        fields = fastavro.schemaless_reader(out, fastavro.parse_schema(newest), None)
        assert isinstance(fields, dict)
        old = write(version, {name: value for name, value in fields.items() if name in names})
        assert Codec().decode(type(record), b"\xc3\x01" + avro_fingerprint(version) + old) == record


def later(schema: Avro) -> Avro:
    """Return what a later release may make of a schema: a field more, with a default."""
    return {**schema, "fields": [*schema["fields"], {"name": "later", "type": "int", "default": 7}]}


def test_a_later_reader_reads_what_this_release_writes() -> None:
    [newest] = released_schemas()["audio_frame"][-1:]
    body = BytesIO(Codec().encode(FRAME)[10:])
    fields = fastavro.schemaless_reader(
        body, fastavro.parse_schema(newest), fastavro.parse_schema(later(newest))
    )
    assert fields == {**frame_fields(), "later": 7}


def test_this_reader_reads_what_a_later_release_writes_once_the_registry_told_it_the_schema() -> None:
    shared = registry()
    newest = released_schemas()["audio_frame"][-1]
    schema_id = shared.register("later", json.dumps(later(newest)))
    value = b"\0" + schema_id.to_bytes(4) + write(later(newest), {**frame_fields(), "later": 8})
    codec = Codec(shared)
    with pytest.raises(SchemaUnresolvedError) as unresolved:
        codec.decode(AudioFrame, value)
    assert unresolved.value.schema_id == schema_id
    codec.resolve(schema_id)
    assert codec.decode(AudioFrame, value) == FRAME


def test_a_schema_that_cannot_be_resolved_to_ours_is_a_dead_letter() -> None:
    shared = registry()
    schema_id = shared.register("other", json.dumps({**later(_other()), "name": "Other"}))
    codec = Codec(shared)
    codec.resolve(schema_id)
    with pytest.raises(MalformedRecordError, match="not the Avro of audio_frame"):
        codec.decode(AudioFrame, b"\0" + schema_id.to_bytes(4) + b"\2\2\2\2\2\2")


def _other() -> Avro:
    return {"type": "record", "name": "Other", "fields": [{"name": "a", "type": "int"}]}


def test_an_id_that_the_registry_does_not_have_is_unknown() -> None:
    with pytest.raises(UnknownSchemaError, match="unknown schema id 999: the registry has none"):
        Codec(registry()).resolve(999)


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ('{"type": "record"}', "AVRO", "not an Avro schema"),
        ("not JSON", "AVRO", "not an Avro schema"),
        ('{"type": "object"}', "JSON", "its type is JSON, not AVRO"),
    ],
)
def test_a_registry_that_answers_nonsense_makes_a_schema_unknown(text: str, kind: str, reason: str) -> None:
    client = SchemaRegistryClient.new_client({"url": f"mock://codec-{next(_registries)}"})
    schema_id = client.register_schema("nonsense", Schema(text, kind))
    with pytest.raises(UnknownSchemaError, match=reason):
        Codec(ConfluentRegistry(client)).resolve(schema_id)


def foreign(changes: dict[str, object]) -> tuple[Codec, bytes, dict[str, Any]]:
    """Return a codec that knows a schema with other types for some of our fields, and its header."""
    client = SchemaRegistryClient.new_client({"url": f"mock://codec-{next(_registries)}"})
    schema = released_schemas()["audio_frame"][-1]
    fields = [{**field, "type": changes.get(field["name"], field["type"])} for field in schema["fields"]]
    theirs = {**schema, "fields": fields}
    schema_id = client.register_schema("theirs", Schema(json.dumps(theirs), "AVRO"))
    codec = Codec(ConfluentRegistry(client))
    codec.resolve(schema_id)
    return codec, b"\x00" + schema_id.to_bytes(4), theirs


def test_a_logical_type_in_somebody_elses_schema_changes_nothing() -> None:
    micros = {"type": "long", "logicalType": "timestamp-micros"}
    codec, header, _ = foreign({"captured_at_us": micros})
    assert codec.decode(AudioFrame, header + Codec().encode(FRAME)[10:]) == FRAME


def test_items_of_no_size_are_not_accepted_in_a_schema() -> None:
    with pytest.raises(UnknownSchemaError, match="items of no size"):
        foreign({"data": {"type": "array", "items": "null"}})


@pytest.fixture
def nobody() -> ConfluentRegistry:
    """A registry at an address where nobody listens."""
    return ConfluentRegistry(SchemaRegistryClient({"url": "http://127.0.0.1:9", "max.retries": 0}))


def test_a_registry_that_is_away_leaves_the_schema_to_be_asked_for_again(nobody: ConfluentRegistry) -> None:
    with pytest.raises(SchemaUnresolvedError, match="schema id 5"):
        nobody.schema(5)


def test_a_registry_that_does_not_take_our_schemas_stops_the_program(nobody: ConfluentRegistry) -> None:
    with pytest.raises(ConfigurationError, match=r"registry\.url"):
        Codec(nobody).prepare(AudioFrame)


class Endless:
    """A registry that has every id."""

    def __init__(self) -> None:
        self._ids = count(1)

    def register(self, subject: str, schema: str) -> int:
        return next(self._ids)

    def schema(self, schema_id: int) -> str:
        return '"int"'


def test_more_schemas_than_anybody_has_are_not_remembered() -> None:
    codec = Codec(Endless())
    for schema_id in range(1000 - len(codec._writers)):
        codec.resolve(10 + schema_id)
    with pytest.raises(UnknownSchemaError, match="no room"):
        codec.resolve(5000)


def test_one_kind_of_record_is_not_taken_for_another() -> None:
    with pytest.raises(MalformedRecordError, match="this is coverage; accepted: audio_frame"):
        Codec().decode(AudioFrame, Codec().encode(COVERAGE))
    with pytest.raises(MalformedRecordError, match="this is audio_frame; accepted: coverage"):
        Codec().decode(Coverage, Codec().encode(FRAME))
