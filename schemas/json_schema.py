"""Avro schema -> JSON Schema (draft 2020-12) of the same record in JSON.

    schemas/avro/detection.1.avsc ──► schemas/json/detection.1.json

The files are committed, so that whoever needs one needs nothing of ours; a test makes them again.
"""

import json
from typing import Any

from schemas.codec import IN_JSON, Schema, released_schemas

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BITS = {"int": 32, "long": 64}
PLAIN = {"null": "null", "string": "string", "boolean": "boolean", "double": "number"}
OPEN = (
    "Ignore fields that are not named here: a later release may add some. Numbers are finite. Integers have"
    " up to 64 bits; those beyond 2^53, which no sensor reaches in practice, lose digits in a double."
)


def json_schema(avro: Schema, name: str, version: int) -> Schema:
    """Return the JSON Schema of what a released Avro schema says in JSON.

    Raises:
        ValueError: the Avro schema has a type that no record in JSON may have, such as bytes.

    """
    about = {"$schema": DIALECT, "$id": f"urn:earwitness:{name}:{version}", "title": avro["name"]}
    return {**about, "description": f"{avro['doc']} {OPEN}", **_record(avro)}


def published_schemas() -> dict[str, list[Schema]]:
    """Return, for every kind of record that may be JSON, the JSON Schemas of its versions, oldest first."""
    released = released_schemas()
    return {
        name: [json_schema(avro, name, version) for version, avro in enumerate(released[name], 1)]
        for name in sorted(IN_JSON)
    }


def as_text(schema: Schema) -> str:
    """Return a schema as it is written to a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _record(avro: Schema) -> Schema:
    fields = avro["fields"]
    return {
        "type": "object",
        "properties": {field["name"]: _described(field) for field in fields},
        "required": [field["name"] for field in fields if "default" not in field],
        "additionalProperties": True,
    }


def _described(field: Schema) -> Schema:
    described = {**_type(field["type"]), "description": field["doc"]}
    return {**described, "default": field["default"]} if "default" in field else described


def _type(avro: Any) -> Schema:
    if isinstance(avro, list):
        return {"anyOf": [_type(part) for part in avro]}
    if isinstance(avro, dict):
        return _named(avro)
    if avro in BITS:
        reach = 1 << (BITS[avro] - 1)
        return {"type": "integer", "minimum": -reach, "maximum": reach - 1}
    if avro not in PLAIN:
        raise ValueError(f"type {avro!r}; accepted: {', '.join([*BITS, *PLAIN])}, enums, records, unions")
    return {"type": PLAIN[avro]}


def _named(avro: Schema) -> Schema:
    if avro["type"] == "enum":
        return {"type": "string", "enum": list(avro["symbols"])}
    if avro["type"] == "record":
        return {"title": avro["name"], "description": avro["doc"], **_record(avro)}
    raise ValueError(f"type {avro['type']!r}; accepted: enum, record")
