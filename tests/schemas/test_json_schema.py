"""The published JSON Schemas are those of the Avro, and hold for what is written."""

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from schemas.codec import IN_JSON, Codec, Format, Record, released_schemas
from schemas.json_schema import as_text, json_schema, published_schemas
from tests.schemas.records import RECORDS

JSON = Codec(output=Format.JSON)
PUBLISHED = published_schemas()
EACH = [(name, version) for name, schemas in PUBLISHED.items() for version in range(1, len(schemas) + 1)]
SERVED = [record for record in RECORDS if record.NAME in IN_JSON]


def validator(record: Record) -> Draft202012Validator:
    return Draft202012Validator(PUBLISHED[record.NAME][-1])


def test_every_release_of_every_record_that_may_be_json_has_one() -> None:
    assert {name: len(schemas) for name, schemas in PUBLISHED.items()} == {
        name: len(versions) for name, versions in released_schemas().items() if name in IN_JSON
    }
    committed = {file.name for file in files("schemas").joinpath("json").iterdir()}
    assert committed == {f"{name}.{version}.json" for name, version in EACH}


@pytest.mark.parametrize(("name", "version"), EACH)
def test_the_committed_file_is_what_the_avro_gives(name: str, version: int) -> None:
    """Mend it by `earwitness schemas show NAME --format json > schemas/json/NAME.VERSION.json`."""
    text = files("schemas").joinpath("json", f"{name}.{version}.json").read_text("utf-8")
    assert text == as_text(PUBLISHED[name][version - 1])


@pytest.mark.parametrize(("name", "version"), EACH)
def test_it_is_a_json_schema_of_draft_2020_12(name: str, version: int) -> None:
    Draft202012Validator.check_schema(PUBLISHED[name][version - 1])


@pytest.mark.parametrize(("name", "version"), EACH)
def test_every_field_says_what_it_means_as_the_avro_does(name: str, version: int) -> None:
    said = PUBLISHED[name][version - 1]["properties"]
    avro = released_schemas()[name][version - 1]
    assert {field["name"]: field["doc"] for field in avro["fields"]} == {
        field: schema["description"] for field, schema in said.items()
    }


@pytest.mark.parametrize("record", SERVED, ids=lambda record: record.NAME)
def test_what_is_written_is_valid(record: Record) -> None:
    validator(record).validate(json.loads(JSON.encode(record)))


@pytest.mark.parametrize("record", SERVED, ids=lambda record: record.NAME)
def test_a_field_more_is_valid_and_one_less_is_not(record: Record) -> None:
    written: dict[str, Any] = json.loads(JSON.encode(record))
    validator(record).validate({**written, "later": [1]})
    for name in written:
        with pytest.raises(ValidationError, match=f"'{name}' is a required property"):
            validator(record).validate({key: value for key, value in written.items() if key != name})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", None),
        ("state", "LOUD"),
        ("windows", 1 << 31),
        ("windows", 0.5),
        ("end_sample", 1 << 63),
        ("peak_score", "0.5"),
        ("continued", 0),
    ],
)
def test_what_a_reader_of_ours_refuses_is_not_valid(field: str, value: object) -> None:
    detection = next(record for record in SERVED if record.NAME == "detection")
    written = json.loads(JSON.encode(detection))
    with pytest.raises(ValidationError):
        validator(detection).validate({**written, field: value})


def avro_with(field: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "Later",
        "doc": "Later.",
        "fields": [{"name": "a", "doc": "A.", **field}],
    }


def test_a_field_with_a_default_need_not_be_there() -> None:
    schema = json_schema(avro_with({"type": "int", "default": 7}), "later", 2)
    assert schema["required"] == []
    assert schema["properties"]["a"]["default"] == 7
    Draft202012Validator(schema).validate({})


@pytest.mark.parametrize(
    "kind", ["bytes", {"type": "fixed", "name": "F", "size": 2}, {"type": "map", "values": "int"}]
)
def test_a_type_that_json_has_no_form_for_is_refused(kind: object) -> None:
    with pytest.raises(ValueError, match="accepted"):
        json_schema(avro_with({"type": kind}), "later", 1)
