"""Commands for service authors: the schemas of what is published."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earwitness.cli.base import AsJson, app, show, show_table
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICES = "Read what is published"

schemas_app = typer.Typer(invoke_without_command=True)
app.add_typer(schemas_app, name="schemas", rich_help_panel=SERVICES)


class Form(StrEnum):
    """A language that schemas are written in."""

    AVRO = "avro"
    JSON = "json"


@schemas_app.callback()
def list_schemas(context: typer.Context, as_json: AsJson = False) -> None:
    """The schemas of what is published: list, show, write them.

    The fingerprint, in hex as on the wire, tells what wrote a record in Avro where there is no registry.

    Example: earwitness schemas
    """
    if context.invoked_subcommand is not None:
        return
    from schemas.codec import IN_JSON, avro_fingerprint

    rows = [
        {
            "name": name,
            "version": version,
            "fingerprint": avro_fingerprint(avro).hex(),
            "json": name in IN_JSON,
        }
        for name, version, avro in _released()
    ]
    if as_json:
        for row in rows:
            show(json.dumps(row))
    else:
        forms = ["avro, json" if row["json"] else "avro" for row in rows]
        columns = ("name", "version", "fingerprint", "forms")
        show_table(
            columns,
            [[*map(str, list(row.values())[:3]), form] for row, form in zip(rows, forms, strict=True)],
        )


@schemas_app.command("show")
def show_schema(
    name: Annotated[str, typer.Argument(help="Such as detection; `earwitness schemas` lists them.")],
    form: Annotated[Form, typer.Option("--format", help="Avro, or JSON Schema 2020-12.")] = Form.AVRO,
    version: Annotated[int | None, typer.Option(min=1, help="Else the newest.")] = None,
) -> None:
    """Print a schema.

    Example: earwitness schemas show detection --format json
    """
    show(_text(name, form, version).rstrip("\n"))


@schemas_app.command()
def write(
    directory: Annotated[Path, typer.Argument(help="Made if it is missing.")],
) -> None:
    """Write every schema of every release, and the test vectors, to a directory.

    Example: earwitness schemas write ./earwitness-schemas
    """
    from importlib.resources import files

    texts = {"vectors.json": files("schemas").joinpath("vectors.json").read_text("utf-8")}
    for name, version, _ in _released():
        texts[f"{name}.{version}.avsc"] = _text(name, Form.AVRO, version)
        if _is_json(name):
            texts[f"{name}.{version}.json"] = _text(name, Form.JSON, version)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (directory / file).write_text(text, "utf-8")
    except OSError as exc:
        raise ConfigurationError("DIRECTORY", str(directory), f"one that can be written: {exc}") from exc
    for file in sorted(texts):
        show(str(directory / file))


def _released() -> "Iterator[tuple[str, int, dict[str, Any]]]":
    from schemas.codec import released_schemas

    for name, versions in sorted(released_schemas().items()):
        for version, avro in enumerate(versions, 1):
            yield name, version, avro


def _is_json(name: str) -> bool:
    from schemas.codec import IN_JSON

    return name in IN_JSON


def _text(name: str, form: Form, version: int | None) -> str:
    """Return a schema as text.

    Raises:
        ConfigurationError: there is no such record, no such version, or it is never written in this form.

    """
    from schemas.json_schema import as_text, json_schema

    versions = {number: avro for found, number, avro in _released() if found == name}
    if not versions:
        raise ConfigurationError("NAME", name, ", ".join(sorted({found for found, _, _ in _released()})))
    number = version or max(versions)
    if number not in versions:
        raise ConfigurationError("--version", number, ", ".join(map(str, versions)))
    if form is Form.AVRO:
        return as_text(versions[number])
    if not _is_json(name):
        raise ConfigurationError("--format", form.value, f"avro: {name} is never written in JSON")
    return as_text(json_schema(versions[number], name, number))
