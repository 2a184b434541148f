"""Commands for analysts who take sound and labels elsewhere: export, timeline."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli.base import (
    ANALYSTS,
    WENT_WRONG,
    AsJson,
    Broker,
    Config,
    Set,
    app,
    complain,
    read_settings,
    show,
)
from earwitness.cli.meant import Clock, From, OneSensor, To, read_wanted
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from earwitness.analysis.evidence import Lack
    from earwitness.analysis.export import Written
    from earwitness.analysis.timeline import Timeline

MAX_MARGIN_S = 600


@app.command(rich_help_panel=ANALYSTS)
def export(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Detections: ids, places such as audio.detections[3]@77, or - for JSON lines."),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out", "-o", help=".wav .flac .selections.txt .txt .parquet .csv .jsonl; several times."
        ),
    ] = None,
    sensor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Instead of detections: all sound of a sensor …")
    ] = None,
    begin: From = None,
    end: To = None,
    clock: Clock = "sensor",
    margin: Annotated[
        float, typer.Option(min=0, max=MAX_MARGIN_S, help="Seconds of sound before and after a detection.")
    ] = 1.0,
    force: Annotated[bool, typer.Option(help="Replace files that are there.")] = False,
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Take the sound behind detections, or of a time, to other programs: sound, labels, tables.

    What is missing of it is said of each file, and stands in it; the exit code is 1 only where a detection
    has no sound left.

    Example: earwitness export --sensor kitchen --from -10m --to now -o kitchen.flac -o kitchen.txt
    """
    from earwitness.analysis.evidence import named, of_detections, of_time
    from earwitness.analysis.export import Exporter
    from earwitness.analysis.lookup import Lookup
    from earwitness.analysis.sound import SoundReader
    from earwitness.analysis.target import Target
    from earwitness.analysis.whereabouts import bounded
    from processors.log import LogReader

    _check_asked(what, sensor, begin, end)
    if not out:
        raise ConfigurationError("--out", "missing", "at least one file to write, such as heard.wav")
    targets = [Target.named(file) for file in out]
    wanted = read_wanted([sensor], begin, end, clock, literal=True) if sensor is not None else None
    if wanted is not None:
        bounded(wanted)
    settings = read_settings(config, setting, broker)
    with LogReader(settings.kafka.librdkafka()) as reader:
        codec = settings.codec()
        lookup = Lookup(reader, codec, settings.tenant)
        exporter = Exporter(SoundReader(reader, codec), targets, force=force)
        if wanted is not None:
            told = of_time(lookup, exporter, wanted)
        else:
            told = of_detections(exporter, named(lookup, what or [], sys.stdin.buffer), margin)
        _tell(told, as_json=as_json)


@app.command(rich_help_panel=ANALYSTS)
def timeline(
    sensor: OneSensor,
    begin: From = None,
    end: To = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A .png to draw, not the terminal.")] = None,
    force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    as_json: AsJson = False,
) -> None:
    """Draw a sensor's time, by default its last hour: level, what was listened to, detections.

    Example: earwitness timeline --sensor kitchen --from -1h --out kitchen.png
    """
    from earwitness.analysis.lookup import Lookup
    from earwitness.analysis.overview import overview
    from earwitness.analysis.target import PICTURE, check_target
    from processors.log import LogReader

    if out is not None:
        check_target("--out", out, (PICTURE,), force=force)
    wanted = read_wanted([sensor], begin, end, "sensor", literal=True)
    settings = read_settings(config, setting, broker)
    with LogReader(settings.kafka.librdkafka()) as reader:
        lookup = Lookup(reader, settings.codec(), settings.tenant)
        laid_out = overview(lookup, wanted, time.time_ns() // 1000)
    if out is not None:
        _draw_picture(laid_out, out)
    if as_json:
        _show_rows(laid_out)
    elif out is None:
        _draw_in_terminal(laid_out)


def _check_asked(what: list[str] | None, sensor: str | None, begin: str | None, end: str | None) -> None:
    if bool(what) == (sensor is not None):
        given = "both" if what else "missing"
        raise ConfigurationError("what to export", given, "detections, or --sensor with --from and --to")
    if what and (begin or end):
        accepted = "none of them with detections, which say when they were"
        raise ConfigurationError("--from, --to", "given", accepted)


def _tell(told: "Iterable[Written | Lack]", *, as_json: bool) -> None:
    from json import dumps

    from earwitness.analysis.export import Written

    failed = False
    for one in told:
        complain(one.as_line())
        if not isinstance(one, Written):
            failed = failed or one.failed
        elif as_json:
            show(dumps({"file": str(one.file), **one.content}))
    if failed:
        raise typer.Exit(WENT_WRONG)


def _draw_picture(laid_out: "Timeline", out: Path) -> None:
    from earwitness.analysis.draw_png import draw_png
    from earwitness.analysis.target import part_of

    with part_of(out) as part:
        draw_png(laid_out, part)
    complain(f"{out}: {laid_out.sensor}, {len(laid_out.detections)} detections")


def _show_rows(laid_out: "Timeline") -> None:
    from json import dumps

    for row in laid_out.rows():
        show(dumps(row))


def _draw_in_terminal(laid_out: "Timeline") -> None:
    from rich.console import Console

    from earwitness.analysis.draw_text import draw

    console = Console(highlight=False)
    for line in draw(laid_out, console.width):
        console.print(line, soft_wrap=True)
