"""Commands for analysts who take sound and labels elsewhere: export, timeline."""

from collections.abc import Iterable, Iterator
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
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from earwitness.analysis.export import Exporter, Written
    from earwitness.analysis.lookup import Lookup, Wanted
    from earwitness.analysis.timeline import Timeline
    from schemas.detection import Detection

MAX_RANGE_S, MAX_MARGIN_S, MAX_STDIN_DETECTIONS = 86_400, 600, 10_000
DEFAULT_RANGE_US = 3_600_000_000
FROM_STDIN = "-"
SEAM_US = 10_000
"""Sound that is shorter than what was asked for by less than this is all of it: times are rounded."""

From = Annotated[str | None, typer.Option("--from", help="ISO 8601 with a zone, or -10m, -2h, -1d.")]
To = Annotated[str | None, typer.Option("--to", help="The same, or now.")]


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
    sensor: Annotated[str | None, typer.Option(help="Instead of detections: all sound of a sensor …")] = None,
    begin: From = None,
    end: To = None,
    clock: Annotated[str, typer.Option(help="Whose clock the times are by: sensor or broker.")] = "sensor",
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

    Example: earwitness export --sensor kitchen --from -10m --to now -o kitchen.flac -o kitchen.txt
    """
    from earwitness.analysis.export import Exporter, Target
    from earwitness.analysis.lookup import Lookup
    from earwitness.analysis.sound import SoundReader
    from processors.log import LogReader

    if not out:
        raise ConfigurationError("--out", "missing", "at least one file to write, such as heard.wav")
    if bool(what) == bool(sensor):
        raise ConfigurationError("what to export", "missing", "detections, or --sensor with --from and --to")
    if what and (begin or end):
        raise ConfigurationError(
            "--from, --to", "given", "none of them with detections, which say when they were"
        )
    targets = [Target.named(file) for file in out]
    wanted = _wanted(sensor, begin, end, clock) if sensor else None
    settings = read_settings(config, setting, broker)
    with LogReader(settings.kafka.librdkafka()) as reader:
        codec = settings.codec()
        lookup, exporter = (
            Lookup(reader, codec, settings.tenant),
            Exporter(SoundReader(reader, codec), targets, force=force),
        )
        if wanted is not None:
            _tell(_of_time(lookup, exporter, wanted), as_json=as_json)
        else:
            _tell(_of_detections(exporter, _named(lookup, what or []), margin), as_json=as_json)


@app.command(rich_help_panel=ANALYSTS)
def timeline(
    sensor: Annotated[str, typer.Option(help="Whose time.")],
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
    from earwitness.analysis.export import PICTURE, check_file
    from earwitness.analysis.lookup import Lookup
    from processors.log import LogReader

    if out is not None:
        check_file(out, (PICTURE,), force=force)
    settings = read_settings(config, setting, broker)
    with LogReader(settings.kafka.librdkafka()) as reader:
        lookup = Lookup(reader, settings.codec(), settings.tenant)
        laid_out = _timeline(lookup, _literally(sensor), begin, end)
    _draw(laid_out, out, as_json=as_json)


def _timeline(lookup: "Lookup", sensor: str, begin: str | None, end: str | None) -> "Timeline":
    from earwitness.analysis.lookup import Wanted
    from earwitness.analysis.span import expired, nothing_there
    from earwitness.analysis.timeline import timeline

    state = lookup.states().get(sensor)
    begin_us, end_us = _times(begin or "now", end or "now")
    if begin is None and end is None and state is not None:
        end_us = state.captured_at_us
    if begin is None:
        begin_us = end_us - DEFAULT_RANGE_US
    _refuse_too_long(begin_us, end_us)
    wanted = Wanted((sensor,), begin_us, end_us)
    said = lookup.coverage(wanted)
    if not said and state is None:
        raise nothing_there(lookup, wanted)
    return timeline(sensor, begin_us, end_us, said, lookup.detections(wanted), expired(lookup, said))


def _draw(laid_out: "Timeline", out: Path | None, *, as_json: bool) -> None:
    from json import dumps

    if out is not None:
        from earwitness.analysis.draw_png import draw_png

        draw_png(laid_out, out)
        complain(f"{out}: {laid_out.sensor}, {len(laid_out.detections)} detections")
    for row in laid_out.rows() if as_json else ():
        show(dumps(row))
    if out is None and not as_json:
        from rich.console import Console

        from earwitness.analysis.draw_text import draw

        console = Console(highlight=False)
        for line in draw(laid_out, console.width):
            console.print(line, soft_wrap=True)


def _wanted(sensor: str, begin: str | None, end: str | None, clock: str) -> "Wanted":
    from earwitness.analysis.lookup import TimeBase, Wanted

    if begin is None or end is None:
        raise ConfigurationError("--from" if begin is None else "--to", "missing", "a time, such as -10m")
    if clock not in set(TimeBase):
        raise ConfigurationError("--clock", clock, ", ".join(TimeBase))
    begin_us, end_us = _times(begin, end)
    _refuse_too_long(begin_us, end_us)
    return Wanted((_literally(sensor),), begin_us, end_us, TimeBase(clock))


def _refuse_too_long(begin_us: int, end_us: int) -> None:
    if end_us - begin_us > MAX_RANGE_S * 1_000_000:
        asked = f"{(end_us - begin_us) / 3.6e9:.1f} hours"
        raise ConfigurationError("--from, --to", asked, f"at most {MAX_RANGE_S // 3600} hours at a time")


def _times(begin: str, end: str) -> tuple[int, int]:
    from time import time

    from earwitness.analysis.lookup import parse_time

    now_us = round(time() * 1e6)
    return parse_time(begin, "--from", now_us), parse_time(end, "--to", now_us)


def _literally(sensor: str) -> str:
    if any(character in sensor for character in "*?["):
        raise ConfigurationError("--sensor", sensor, "the name of one sensor, without * ? [")
    return sensor


def _of_time(lookup: "Lookup", exporter: "Exporter", wanted: "Wanted") -> "Iterator[Written]":
    from earwitness.analysis.piece import Cut, TimeCut, WholeFrames
    from earwitness.analysis.span import nothing_there, places

    detections = lookup.detections(wanted)
    if exporter.wants_sound:
        whole = wanted.clock == "broker" or wanted.begin_us is None or wanted.end_us is None
        cut: Cut = WholeFrames() if whole else TimeCut(wanted.begin_us or 0, wanted.end_us or 0)
        sounds: list[Written] = []
        for written in exporter.sound([(place, cut) for place in places(lookup, wanted)], detections):
            sounds.append(written)
            yield written
        if not sounds:
            raise nothing_there(lookup, wanted)
        _complain_of_what_is_missing(sounds, wanted)
    yield from exporter.tables(detections)


def _complain_of_what_is_missing(sounds: "list[Written]", wanted: "Wanted") -> None:
    from earwitness.analysis.export import heard_us

    if wanted.clock == "sensor" and wanted.begin_us is not None and wanted.end_us is not None:
        asked_us = wanted.end_us - wanted.begin_us
        without_us = asked_us - heard_us(sounds)
        if without_us > SEAM_US:
            without = f"{without_us / 1e6:.3f} s of the {asked_us / 1e6:.3f} s that were asked for"
            complain(f"no sound of {without}: `earwitness timeline` shows when and why")


def _of_detections(
    exporter: "Exporter", detections: "list[Detection]", margin_s: float
) -> "Iterator[Written]":
    failed = 0
    for detection in detections if exporter.wants_sound else ():
        try:
            yield from exporter.around(detection, margin_s, detections)
        except ConfigurationError as exc:
            if len(detections) == 1:
                raise
            complain(f"earwitness: {detection.id}: {exc}")
            failed += 1
    yield from exporter.tables(detections)
    if failed:
        raise typer.Exit(WENT_WRONG)


def _named(lookup: "Lookup", what: list[str]) -> "list[Detection]":
    from earwitness.analysis.lookup import upserted

    found: list[Detection] = []
    for name in what:
        found.extend(_from_stdin() if name == FROM_STDIN else [lookup.detection(name)])
    if not found:
        raise ConfigurationError(
            "detections", "none", "at least one, such as `earwitness watch --json` prints"
        )
    return upserted(found)


def _from_stdin() -> "Iterator[Detection]":
    import sys
    from itertools import islice

    from earwitness.analysis.tables import detection_of

    for number, line in enumerate(islice(sys.stdin, MAX_STDIN_DETECTIONS + 1), 1):
        if number > MAX_STDIN_DETECTIONS:
            accepted = f"at most {MAX_STDIN_DETECTIONS} detections at a time"
            raise ConfigurationError("standard input", "more lines", accepted)
        if line.strip():
            yield detection_of(line, number)


def _tell(files: "Iterable[Written]", *, as_json: bool) -> None:
    from json import dumps

    for written in files:
        complain(written.as_line())
        if as_json:
            show(dumps({"file": str(written.file), **written.content}))
