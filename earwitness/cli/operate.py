"""Commands for the operator: sensors, doctor, and dead-letters, which has a module of its own."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli import letters
from earwitness.cli.base import (
    OPERATE,
    WENT_WRONG,
    AsJson,
    Broker,
    Config,
    Set,
    app,
    complain,
    read_settings,
    show,
    stop_on_signals,
)
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table

    from earwitness.operation.checks.finding import Finding
    from earwitness.operation.sensors import Row
    from earwitness.settings import Settings

__all__ = ["doctor", "letters", "sensors"]

REFRESH_S = 2.0
STYLES = {"ok": "green", "warn": "yellow", "broken": "bold red"}


def _names_of_checks() -> list[str]:
    from earwitness.operation.doctor import CHECKS

    return list(CHECKS)


@app.command(rich_help_panel=OPERATE)
def sensors(
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="[SENSOR]...", help="Ids, or globs such as 'hall-*'.")
    ] = None,
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    expected: Annotated[
        Path | None, typer.Option(help="Who should be there, one id a line; same as sensors.expected.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Again every two seconds, until stopped.")
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget those that match and are SILENT: they were taken down.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say who is there and how they hear, the worst first.

    Exit code: 0 all is well, 1 something is broken or nobody is there, 3 there are warnings only.

    Example: earwitness sensors --expected fleet.txt --json | jq 'select(.worst != "ok")'
    """
    from earwitness.operation.health import exit_code
    from earwitness.operation.sensors import read_expected
    from earwitness.operation.sensors import sensors as rows_of
    from processors.log import LogReader

    if forget and (watch or not patterns):
        raise ConfigurationError("--forget", watch or None, "at least one SENSOR, and no --watch")
    settings = read_settings(config, setting, broker, None, _who(expected))
    names, codec, topic = read_expected(settings.sensors.expected), settings.codec(), settings.tenant.sensors
    with LogReader(settings.kafka.librdkafka()) as reader:
        looks = _looks(lambda: rows_of(reader, codec, topic, names, patterns or ()), watch=watch)
        rows = _show_looks(looks, watch=watch, as_json=as_json)
    if forget:
        _forget(settings, rows)
        return
    if not rows:
        like = f" like {', '.join(patterns)}" if patterns else ""
        complain(f"earwitness: {topic} knows no sensor{like}")
        raise typer.Exit(WENT_WRONG)
    raise typer.Exit(exit_code([row.level for row in rows]))


@app.command(rich_help_panel=OPERATE)
def doctor(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHECK", help="Such as topics; may be given again.", autocompletion=_names_of_checks
        ),
    ] = None,
    expected: Annotated[
        Path | None, typer.Option(help="Who should be there, one id a line; same as sensors.expected.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at everything that hearing depends on: what is wrong, how bad it is, what to do.

    Changes nothing, writes nothing, registers nothing.

    Exit code: 0 nothing is wrong, 1 something is broken, 3 there are warnings only.

    Example: earwitness doctor -b kafka:9092 --json | jq 'select(.level == "broken")'
    """
    from earwitness.operation.checks.finding import Case
    from earwitness.operation.doctor import examine
    from earwitness.operation.health import exit_code
    from earwitness.operation.sensors import read_expected

    settings = read_settings(config, setting, broker, None, _who(expected))
    case = Case(settings, read_expected(settings.sensors.expected))
    found = []
    for check, finding in examine(case, tuple(only or ())):
        found.append((check, finding))
        if as_json:
            show(finding.as_json(check))
    if not as_json:
        _show_findings(found)
    raise typer.Exit(exit_code([finding.level for _, finding in found]))


def _who(expected: Path | None) -> dict[str, str | None]:
    return {"sensors.expected": None if expected is None else str(expected)}


def _looks(look: "Callable[[], list[Row]]", *, watch: bool) -> "Iterator[list[Row]]":
    """Look once, or again and again until a signal says that it is enough."""
    if not watch:
        yield look()
        return
    stop = stop_on_signals()
    while not stop.is_set():
        yield look()
        stop.wait(REFRESH_S)


def _show_looks(looks: "Iterator[list[Row]]", *, watch: bool, as_json: bool) -> "list[Row]":
    """Show what each look saw; return what the last one did."""
    from rich.live import Live

    rows: list[Row] = []
    if as_json or not watch:
        for rows in looks:
            _show_rows(rows, as_json=as_json)
        return rows
    with Live(screen=sys.stdout.isatty(), auto_refresh=False) as live:
        for rows in looks:
            live.update(_sensor_table(rows), refresh=True)
    return rows


def _forget(settings: "Settings", rows: "list[Row]") -> None:
    from earwitness.operation.append import append
    from earwitness.operation.sensors import forgotten

    records = forgotten(rows, settings.tenant.sensors)
    append(settings.kafka.librdkafka(), settings.publisher, records.values())
    complain(f"forgotten: {', '.join(records) or 'none, since none of them is SILENT'}")


def _sensor_table(rows: "list[Row]") -> "Table":
    from rich.table import Table

    from earwitness.operation.sensors import COLUMNS

    table = Table(*COLUMNS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(_plain, row.as_cells()), style=STYLES[row.level] if row.problems else None)
    return table


def _show_rows(rows: "list[Row]", *, as_json: bool) -> None:
    if not as_json:
        _print(_sensor_table(rows))
        return
    for row in rows:
        show(row.as_json())


def _show_findings(found: "list[tuple[str, Finding]]") -> None:
    from rich.table import Table

    table = Table("", "what", "found", "what to do", box=None, pad_edge=False)
    for _, finding in sorted(found, key=lambda one: -one[1].level.rank):
        style = STYLES[finding.level]
        table.add_row(
            f"[{style}]{finding.level}[/]", *map(_plain, (finding.subject, finding.found, finding.advice))
        )
    _print(table)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _print(table: "Table") -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200).print(table)
