"""Record <-> bytes: Avro in either of two framings, or JSON, told apart by the first bytes.

    C3 01 | CRC-64-AVRO fingerprint, little-endian, 8 bytes | Avro     single-object encoding, no registry
    00    | schema id, big-endian, 4 bytes                  | Avro     Confluent's framing, with a registry
    {     | the rest of a JSON object                                  what services read; never a frame

Every version of every schema that was ever released ships in `schemas/avro/NAME.VERSION.avsc`, and what was
written before in `draft-NAME.VERSION.avsc`, so readers are upgraded before writers. What a registry does not
know yet is asked for by the shell (`Codec.resolve`).
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from importlib.resources import files
from io import BytesIO
from math import isfinite
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

import fastavro
from fastavro.schema import SchemaParseException, fingerprint, to_parsing_canonical_form

from schemas.coverage import Coverage, Level
from schemas.detection import Detection
from schemas.errors import MalformedRecordError, SchemaUnresolvedError, UnknownSchemaError
from schemas.frame import AudioFrame
from schemas.json_text import OPENING, from_json, to_json
from schemas.plain import PlainFrame, plain_frames
from schemas.registry import SchemaRegistry, bare
from schemas.sensor import SensorState

SINGLE_OBJECT, CONFLUENT = b"\xc3\x01", b"\x00"
IN_JSON = frozenset(kind.NAME for kind in (Detection, Coverage, SensorState))
"""What may be written in JSON; frames, which are many and mostly samples, never are."""
_SINGLE_OBJECT_HEADER_BYTES, _CONFLUENT_HEADER_BYTES = 10, 5
_MAX_REGISTRY_SCHEMAS = 1000
_DRAFT = "draft-"
_INT32 = -(1 << 31), (1 << 31) - 1
"""Avro's int, which fastavro reads like a long."""
_MIN_AT_ONCE = 20
"""Of fewer values, reading them one by one is quicker."""
_UNREADABLE = (
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    struct.error,
    fastavro.read.SchemaResolutionError,
)
_NO_SCHEMA = (ValueError, SchemaParseException, LookupError, TypeError, AttributeError, RecursionError)
"""What fastavro raises of JSON that is no schema; anybody may have put it there."""

Schema = dict[str, Any]


class Format(StrEnum):
    """How detections, coverage and sensors are written; both are read without being told."""

    AVRO = "avro"
    JSON = "json"


class Record(Protocol):
    """A dataclass that crosses a topic; its fields are those of the newest schema called NAME."""

    NAME: ClassVar[str]
    __slots__: tuple[str, ...]

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        """Build the record from decoded Avro fields."""
        ...


R = TypeVar("R", bound=Record)


def released_schemas() -> dict[str, list[Schema]]:
    """Return every released schema by record name, oldest version first."""
    return {name: versions for name, versions in _shipped().items() if not name.startswith(_DRAFT)}


def draft_schemas() -> dict[str, list[Schema]]:
    """Return what was written before a first version was released, by record name; only read."""
    shipped = _shipped().items()
    return {name.removeprefix(_DRAFT): versions for name, versions in shipped if name.startswith(_DRAFT)}


def _shipped() -> dict[str, list[Schema]]:
    found: dict[str, list[tuple[int, Schema]]] = {}
    for file in files("schemas").joinpath("avro").iterdir():
        name, version, _ = file.name.split(".")
        found.setdefault(name, []).append((int(version), json.loads(file.read_text("utf-8"))))
    return {name: [schema for _, schema in sorted(vs, key=_version)] for name, vs in found.items()}


def _version(numbered: tuple[int, Schema]) -> int:
    return numbered[0]


def avro_fingerprint(schema: Schema) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema's parsing canonical form, little-endian, 8 bytes."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


class Codec:
    """Encodes records in the newest schema, decodes those of any known one.

    With a registry, Avro is written in Confluent's framing under `subjects[NAME]` (by default NAME), and a
    schema is registered when it is first written with, or prepared; without one, in single-object encoding.
    JSON bears no framing and is in no registry. What is prepared is also registered under `others`, the
    subjects of other tenants: records of all of them bear the id that the schema has under the first.
    """

    def __init__(
        self,
        registry: SchemaRegistry | None = None,
        subjects: Mapping[str, str] | None = None,
        output: Format = Format.AVRO,
        others: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self._registry, self._subjects, self._output = registry, dict(subjects or {}), output
        self._others = tuple(others)
        self._newest: dict[str, Any] = {}
        self._ints: dict[str, tuple[str, ...]] = {}
        self._headers: dict[str, bytes] = {}
        self._writers: dict[bytes, tuple[str | None, Any]] = {}
        for name, versions in released_schemas().items():
            for schema in versions:
                parsed = fastavro.parse_schema(schema)
                header = SINGLE_OBJECT + avro_fingerprint(schema)
                self._writers[header] = name, parsed
                self._newest[name] = parsed
                self._ints[name] = _int_fields(schema)
                if registry is None:
                    self._headers[name] = header
        for name, versions in draft_schemas().items():
            for schema in versions:
                self._writers[SINGLE_OBJECT + avro_fingerprint(schema)] = name, fastavro.parse_schema(schema)

    def prepare(self, *kinds: type[Record]) -> None:
        """Register what will be written, so that a registry that refuses it is heard of now. Blocks.

        Raises:
            ConfigurationError: the registry does not answer, or refuses a schema.

        """
        for kind in kinds:
            if not self._in_json(kind.NAME):
                self._header(kind.NAME)
                self._register_elsewhere(kind.NAME)

    def encode(self, record: Record) -> bytes:
        """Return a record's bytes, framing included.

        Raises:
            ConfigurationError: its schema is not registered yet, and the registry does not take it.

        """
        fields = {name: _to_wire(getattr(record, name)) for name in record.__slots__}
        if self._in_json(record.NAME):
            return to_json(fields)
        out = BytesIO()
        out.write(self._header(record.NAME))
        fastavro.schemaless_writer(out, self._newest[record.NAME], fields)
        return out.getvalue()

    def _in_json(self, name: str) -> bool:
        return self._output is Format.JSON and name in IN_JSON

    def _header(self, name: str) -> bytes:
        if self._registry is not None and name not in self._headers:
            self._register(self._registry, name)
        return self._headers[name]

    def _register(self, registry: SchemaRegistry, name: str) -> None:
        schema_id = registry.register(self._subjects.get(name, name), _newest_text(name))
        header = CONFLUENT + schema_id.to_bytes(4)
        self._writers[header] = name, self._newest[name]
        self._headers[name] = header

    def _register_elsewhere(self, name: str) -> None:
        if self._registry is not None:
            for subjects in self._others:
                self._registry.register(subjects[name], _newest_text(name))

    def decode(self, kind: type[R], value: bytes | None) -> R:
        """Read a record of one kind.

        Raises:
            MalformedRecordError: the bytes are not such a record.
            InvalidFrameError: a field of a frame is outside what is accepted.
            UnknownSchemaError: nobody knows the schema that the bytes name.
            SchemaUnresolvedError: the registry has not been asked about it yet (`resolve`).

        """
        if not value:
            raise MalformedRecordError("the value is empty; accepted: an Avro record")
        if value[:1] == OPENING and kind.NAME in IN_JSON:
            return kind.from_wire(from_json(kind.NAME, self._newest[kind.NAME], value))
        fields = self._fields_of_avro(kind.NAME, value)
        try:
            return kind.from_wire(fields)
        except (TypeError, AttributeError) as exc:  # a foreign schema's type that resolves to another of ours
            raise MalformedRecordError(f"not a {kind.NAME}: {exc}") from exc

    def plain_frames(self, values: Sequence[bytes | None]) -> list[PlainFrame | None]:
        """Read the plain frames among some values at once; None for what is to be decoded one by one."""
        newest = self._newest[AudioFrame.NAME]
        for value in values if len(values) >= _MIN_AT_ONCE else ():
            size = _header_bytes(value) if value else 0
            if value and self._writers.get(value[:size], (None, None))[1] is newest:
                return plain_frames(values, value[:size])
        return [None] * len(values)

    def decode_asking(self, kind: type[R], value: bytes | None) -> R:
        """Read a record of one kind, and ask the registry first where it must be asked. Blocks.

        Raises:
            as `decode`; SchemaUnresolvedError where the registry did not answer.

        """
        try:
            return self.decode(kind, value)
        except SchemaUnresolvedError as exc:
            self.resolve(exc.schema_id)
            return self.decode(kind, value)

    def _fields_of_avro(self, name: str, value: bytes) -> dict[str, Any]:
        size, writer = self._writer(name, value)
        body = BytesIO(value)
        body.seek(size)
        newest = self._newest[name]
        try:
            if writer is newest:
                fields = fastavro.schemaless_reader(body, writer, None)
            else:
                fields = fastavro.schemaless_reader(body, writer, newest)
        except _UNREADABLE as exc:
            raise MalformedRecordError(f"not the Avro of {name}: {exc or type(exc).__name__}") from exc
        if body.tell() != len(value):
            raise MalformedRecordError(f"{len(value) - body.tell()} bytes follow the {name}; accepted: none")
        found = cast(dict[str, Any], fields)
        if name != AudioFrame.NAME:  # it has limits of its own, and no doubles
            _check_ints(found, self._ints[name])
            _check_doubles(found)
        return found

    def _writer(self, kind: str, value: bytes) -> tuple[int, Any]:
        size = _header_bytes(value)
        known = self._writers.get(value[:size])
        if known is None:
            raise self._unknown(value)
        name, schema = known
        if name is not None and name != kind:
            raise MalformedRecordError(f"this is {name}; accepted: {kind}")
        return size, schema

    def _unknown(self, value: bytes) -> Exception:
        if value[:2] == SINGLE_OBJECT and len(value) >= _SINGLE_OBJECT_HEADER_BYTES:
            return UnknownSchemaError(
                f"fingerprint {value[2:10].hex()}", "not one of the versions that this reader ships"
            )
        if value[:1] == CONFLUENT and len(value) >= _CONFLUENT_HEADER_BYTES:
            schema_id = int.from_bytes(value[1:5])
            if self._registry is not None:
                return SchemaUnresolvedError(schema_id)
            return UnknownSchemaError(f"id {schema_id}", "no schema registry is configured")
        return MalformedRecordError(
            f"it begins with {value[:10].hex()}; accepted: c301 and a fingerprint, or 00 and a schema id"
        )

    def knows(self, schema_id: int) -> bool:
        """Return whether records that name this id in Confluent's framing can be decoded."""
        return CONFLUENT + schema_id.to_bytes(4) in self._writers

    def resolve(self, schema_id: int) -> None:
        """Ask the registry for a schema, so that its records can be decoded. Blocks.

        Raises:
            UnknownSchemaError: the registry has no such Avro schema, or we remember too many.
            SchemaUnresolvedError: the registry did not answer.

        """
        if self._registry is None or len(self._writers) >= _MAX_REGISTRY_SCHEMAS:
            raise UnknownSchemaError(f"id {schema_id}", "no room to remember another schema")
        try:
            schema = bare(json.loads(self._registry.schema(schema_id)))
            parsed, fingerprinted = fastavro.parse_schema(schema), SINGLE_OBJECT + avro_fingerprint(schema)
        except _NO_SCHEMA as exc:
            raise UnknownSchemaError(f"id {schema_id}", f"not an Avro schema: {exc}") from exc
        # One of ours is read as ours: nothing to resolve, which costs time for every frame.
        ours = self._writers.get(fingerprinted)
        self._writers[CONFLUENT + schema_id.to_bytes(4)] = ours or (None, parsed)


def _int_fields(schema: Schema) -> tuple[str, ...]:
    return tuple(field["name"] for field in schema["fields"] if field["type"] in ("int", ["null", "int"]))


def _check_ints(fields: dict[str, Any], names: Sequence[str]) -> None:
    for name in names:
        value = fields[name]
        if value is not None and not _INT32[0] <= value <= _INT32[1]:
            raise MalformedRecordError(f"{name} is {value}; accepted: int")


def _check_doubles(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            _check_doubles(value)
        elif isinstance(value, float) and not isfinite(value):
            raise MalformedRecordError(f"{name} is {value}; accepted: a finite number")


def _header_bytes(value: bytes) -> int:
    return _SINGLE_OBJECT_HEADER_BYTES if value[0] == 0xC3 else _CONFLUENT_HEADER_BYTES


def _newest_text(name: str) -> str:
    return json.dumps(released_schemas()[name][-1])


def _to_wire(value: object) -> object:
    return asdict(value) if isinstance(value, Level) else value
