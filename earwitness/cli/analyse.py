"""Commands for analysts who listen again: replay, diff, explain."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

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
from earwitness.cli.meant import Clock, From, OneSensor, Sensors, To, read_clock, read_wanted
from schemas.errors import ConfigurationError

Decided = Annotated[
    str | None, typer.Option(metavar="DIGEST", help="Only of this decision digest; its beginning will do.")
]


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

    With the settings of file and environment, rollouts are followed: each sensor is heard with the model that
    counted for it then. A model that is asked for here (--model, --set model.… or window.…) hears all of it.

    Example: earwitness replay --sensor 'hall-*' --from -1h -m my-model --out heard.parquet
    """
    from earwitness.analysis.plan import ReplaySettings
    from earwitness.analysis.replay import Targets, replay
    from earwitness.watch import as_json_line, as_text_line

    how = ReplaySettings(
        speed=_speed(speed),
        jobs=jobs,
        more_before_s=pre_roll,
        more_after_s=post_roll,
        everywhere=everywhere,
        scores=scores,
        one_model=_asks_for_a_model(model, setting),
    )
    wanted = read_wanted(sensor, begin, end, clock)
    given = partial(read_settings, config, setting, broker, model)
    line = as_json_line if as_json else as_text_line
    quiet = out is not None or to_topic is not None
    targets = Targets((lambda _: None) if quiet else (lambda found: show(line(found))), out, to_topic, force)
    replayed = replay(given, wanted, how, targets, stop_on_signals)
    if replayed.followed:
        complain(replayed.followed)
    complain(replayed.as_text())
    if replayed.stopped:
        complain("earwitness: stopped before the end: this is not all")
        raise typer.Exit(WENT_WRONG)


@app.command(rich_help_panel=ANALYSTS)
def diff(
    a: Annotated[str, typer.Argument(help="A file of detections (.jsonl, .parquet), or a topic.")],
    b: Annotated[str, typer.Argument(help="Another, over the same sound.")],
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    sensor: Sensors = None,
    begin: From = None,
    end: To = None,
    decision_a: Decided = None,
    decision_b: Decided = None,
    examples: Annotated[int, typer.Option(min=0, help="Shown of each label and kind.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Say what two models or settings hear differently over the same sound, by label, with examples.

    Times are the sensors' own, and only narrow down what is compared: give those that both sides have heard.

    Example: earwitness diff audio.detections strict.parquet --sensor 'hall-*' --from 2026-01-31T03:00:00Z
    """
    from earwitness.analysis.diff import compare
    from earwitness.analysis.heard import read_side
    from earwitness.analysis.showing import diff_lines, diff_rows

    settings = read_settings(config, setting, broker)
    wanted = read_wanted(sensor, begin, end, "sensor")
    sides = [
        read_side(option, name, settings, wanted, decision)
        for option, name, decision in (("--decision-a", a, decision_a), ("--decision-b", b, decision_b))
    ]
    compared = compare(*sides)
    if as_json:
        for line in diff_lines(compared):
            show(line)
        return
    show(f"A: {a}\nB: {b}\nidentical by id and every field: {compared.identical}")
    for columns, rows in diff_rows(compared, examples):
        show_table(columns, rows)


@app.command(rich_help_panel=ANALYSTS)
def explain(
    sensor: OneSensor,
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

    They are scored with the model that counted for the sensor then, unless one is asked for here (--model,
    --set model.… or window.…).

    Example: earwitness explain --sensor kitchen --at 2026-01-31T03:12:00Z --label smoke_alarm
    """
    from dataclasses import asdict
    from json import dumps

    from earwitness.analysis.case import Question
    from earwitness.analysis.explain import explain as explained
    from earwitness.analysis.wanted import Wanted, parse_time

    if not 0 < seconds <= 3600:
        raise ConfigurationError("--for", seconds, "more than 0, at most 3600")
    at_us = parse_time(at, "--at", time.time_ns() // 1000)
    wanted = Wanted((sensor,), at_us, at_us + max(1, round(seconds * 1e6)), read_clock(clock), literal=True)
    settings = read_settings(config, setting, broker, model)
    one_model = _asks_for_a_model(model, setting)
    for finding in explained(settings, Question(wanted, label), one_model=one_model):
        show(dumps(asdict(finding), ensure_ascii=False) if as_json else f"{finding.reason}: {finding.text}")


def _asks_for_a_model(model: str | None, settings: list[str] | None) -> bool:
    """Say whether a particular model is asked for; where models are to be found does not ask for one."""
    keys = [setting.partition("=")[0] for setting in settings or []]
    named = (key for key in keys if key != "model.catalogue")
    return model is not None or any(key.startswith(("model.", "window.")) for key in named)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        return float(text.removesuffix("x"))
    except ValueError:
        raise ConfigurationError("--speed", text, "a number such as 1 or 20, or max") from None
