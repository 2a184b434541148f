"""Commands that hear: demo, work, watch, scan."""

from pathlib import Path
from typing import Annotated, Any

import typer

from earwitness.cli.base import (
    HEAR,
    WENT_WRONG,
    AsJson,
    Broker,
    Config,
    Model,
    Set,
    app,
    complain,
    configure_logging,
    print_line,
    read_settings,
    show,
    stop_on_signals,
)
from schemas.errors import CaptureError


@app.command(rich_help_panel=HEAR)
def demo(
    sound: Annotated[
        Path | None, typer.Argument(help="A sound file, or a folder; else a made-up scene.")
    ] = None,
    model: Model = None,
) -> None:
    """Hear first detections, with nothing but this program: a broker in memory, a worker, a scene.

    Example: earwitness demo kitchen.wav
    """
    from rich.console import Console

    from earwitness.demo import demo

    configure_logging("error")
    if not demo(sound, model, Console(), stop_on_signals()):
        raise typer.Exit(WENT_WRONG)


@app.command(rich_help_panel=HEAR)
def work(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    model: Model = None,
    group: str | None = None,
) -> None:
    """Read frames, score windows, publish detections, until SIGINT or SIGTERM.

    Example: earwitness work -b kafka:9092 -s worker.begin_at=earliest
    """
    from earwitness.work import work

    settings = read_settings(config, setting, broker, model, {"worker.group": group})
    work(settings)


@app.command(rich_help_panel=HEAR)
def watch(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    as_json: AsJson = False,
    earliest: Annotated[bool, typer.Option(help="From the topic's start, not from now.")] = False,
    latency: Annotated[bool, typer.Option("--latency", help="Draw below each where its time went.")] = False,
) -> None:
    """Show detections as they are published.

    With --json the readings of every stage are there anyway, as `stages`.

    Example: earwitness watch --json | jq .label
    """
    from earwitness.operation.waterfall import waterfall
    from earwitness.watch import detections
    from processors.log import LogReader

    settings = read_settings(config, setting, broker)
    topic, stop = settings.tenant.detections, stop_on_signals()
    with LogReader(settings.kafka.librdkafka()) as reader:
        for published in detections(reader, topic, settings.codec(), stop, earliest=earliest):
            show(published.as_json() if as_json else published.as_line())
            if latency and not as_json and published.readings is not None:
                print_line(waterfall(published.readings))


@app.command(rich_help_panel=HEAR)
def scan(
    paths: Annotated[list[Path], typer.Argument(help="Sound files, or folders of them.")],
    config: Config = None,
    setting: Set = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Say what is heard in sound files, through the same pipeline, without a broker.

    Example: earwitness scan --json recordings/ | jq 'select(.label == "siren")'
    """
    from earwitness.scan import Scanner
    from processors.score import OnnxScorer
    from producers.sources.files import FileSource, files_in
    from schemas.codec import Codec

    settings = read_settings(config, setting, None, model)
    decision = settings.decision()
    scanner = Scanner(decision, OnnxScorer(settings.model_directory, decision.spec), Codec())
    failed = 0
    for file in [file for path in paths for file in files_in(path)]:
        try:
            for heard in scanner.scan(FileSource(file), file):
                show(heard.as_json() if as_json else _heard_line(heard))
        except CaptureError as exc:
            complain(f"earwitness: {exc}")
            failed += 1
    if failed:
        raise typer.Exit(WENT_WRONG)


def _heard_line(heard: Any) -> str:
    score = "-" if heard.score is None else f"{heard.score:.2f}"
    return f"{heard.start_s:9.2f} s  {heard.end_s:9.2f} s  {heard.label:<16} {score:>5}  {heard.file}"
