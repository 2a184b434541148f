"""Options that name the sound that is meant: which sensors, from when to when, by whose clock."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from earwitness.analysis.wanted import TimeBase, Wanted

Sensors = Annotated[
    list[str] | None, typer.Option("--sensor", metavar="NAME", help="A sensor, or a glob such as 'hall-*'.")
]
OneSensor = Annotated[str, typer.Option("--sensor", metavar="NAME", help="The sensor's name.")]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="ISO 8601 with a zone, or -10m.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="As --from, or now.")]
Clock = Annotated[str, typer.Option(help="Whose clock the times are of: sensor, or broker.")]


def read_wanted(
    sensors: list[str] | None, begin: str | None, end: str | None, clock: str, *, literal: bool = False
) -> "Wanted":
    """Read which sound is meant; `literal` takes names as they are, where others may be globs.

    Raises:
        ConfigurationError: a name, a time or a clock is not one.

    """
    from earwitness.analysis.wanted import Wanted, parse_time

    now_us = time.time_ns() // 1000
    begin_us = None if begin is None else parse_time(begin, "--from", now_us)
    end_us = None if end is None else parse_time(end, "--to", now_us)
    return Wanted(tuple(sensors or ()), begin_us, end_us, read_clock(clock), literal=literal)


def read_clock(name: str) -> "TimeBase":
    """Read whose clock times are of.

    Raises:
        ConfigurationError: it is none.

    """
    from earwitness.analysis.wanted import TimeBase

    if name not in set(TimeBase):
        raise ConfigurationError("--clock", name, ", ".join(TimeBase))
    return TimeBase(name)
