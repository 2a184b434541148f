"""What all commands share: the app, its common options, settings, exit codes, tables."""

import logging
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from earwitness.settings import Settings

app = typer.Typer(
    help="Earwitness: sound in, testimony out. Real-time audio event detection on Apache Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

HEAR, FLEET, ANALYSTS, OPERATE = "Hear", "Sensors", "Analyse what was heard", "Operate"
"""Panels of the help."""
WRONG_SETTINGS, WENT_WRONG = 2, 1

Config = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; else earwitness.toml.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Any setting, such as batch.max_windows=16."),
]
Broker = Annotated[str | None, typer.Option("--broker", "-b", help="Same as -s kafka.bootstrap_servers=…")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Same as -s model.path=…")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def read_settings(
    config: Path | None,
    setting: list[str] | None,
    broker: str | None = None,
    model: str | None = None,
    more: dict[str, str | None] | None = None,
) -> "Settings":
    """Read the settings: flags first, then the environment, then the file.

    Raises:
        ConfigurationError: a key does not exist, or a value cannot work.

    """
    from earwitness.settings import load_settings

    named = {"kafka.bootstrap_servers": broker, "model.path": model, **(more or {})}
    flags = {key: value for key, value in named.items() if value is not None}
    for given in setting or []:
        key, separator, value = given.partition("=")
        if not separator:
            raise ConfigurationError("--set", given, "KEY=VALUE, such as batch.max_windows=16")
        flags[key] = value
    settings = load_settings(config, flags)
    configure_logging(settings.log.level)
    return settings


def configure_logging(level: str) -> None:
    """Say what we have to say on standard error."""
    form = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=form, force=True)
    # These tell much about themselves; what matters of it reaches us as errors.
    for name in ("aiokafka", "faust", "mode", "librdkafka", "processors.transport", "httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set; the second of them ends the program at once."""
    stop = threading.Event()

    def handler(*_: object) -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
    return stop


def show(text: str) -> None:
    """Print a line of results to standard output."""
    print(text, flush=True)  # noqa: T201


def complain(text: str) -> None:
    """Print a line about what was done, or went wrong, to standard error."""
    print(text, file=sys.stderr)  # noqa: T201


def table_of(
    columns: Sequence[str], rows: "Iterable[Sequence[str | Text]]", styles: Iterable[str | None] = ()
) -> "Table":
    """Lay a table out, with a style for each row. Text is shown as it is: `[red]` may be a sensor's name."""
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(Text(name)) for name in columns), box=None, pad_edge=False)
    for row, style in zip_longest(rows, styles):
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row), style=style)
    return table


def print_table(table: "Table", width: int = 160) -> None:
    """Print a table to standard output; `width` is for where there is no terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else width).print(table)


def print_line(line: "Text") -> None:
    """Print a line in colours where there is a terminal; it is never broken."""
    from rich.console import Console

    Console(soft_wrap=True).print(line)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text below the names of their columns."""
    print_table(table_of(columns, rows))
