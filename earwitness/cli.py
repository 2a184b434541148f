"""The command line: reads the settings, makes the parts, and says in one line what went wrong."""

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table

from earwitness.settings import Settings, load_settings
from schemas.errors import CaptureError, ConfigurationError, EarwitnessError

app = typer.Typer(
    help="Earwitness: sound in, testimony out. Real-time audio event detection on Apache Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topics_app = typer.Typer(help="The topics of a tenant.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")

WRONG_SETTINGS, WENT_WRONG = 2, 1

Config = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; else earwitness.toml.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Any setting, such as batch.max_windows=16."),
]
Broker = Annotated[str | None, typer.Option("--broker", "-b", help="Same as -s kafka.bootstrap_servers=…")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Same as -s model.path=…")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def main() -> None:
    """Run the command line; known errors become one line and an exit code."""
    try:
        app()
    except ConfigurationError as exc:
        _complain(f"earwitness: {exc}")
        sys.exit(WRONG_SETTINGS)
    except (EarwitnessError, KafkaException) as exc:
        _complain(f"earwitness: {exc}")
        sys.exit(WENT_WRONG)


@app.command()
def demo(
    sound: Annotated[
        Path | None, typer.Argument(help="A sound file, or a folder; else a made-up scene.")
    ] = None,
    model: Model = None,
) -> None:
    """Hear first detections, with nothing but this program: a broker in memory, a worker, a scene.

    Example: earwitness demo kitchen.wav
    """
    from earwitness.demo import demo

    _configure_logging("error")
    if not demo(sound, model, Console(), stop_on_signals()):
        raise typer.Exit(WENT_WRONG)


@app.command()
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

    settings = _settings(config, setting, broker, model, {"worker.group": group})
    work(settings)


@app.command()
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
    report = capture(_settings(config, setting, broker), path, sensor, how, stop_on_signals())
    _complain(f"{sensor}: {report.acknowledged} frames stored, {report.played.samples} samples")


@app.command()
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
    report = simulate(_settings(config, setting, broker), fleet, sounds, rate, stop_on_signals())
    if as_json:
        print(dumps(asdict(report)))  # noqa: T201
    late = f"p99 {report.p99_late_ms:.1f} ms late, at most {report.max_late_ms:.1f}"
    _complain(
        f"{report.frames_sent} frames sent, {report.acknowledged} stored in {report.elapsed_s:.1f} s; {late}"
    )
    if report.failed or report.refused:
        raise typer.Exit(WENT_WRONG)


@app.command()
def watch(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    as_json: AsJson = False,
    earliest: Annotated[bool, typer.Option(help="From the topic's start, not from now.")] = False,
) -> None:
    """Show detections as they are published.

    Example: earwitness watch --json | jq .label
    """
    from earwitness.watch import detections

    settings = _settings(config, setting, broker)
    kafka, topic, stop = settings.kafka.librdkafka(), settings.tenant.detections, stop_on_signals()
    for published in detections(kafka, topic, settings.codec(), stop, earliest=earliest):
        print(published.as_json() if as_json else published.as_line(), flush=True)  # noqa: T201


@app.command()
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

    settings = _settings(config, setting, None, model)
    decision = settings.decision()
    scanner = Scanner(decision, OnnxScorer(settings.model_directory, decision.spec), Codec())
    failed = 0
    for file in [file for path in paths for file in files_in(path)]:
        try:
            for heard in scanner.scan(FileSource(file), file):
                print(heard.as_json() if as_json else _heard_line(heard), flush=True)  # noqa: T201
        except CaptureError as exc:
            _complain(f"earwitness: {exc}")
            failed += 1
    if failed:
        raise typer.Exit(WENT_WRONG)


@topics_app.command()
def create(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    partitions: Annotated[int, typer.Option(min=1, max=10_000)] = 8,
    replicas: Annotated[int, typer.Option(min=1, max=10)] = 1,
    retention_days: Annotated[float, typer.Option(min=0.001, help="Of frames and of what is said.")] = 7.0,
) -> None:
    """Create the topics that are missing, with the configuration that they need.

    Example: earwitness topics create -b kafka:9092 --partitions 32 --replicas 3
    """
    from earwitness.topics import TopicAdmin
    from schemas.topics import Topics

    settings = _settings(config, setting, broker)
    admin = TopicAdmin(settings.kafka.librdkafka())
    for tenant in settings.topics.tenants:
        created = admin.create(Topics(tenant), partitions, replicas, retention_days)
        for name in created:
            print(f"created {name}")  # noqa: T201
        if not created:
            print("all topics exist already")  # noqa: T201


@topics_app.command()
def describe(
    config: Config = None, setting: Set = None, broker: Broker = None, as_json: AsJson = False
) -> None:
    """Show the topics and the configuration that matters.

    Example: earwitness topics describe -b kafka:9092
    """
    from dataclasses import asdict
    from json import dumps

    from earwitness.topics import TopicAdmin
    from schemas.topics import Topics

    settings = _settings(config, setting, broker)
    names = [n for t in settings.topics.tenants for n in (Topics(t).frames, *Topics(t).outputs)]
    found = TopicAdmin(settings.kafka.librdkafka()).describe(names)
    if as_json:
        for topic in found.values():
            print(dumps(asdict(topic)))  # noqa: T201
    else:
        columns = ("partitions", "replicas", "timestamp_type", "cleanup_policy", "retention_ms")
        rows = [[name, *(str(getattr(found.get(name), c, "missing")) for c in columns)] for name in names]
        show_table(("topic", *columns), rows)
    if len(found) < len(names):
        raise typer.Exit(WENT_WRONG)


def show_table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """Print a table to standard output."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    handler: Callable[..., Any] = lambda *_: stop.set()  # noqa: E731
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
    return stop


def _settings(
    config: Path | None,
    setting: list[str] | None,
    broker: str | None = None,
    model: str | None = None,
    more: dict[str, str | None] | None = None,
) -> Settings:
    named = {"kafka.bootstrap_servers": broker, "model.path": model, **(more or {})}
    flags = {key: value for key, value in named.items() if value is not None}
    for given in setting or []:
        key, separator, value = given.partition("=")
        if not separator:
            raise ConfigurationError("--set", given, "KEY=VALUE, such as batch.max_windows=16")
        flags[key] = value
    settings = load_settings(config, flags)
    _configure_logging(settings.log.level)
    return settings


def _configure_logging(level: str) -> None:
    form = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=form, force=True)
    # These tell much about themselves; what matters of it reaches us as errors.
    for name in ("aiokafka", "faust", "mode", "librdkafka", "processors.transport"):
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL)


def _heard_line(heard: Any) -> str:
    score = "-" if heard.score is None else f"{heard.score:.2f}"
    return f"{heard.start_s:9.2f} s  {heard.end_s:9.2f} s  {heard.label:<16} {score:>5}  {heard.file}"


def _complain(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
