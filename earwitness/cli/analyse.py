"""Commands for analysts who listen again: replay, diff, explain."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli.base import (
    ANALYSTS,
    WENT_WRONG,
    AsJson,
    Broker,
    Config,
    Model,
    Set,
    app,
    complain,
    read_settings,
    show,
    show_table,
    stop_on_signals,
)
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from earwitness.analysis.lookup import TimeBase, Wanted

Sensors = Annotated[
    list[str] | None, typer.Option("--sensor", metavar="NAME", help="A sensor, or a glob such as 'hall-*'.")
]
From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="ISO 8601 with a zone, or -10m.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="As --from, or now.")]
Clock = Annotated[str, typer.Option(help="Whose clock the times are of: sensor, or broker.")]


@app.command(rich_help_panel=ANALYSTS)
def replay(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    model: Model = None,
    sensor: Sensors = None,
    begin: From = None,
    end: To = None,
    clock: Clock = "sensor",
    speed: Annotated[str, typer.Option(help="A multiple of real time, or max.")] = "max",
    out: Annotated[Path | None, typer.Option(help="Detections: .jsonl, .csv or .parquet.")] = None,
    to_topic: Annotated[str | None, typer.Option(help="Publish to this topic; made if missing.")] = None,
    scores: Annotated[Path | None, typer.Option(help="Scores of every window: .parquet.")] = None,
    pre_roll: Annotated[float, typer.Option(help="More seconds before than the edge needs.")] = 0.0,
    post_roll: Annotated[float, typer.Option(help="More seconds after than the edge needs.")] = 0.0,
    jobs: Annotated[int, typer.Option(help="Processes; 0 for one a core.")] = 0,
    everywhere: Annotated[bool, typer.Option(help="Search all of coverage: clocks far off.")] = False,
    force: Annotated[bool, typer.Option(help="Write over files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Listen again to recorded sound, with any model and settings; the worker's own give its detections.

    Example: earwitness replay --sensor 'hall-*' --from -1h -m my-model --out heard.parquet
    """
    from earwitness.analysis.plan import ReplaySettings
    from earwitness.analysis.replay import Targets, replay
    from earwitness.watch import as_json_line, as_text_line

    how = ReplaySettings(
        speed=_speed(speed),
        jobs=jobs,
        lead_s=pre_roll,
        tail_s=post_roll,
        everywhere=everywhere,
        scores=scores,
    )
    wanted = read_wanted(sensor, begin, end, clock)
    given = partial(read_settings, config, setting, broker, model)
    line = as_json_line if as_json else as_text_line
    printed = None if out or to_topic else lambda found: show(line(found))
    stop = stop_on_signals()
    replayed = replay(given, wanted, how, Targets(printed, out, to_topic, force), stop)
    complain(replayed.as_text())
    if stop.is_set():
        complain("earwitness: stopped before the end: this is not all")
        raise typer.Exit(WENT_WRONG)


@app.command(rich_help_panel=ANALYSTS)
def diff(
    a: Annotated[str, typer.Argument(help="A file of detections (.jsonl, .parquet), or a topic.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    examples: Annotated[int, typer.Option(min=0, help="Shown of each label and kind.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Say what two models or settings hear differently over the same sound, by label, with examples.

    Example: earwitness diff heard.parquet audio.detections
    """
    from earwitness.analysis.diff import compare
    from earwitness.analysis.heard import read_detections
    from earwitness.analysis.showing import diff_lines, diff_rows

    settings = read_settings(config, setting, broker)
    compared = compare(read_detections(a, settings), read_detections(b, settings))
    if as_json:
        for line in diff_lines(compared):
            show(line)
        return
    show(f"A: {a}\nB: {b}\nidentical by id and every field: {compared.identical}")
    for columns, rows in diff_rows(compared, examples):
        show_table(columns, rows)


@app.command(rich_help_panel=ANALYSTS)
def explain(
    sensor: Annotated[str, typer.Option(help="The sensor's name.")],
    at: Annotated[str, typer.Option(metavar="TIME", help="ISO 8601 with a zone, or -10m.")],
    label: Annotated[str | None, typer.Option(help="What was not detected; else any label.")] = None,
    seconds: Annotated[float, typer.Option("--for", help="Seconds of sound from then on.")] = 0.001,
    clock: Clock = "sensor",
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Say why a sound was not a detection: what happened to it, and what its windows scored.

    Example: earwitness explain --sensor kitchen --at 2026-01-31T03:12:00Z --label smoke_alarm
    """
    from dataclasses import asdict
    from json import dumps

    from earwitness.analysis.explain import Question
    from earwitness.analysis.explain import explain as explained
    from earwitness.analysis.lookup import Wanted, parse_time

    if not 0 < seconds <= 3600:
        raise ConfigurationError("--for", seconds, "more than 0, at most 3600")
    at_us = parse_time(at, "--at", time.time_ns() // 1000)
    wanted = Wanted((sensor,), at_us, at_us + max(1, round(seconds * 1e6)), read_clock(clock))
    settings = read_settings(config, setting, broker, model)
    for finding in explained(settings, Question(wanted, label), stop_on_signals()):
        show(dumps(asdict(finding), ensure_ascii=False) if as_json else f"{finding.reason}: {finding.text}")


def read_wanted(sensor: list[str] | None, begin: str | None, end: str | None, clock: str) -> "Wanted":
    """Read which sound is meant.

    Raises:
        ConfigurationError: a time or a clock is not one.

    """
    from earwitness.analysis.lookup import Wanted, parse_time

    now_us = time.time_ns() // 1000
    begin_us = None if begin is None else parse_time(begin, "--from", now_us)
    end_us = None if end is None else parse_time(end, "--to", now_us)
    return Wanted(tuple(sensor or ()), begin_us, end_us, read_clock(clock))


def read_clock(name: str) -> "TimeBase":
    """Read whose clock times are of.

    Raises:
        ConfigurationError: it is none.

    """
    from earwitness.analysis.lookup import TimeBase

    if name not in set(TimeBase):
        raise ConfigurationError("--clock", name, ", ".join(TimeBase))
    return TimeBase(name)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        return float(text.removesuffix("x"))
    except ValueError:
        raise ConfigurationError("--speed", text, "a number such as 1 or 20, or max") from None
