"""`earwitness schemas`: what authors of services ask for."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from earwitness.cli import app
from earwitness.settings import load_settings
from schemas.codec import IN_JSON, Format, avro_fingerprint, released_schemas
from schemas.errors import ConfigurationError
from tests.earwitness.conftest import refused

RELEASED = {(name, n + 1) for name, schemas in released_schemas().items() for n in range(len(schemas))}


def output_of(*arguments: str) -> str:
    return CliRunner().invoke(app, ["schemas", *arguments], catch_exceptions=False).output


def shipped(folder: str, name: str) -> Any:
    return json.loads(files("schemas").joinpath(folder, name).read_text("utf-8"))


def test_the_list_has_every_release_of_every_record() -> None:
    rows = [json.loads(line) for line in output_of("--json").splitlines()]
    assert {(row["name"], row["version"]) for row in rows} == RELEASED
    for row in rows:
        schema = released_schemas()[row["name"]][row["version"] - 1]
        assert row["fingerprint"] == avro_fingerprint(schema).hex()
        assert row["json"] == (row["name"] in IN_JSON)


def test_people_get_the_list_as_a_table() -> None:
    heading, *rows = output_of().splitlines()
    assert heading.split() == ["name", "version", "fingerprint", "forms"]
    assert {(row.split()[0], int(row.split()[1])) for row in rows} == RELEASED


@pytest.mark.parametrize("name", sorted(released_schemas()))
def test_a_schema_is_shown_in_avro(name: str) -> None:
    assert json.loads(output_of("show", name)) == released_schemas()[name][-1]
    assert json.loads(output_of("show", name, "--version", "1")) == shipped("avro", f"{name}.1.avsc")


@pytest.mark.parametrize("name", sorted(IN_JSON))
def test_a_schema_is_shown_in_json_schema(name: str) -> None:
    shown = output_of("show", name, "--format", "json", "--version", "1")
    assert json.loads(shown) == shipped("json", f"{name}.1.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("show", "siren"),
            "NAME is 'siren'; accepted: audio_frame, coverage, detection, rollout, sensor_state",
        ),
        (("show", "detection", "--version", "99"), "--version is 99; accepted: 1"),
        (("show", "audio_frame", "--format", "json"), "accepted: avro: audio_frame is never written in JSON"),
        (("write", "/dev/null"), "DIRECTORY is '/dev/null'; accepted: one that can be written"),
    ],
)
def test_what_there_is_none_of_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        output_of(*arguments)
    assert message in str(error.value)


def test_a_directory_has_all_that_a_consumer_needs(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "for it"
    written = output_of("write", str(directory)).splitlines()
    assert sorted(written) == sorted(str(file) for file in directory.iterdir())
    avro = {f"{name}.{version}.avsc" for name, version in RELEASED}
    in_json = {f"{name}.{version}.json" for name, version in RELEASED if name in IN_JSON}
    assert {file.name for file in directory.iterdir()} == {*avro, *in_json, "vectors.json"}
    for name in avro:
        assert json.loads((directory / name).read_text("utf-8")) == shipped("avro", name)


def test_a_worker_writes_avro_unless_it_is_told_otherwise() -> None:
    assert load_settings().output.format is Format.AVRO
    assert load_settings(flags={"output.format": "json"}).output.format is Format.JSON


def test_another_form_is_refused_with_those_that_there_are() -> None:
    assert refused(flags={"output.format": "xml"}) == (
        "output.format is 'xml'; accepted: Input should be 'avro' or 'json'"
    )
