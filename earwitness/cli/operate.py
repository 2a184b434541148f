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
    print_table,
    read_settings,
    show,
    stop_on_signals,
    table_of,
)
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table

    from earwitness.operation.checks.finding import Finding
    from earwitness.operation.sensors import Row
    from earwitness.settings import Settings

__all__ = ["doctor", "letters", "sensors"]

REFRESH_S, WIDTH = 2.0, 200
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
        bool,
        typer.Option(
            "--forget", help="Forget those of these ids (no globs) that are SILENT: they were taken down."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say who is there and how they hear, the worst first.

    Exit code: 0 all is well, 1 something is broken or nobody is there, 3 there are warnings only.

    Example: earwitness sensors --expected fleet.txt --json | jq 'select(.worst != "ok")'
    """
    from earwitness.operation.health import exit_code
    from earwitness.operation.sensors import named, read_expected
    from earwitness.operation.sensors import sensors as rows_of
    from processors.log import LogReader

    if forget and (watch or not patterns):
        raise ConfigurationError("--forget", watch or None, "at least one SENSOR, and no --watch")
    settings = read_settings(config, setting, broker, None, _who(expected))
    names, codec, topic = read_expected(settings.sensors.expected), settings.codec(), settings.tenant.sensors
    with LogReader(settings.kafka.librdkafka()) as reader:
        if forget:
            rows = named(rows_of(reader, codec, topic, names), patterns or ())
            _show_rows(rows, as_json=as_json)
            return _forget(settings, rows)
        looks = _looks(lambda: rows_of(reader, codec, topic, names, patterns or ()), watch=watch)
        rows = _show_looks(looks, watch=watch, as_json=as_json)
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
    from earwitness.operation.sensors import COLUMNS

    styles = [STYLES[row.level] if row.problems else None for row in rows]
    return table_of(COLUMNS, [row.as_cells() for row in rows], styles)


def _show_rows(rows: "list[Row]", *, as_json: bool) -> None:
    if not as_json:
        print_table(_sensor_table(rows), WIDTH)
        return
    for row in rows:
        show(row.as_json())


def _show_findings(found: "list[tuple[str, Finding]]") -> None:
    from rich.text import Text

    findings = sorted((finding for _, finding in found), key=lambda finding: -finding.level.rank)
    rows = [
        (Text(finding.level, STYLES[finding.level]), finding.subject, finding.found, finding.advice)
        for finding in findings
    ]
    print_table(table_of(("", "what", "found", "what to do"), rows), WIDTH)
