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
    show_table,
    stop_on_signals,
)
from schemas.errors import ConfigurationError

SOURCE = "A file, a folder, an address (rtsp://…, https://…), mic, mic:NAME, or - for raw samples."
SETTLE = "With --watch: a file is complete after so many seconds without a change; 5 by default."


@app.command(rich_help_panel=FLEET)
def capture(
    source: Annotated[str | None, typer.Argument(help=SOURCE)] = None,
    sensor: Annotated[str | None, typer.Option(help="The sensor's id: the key of its frames.")] = None,
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    frame_ms: Annotated[int, typer.Option(help="Length of a frame.")] = 20,
    encoding: Annotated[str, typer.Option(help="PCM_S16LE, PCM_F32LE or FLAC.")] = "PCM_S16LE",
    fast: Annotated[bool, typer.Option(help="Recordings: as fast as it goes, not in real time.")] = False,
    repeat: Annotated[bool, typer.Option(help="Recordings: again and again, until stopped.")] = False,
    watch: Annotated[bool, typer.Option(help="A folder: each file as it arrives, until stopped.")] = False,
    new_only: Annotated[bool, typer.Option(help="With --watch: not the files that are there.")] = False,
    settle: Annotated[float | None, typer.Option(help=SETTLE)] = None,
    rate: Annotated[int | None, typer.Option(help="Raw, mic: samples per second; 16000 by default.")] = None,
    channels: Annotated[int | None, typer.Option(help="Raw, mic: channels; 1 by default.")] = None,
    sample_format: Annotated[str | None, typer.Option(help="Raw: s16le, the default, or f32le.")] = None,
    transport: Annotated[str | None, typer.Option(help="RTSP: tcp, the default, or udp.")] = None,
    spool: Annotated[Path | None, typer.Option(help="Same as -s spool.directory=…")] = None,
    keep_trying: Annotated[bool, typer.Option(help="Wait for a stream or mic that never worked.")] = False,
    list_devices: Annotated[bool, typer.Option(help="Show the microphones, and end.")] = False,
    verbose: Annotated[bool, typer.Option(help="A line every 10 s where there is no terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Capture sound as one sensor: recordings, a microphone, a stream, a pipe, a watched folder.

    What comes live has a level meter on the terminal. Sound that is lost is said aloud, opens a new epoch,
    and makes the exit code 1. With --spool it waits on disk while the broker takes none.

    Example: earwitness capture kitchen.wav --sensor kitchen

    Example: earwitness capture rtsp://10.0.0.7/audio --sensor gate
    """
    from dataclasses import asdict
    from functools import partial
    from json import dumps

    from earwitness.opening import SoundOptions, open_sound
    from earwitness.play import capture
    from earwitness.progress import progress
    from producers.capture import CaptureSettings, Pace
    from producers.framer import FramerSettings
    from schemas.frame import Encoding

    if list_devices:
        _show_devices(as_json)
        return
    if source is None:
        raise ConfigurationError("SOURCE", None, SOURCE)
    if sensor is None:
        raise ConfigurationError("--sensor", None, "the sensor's id")
    if encoding not in set(Encoding):
        raise ConfigurationError("--encoding", encoding, ", ".join(Encoding))
    framer = FramerSettings(frame_ms=frame_ms, encoding=Encoding(encoding))
    how = CaptureSettings(pace=Pace.FAST if fast else Pace.REAL_TIME, repeat=repeat, framer=framer)
    options = SoundOptions(
        rate, channels, sample_format, transport, keep_trying, watch, new_only, fast, repeat, settle
    )
    more = {"spool.directory": str(spool) if spool is not None else None}
    settings, stop = read_settings(config, setting, broker, more=more), stop_on_signals()
    sound = open_sound(source, options, stop)
    report = capture(settings, sound, sensor, how, stop, partial(progress, sensor, verbose=verbose))
    if as_json:
        show(dumps(asdict(report)))
    complain(report.as_line(sensor))
    if not report.whole:
        raise typer.Exit(WENT_WRONG)


def _show_devices(as_json: bool) -> None:
    from json import dumps

    from producers.sources.microphone import devices

    columns = "number", "name", "channels", "rate_hz"
    for_programs = [dict(zip(columns, device, strict=True)) for device in devices()]
    if as_json:
        for device in for_programs:
            show(dumps(device))
    else:
        show_table(columns, [[str(value) for value in device.values()] for device in for_programs])


@app.command(rich_help_panel=FLEET)
def spool(
    directory: Annotated[Path, typer.Argument(help="The spool of a capture, which may be running.")],
    as_json: AsJson = False,
) -> None:
    """Show what waits in a spool, oldest first, by sensor and epoch.

    Example: earwitness spool /var/lib/earwitness/spool
    """
    from dataclasses import asdict
    from datetime import UTC, datetime
    from json import dumps

    from producers.spool import what_waits
    from schemas.identity import epoch_text

    found = what_waits(directory)
    if as_json:
        for waiting in found:
            show(dumps({**asdict(waiting), "epoch": epoch_text(waiting.epoch)}))
        return
    rows = [
        [
            waiting.sensor,
            epoch_text(waiting.epoch),
            str(waiting.frames),
            f"{waiting.sound_s:.2f}",
            *(
                datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds")
                for at_us in (waiting.first_us, waiting.last_us)
            ),
        ]
        for waiting in found
    ]
    show_table(("sensor", "epoch", "frames", "seconds", "captured from", "to"), rows)
    frames, sound_s = sum(w.frames for w in found), sum(w.sound_s for w in found)
    complain(f"{frames} frames wait, {sound_s:.2f} s of sound")


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
        complain(
            f"LOST {report.refused} frames, as the buffer was full, and {report.failed} that were not stored"
        )
        raise typer.Exit(WENT_WRONG)
