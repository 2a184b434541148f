"""Record <-> JSON: one object on one line, for consumers without Avro.

Fields have the names of the Avro schema; enums are text, unset is null, and every number is finite. What is
read is checked no less than Avro is: nothing twice, nothing that JSON does not know (NaN), nothing of a size
that no record of ours has.
"""

import json
import math
from io import BytesIO
from typing import Any, NoReturn, cast

from fastavro import schemaless_reader, schemaless_writer
from fastavro.validation import validate

from schemas.errors import MalformedRecordError

OPENING = b"{"
"""How a record in JSON begins, and none in Avro does."""
MAX_JSON_BYTES = 1 << 20


def to_json(fields: dict[str, Any]) -> bytes:
    """Return fields as one line of UTF-8, without its end.

    Raises:
        ValueError: a number is not finite.

    """
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def from_json(name: str, schema: dict[str, Any], value: bytes) -> dict[str, Any]:
    """Read the fields that a parsed Avro schema has; others are ignored, and what is missing has its default.

    By way of Avro, so that both forms give the same values: 1 where a double is due is 1.0.

    Raises:
        MalformedRecordError: not one JSON object with these fields.

    """
    given, body = _object(value), BytesIO()
    known = {f["name"]: given[f["name"]] for f in schema["fields"] if f["name"] in given}
    if not validate(known, schema, raise_errors=False, strict=True):
        raise MalformedRecordError(f"not the JSON of {name}: {_wrong(known, schema)}")
    try:
        schemaless_writer(body, schema, known)
    except (ValueError, OverflowError) as exc:  # half a character, or a whole number beyond all doubles
        raise MalformedRecordError(f"not the JSON of {name}: {exc}") from exc
    body.seek(0)
    return cast(dict[str, Any], schemaless_reader(body, schema, None))


def _object(value: bytes) -> dict[str, Any]:
    if len(value) > MAX_JSON_BYTES:
        raise MalformedRecordError(f"JSON of {len(value)} bytes; accepted: at most {MAX_JSON_BYTES}")
    try:
        found = json.loads(
            value.decode(), object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite
        )
    except (ValueError, RecursionError) as exc:
        raise MalformedRecordError(f"not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise MalformedRecordError(f"JSON of type {type(found).__name__}; accepted: an object")
    return found


def _wrong(fields: dict[str, Any], schema: dict[str, Any]) -> str:
    """Say which field is not as its schema wants it."""
    for field in schema["fields"]:
        name, accepted = field["name"], field["type"]
        if name not in fields and "default" not in field:
            return f"{name} is missing"
        if name in fields and not validate(fields[name], accepted, raise_errors=False, strict=True):
            return f"{name} is {repr(fields[name])[:80]}; accepted: {_type_name(accepted)}"
    return "its fields"


def _type_name(avro: Any) -> str:
    if isinstance(avro, list):
        return " or ".join(map(_type_name, avro))
    if isinstance(avro, dict):
        return ", ".join(avro["symbols"]) if "symbols" in avro else str(avro["name"])
    return str(avro)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} is there more than once")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON's")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]} is out of range")
    return number
