"""Commands of the sensor fleet: capture, simulate."""

from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.base import (
    FLEET,
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


@app.command(rich_help_panel=FLEET)
def capture(
    path: Annotated[Path, typer.Argument(help="A sound file, or a folder of them.")],
    sensor: Annotated[str, typer.Option(help="The sensor's id: the key of its frames.")],
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    frame_ms: Annotated[int, typer.Option(help="Length of a frame.")] = 20,
    encoding: Annotated[str, typer.Option(help="PCM_S16LE, PCM_F32LE or FLAC.")] = "PCM_S16LE",
    fast: Annotated[bool, typer.Option(help="As fast as it goes, not in real time.")] = False,
    repeat: Annotated[bool, typer.Option(help="Again and again, until stopped.")] = False,
) -> None:
    """Play sound files as one sensor.

    Example: earwitness capture kitchen.wav --sensor kitchen
    """
    from earwitness.play import capture
    from producers.capture import CaptureSettings, Pace
    from producers.framer import FramerSettings
    from schemas.frame import Encoding

    if encoding not in set(Encoding):
        raise ConfigurationError("--encoding", encoding, ", ".join(Encoding))
    framer = FramerSettings(frame_ms=frame_ms, encoding=Encoding(encoding))
    how = CaptureSettings(pace=Pace.FAST if fast else Pace.REAL_TIME, repeat=repeat, framer=framer)
    report = capture(read_settings(config, setting, broker), path, sensor, how, stop_on_signals())
    complain(f"{sensor}: {report.acknowledged} frames stored, {report.played.samples} samples")


@app.command(rich_help_panel=FLEET)
def simulate(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    sensors: Annotated[int, typer.Option(help="How many.")] = 10,
    sounds: Annotated[Path | None, typer.Option(help="File or folder to play; else the scene.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Of sound; else until stopped.")] = None,
    rate: Annotated[int, typer.Option(help="Samples per second.")] = 16_000,
    frame_ms: Annotated[int, typer.Option(help="Length of a frame.")] = 20,
    phases: Annotated[str, typer.Option(help="random or aligned.")] = "random",
    speed: Annotated[float, typer.Option(help="Multiple of real time; 0 for as fast as it goes.")] = 1.0,
    pattern: Annotated[str, typer.Option(help="Ids of the sensors.")] = "sensor-{:04d}",
    seed: Annotated[int, typer.Option(help="Decides what each sensor plays.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Play a fleet of sensors, paced without drift.

    Example: earwitness simulate --sensors 100 --sounds recordings/ --seconds 120
    """
    from dataclasses import asdict
    from json import dumps

    from earwitness.play import simulate
    from producers.fleet import FleetSettings, Phases

    if phases not in set(Phases):
        raise ConfigurationError("--phases", phases, ", ".join(Phases))
    fleet = FleetSettings(
        sensors=sensors,
        pattern=pattern,
        frame_ms=frame_ms,
        seconds=seconds,
        speed=speed or None,
        phases=Phases(phases),
        seed=seed,
    )
    report = simulate(read_settings(config, setting, broker), fleet, sounds, rate, stop_on_signals())
    if as_json:
        show(dumps(asdict(report)))
    late = f"p99 {report.p99_late_ms:.1f} ms late, at most {report.max_late_ms:.1f}"
    complain(
        f"{report.frames_sent} frames sent, {report.acknowledged} stored in {report.elapsed_s:.1f} s; {late}"
    )
    if report.failed or report.refused:
        raise typer.Exit(WENT_WRONG)
