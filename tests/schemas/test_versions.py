"""Every version ever committed stays readable: old bytes by new readers, new bytes by old readers."""

import json
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.schema import to_parsing_canonical_form
from fastavro.validation import validate

from schemas.codec import (
    SINGLE_OBJECT,
    Codec,
    Record,
    Schema,
    avro_fingerprint,
    draft_schemas,
    released_schemas,
)
from tests.schemas.records import RECORDS, SENSOR

REPOSITORY = Path(__file__).parents[2]
AVRO = "schemas/avro"
SAMPLES: list[Record] = [*RECORDS, replace(SENSOR, since_us=3)]
"""Enough that some record of each kind has only values that the oldest schema could bear."""


def shipped() -> list[tuple[str, Schema]]:
    """Return what ships, by record name."""
    found = [*released_schemas().items(), *draft_schemas().items()]
    return [(name, schema) for name, versions in found for schema in versions]


@cache
def committed() -> list[tuple[str, str]]:
    """Return the text of every schema that any commit ever had, by record name; none without a history."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        return []
    try:
        log = _git("log", "--all", "--format=", "--raw", "--no-abbrev", "--no-renames", "--", AVRO)
    except subprocess.CalledProcessError:  # a history that is not ours to read
        return []
    lines = log.splitlines()
    blobs = {(line.split("\t")[1], line.split()[3]) for line in lines if line.split()[4] != "D"}
    return [(_record_name(path), _git("cat-file", "-p", blob)) for path, blob in sorted(blobs)]


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _record_name(path: str) -> str:
    return Path(path).name.split(".")[0].removeprefix("draft-")


def check_both_ways(name: str, schema: Schema) -> None:
    """Write what the schema can bear with it and read it with our codec, and the other way round."""
    borne = 0
    for record in (one for one in SAMPLES if name == one.NAME):
        fields = newest_fields(record)
        if not validate(fields, fastavro.parse_schema(schema), raise_errors=False):
            continue
        borne += 1
        header = SINGLE_OBJECT + avro_fingerprint(schema)
        old = Codec().decode(type(record), header + written(schema, fields))
        assert old == Codec().decode(type(record), Codec().encode(record)) == record
        as_seen = read(written(newest(name), fields), newest(name), schema)
        assert as_seen == {field["name"]: fields[field["name"]] for field in schema["fields"]}
    assert borne, f"no record of these tests could have been written with a {name} of the past"


def newest(name: str) -> Schema:
    return released_schemas()[name][-1]


def newest_fields(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = read(Codec().encode(record)[10:], newest(record.NAME), None)
    return fields


def written(schema: Schema, fields: dict[str, Any]) -> bytes:
    names = {field["name"] for field in schema["fields"]}
    out = BytesIO()
    own = {name: value for name, value in fields.items() if name in names}
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), own)
    return out.getvalue()


def read(value: bytes, writer: Schema, reader: Schema | None) -> Any:
    wanted = None if reader is None else fastavro.parse_schema(reader)
    return fastavro.schemaless_reader(BytesIO(value), fastavro.parse_schema(writer), wanted)


@pytest.mark.parametrize(("name", "schema"), shipped(), ids=lambda x: x if isinstance(x, str) else "")
def test_what_ships_is_read_with_the_newest_and_reads_the_newest(name: str, schema: Schema) -> None:
    check_both_ways(name, schema)


def test_what_was_ever_committed_ships_and_is_read_both_ways() -> None:
    if not committed():
        pytest.skip("no history here (an export, or no git): only what ships can be checked")
    ours = {avro_fingerprint(schema) for _, schema in shipped()}
    for name, text in committed():
        schema = json.loads(text)
        assert avro_fingerprint(schema) in ours, f"a {name} that was once committed does not ship any more"
        check_both_ways(name, schema)


def test_no_two_schemas_of_all_times_have_one_fingerprint() -> None:
    texts = [json.dumps(schema) for _, schema in shipped()] + [text for _, text in committed()]
    forms = {to_parsing_canonical_form(json.loads(text)) for text in texts}
    assert len(forms) >= len(shipped())
    assert len({avro_fingerprint(json.loads(form)) for form in forms}) == len(forms)
