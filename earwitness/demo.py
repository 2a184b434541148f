"""`earwitness demo`: the whole product on one machine, in under a minute.

    scene or file ─► embedded broker ─► a worker process ─► detections, as they come ─► found, missed, false

Nothing is simulated but the broker: the worker is the one that runs in earnest, and so are the frames.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from rich.console import Console
from rich.table import Table

from earwitness.embedded import embedded_broker
from earwitness.settings import ENV_DELIMITER, ENV_PREFIX
from earwitness.watch import Published, detections
from processors.log import LogReader
from producers.capture import Capture
from producers.publisher import FramePublisher
from producers.source import Source
from producers.sources.files import FileSource, files_in
from producers.sources.scene import Event, Scene
from schemas.codec import Codec
from schemas.detection import DetectionState
from schemas.errors import StopError
from schemas.sensor import Presence, SensorState
from schemas.topics import Topics

SENSOR = "demo"
START_S, END_S, FLUSH_S = 30.0, 20.0, 10.0
TOLERANCE_S = 1.0
"""One window: as exactly as a detection can know where a sound began."""


@dataclass(slots=True)
class Heard:
    """What was published, by id; the last word on each."""

    latest: dict[str, Published] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)

    def add(self, published: Published) -> None:
        """Upsert: ENDED over ACTIVE."""
        known = self.latest.get(published.detection.id)
        if known is None or published.detection.state is DetectionState.ENDED:
            self.latest[published.detection.id] = published
        if published.latency_ms is not None and not published.detection.continued:
            self.latencies_ms.append(published.latency_ms)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An event of the truth and when it was first heard, in seconds of the scene, if it was."""

    event: Event
    heard_s: float | None


def demo(path: Path | None, model: str | None, console: Console, stop: threading.Event) -> bool:
    """Run the demo on a scene, or on a user's file; return whether everything was found and nothing false.

    Raises:
        CaptureError: the file cannot be read.
        StopError: the worker did not come up.

    """
    scene = Scene()
    sources: Sequence[Source] = [scene] if path is None else [FileSource(file) for file in files_in(path)]
    topics = Topics()
    with embedded_broker((topics.frames, *topics.outputs)) as broker, _worker(broker, model) as log:
        _say_hello(console, sources, broker)
        heard = _listen(broker, topics, sources, console, stop, log)
    console.print()
    if path is None:
        return _judge(heard, scene.truth, console)
    _summarise(heard, console)
    return True


def compare(
    truth: Sequence[Event], found: Sequence[tuple[str, float, float]]
) -> tuple[list[Verdict], list[tuple[str, float, float]]]:
    """Compare (label, start_s, end_s) with the truth: what was heard of it, and what is false."""
    verdicts = []
    for event in truth:
        starts = [start for label, start, end in found if _meets(event, label, start, end)]
        verdicts.append(Verdict(event, min(starts, default=None)))
    false = [found_one for found_one in found if not any(_meets(event, *found_one) for event in truth)]
    return verdicts, false


def _meets(event: Event, label: str, start_s: float, end_s: float) -> bool:
    overlaps = start_s < event.end_s + TOLERANCE_S and end_s > event.start_s - TOLERANCE_S
    return label == event.label and overlaps


def _listen(
    broker: str,
    topics: Topics,
    sources: Sequence[Source],
    console: Console,
    stop: threading.Event,
    log: Path,
) -> Heard:
    client, codec, heard, over = {"bootstrap.servers": broker}, Codec(), Heard(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(client, topics, heard, console, over), daemon=True)
    watcher.start()
    publisher = FramePublisher(client, topics.frames, codec)
    try:
        Capture(SENSOR, publisher).play(sources, stop)
    finally:
        publisher.close(FLUSH_S)
    if not _until_silent(client, topics, codec):
        raise StopError(f"the worker did not finish within {END_S:g} s; it said:\n{log.read_text()}")
    over.set()
    watcher.join()
    return heard


def _watch(
    client: Mapping[str, Any], topics: Topics, heard: Heard, console: Console, over: threading.Event
) -> None:
    with LogReader(client) as reader:
        for published in detections(reader, topics.detections, Codec(), over, earliest=True):
            heard.add(published)
            console.print(published.as_line(), highlight=False, markup=False, soft_wrap=True)


def _until_silent(client: Mapping[str, Any], topics: Topics, codec: Codec) -> bool:
    """Wait until the worker says that the sensor has gone quiet: by then it has said everything else."""
    deadline_s = monotonic() + END_S
    with LogReader(client) as reader:
        begin = dict.fromkeys(reader.partitions(topics.sensors), 0)
        for record in reader.follow(topics.sensors, begin, lambda: monotonic() > deadline_s):
            if record and codec.decode(SensorState, record.value).state is Presence.SILENT:
                return True
    return False


@contextmanager
def _worker(broker: str, model: str | None) -> Iterator[Path]:
    """Run `earwitness work` against the embedded broker; give the file with its log."""
    settings = {"kafka.bootstrap_servers": broker, "kafka.embedded": "true", "status.port": "0"}
    settings |= {} if model is None else {"model.path": model}
    settings |= {"worker.begin_at": "earliest", "log.level": "info"}
    names = {f"{ENV_PREFIX}{key.replace('.', ENV_DELIMITER)}".upper(): v for key, v in settings.items()}
    theirs = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
    environment = {**theirs, **names}
    with tempfile.TemporaryDirectory(prefix="earwitness-demo-") as directory:
        log = Path(directory, "worker.log")
        with log.open("wb") as output:
            command = [sys.executable, "-m", "earwitness.cli", "work", "--config", os.devnull]
            # A session of its own, or Ctrl-C would end the worker before it has said everything.
            process = subprocess.Popen(  # noqa: S603
                command, env=environment, stderr=output, start_new_session=True
            )
        try:
            _until_working(process, log)
            yield log
        finally:
            process.terminate()
            process.wait(START_S)


def _until_working(process: "subprocess.Popen[bytes]", log: Path) -> None:
    waited = threading.Event()
    for _ in range(round(START_S / 0.1)):
        if "who is live from" in log.read_text():
            return
        if process.poll() is not None:
            break
        waited.wait(0.1)
    raise StopError(f"the worker did not start within {START_S:g} s; it said:\n{log.read_text()}")


def _say_hello(console: Console, sources: Sequence[Source], broker: str) -> None:
    seconds = sum((source.samples or 0) / source.sample_rate_hz for source in sources)
    names = ", ".join(source.name for source in sources[:3]) + (" …" if len(sources) > 3 else "")
    console.print(f"Embedded broker on {broker}; a worker reads it. Playing {names}:", highlight=False)
    console.print(
        f"{seconds:.0f} s in real time, in frames of 20 ms. Ctrl-C ends it early.\n", highlight=False
    )


def _judge(heard: Heard, truth: Sequence[Event], console: Console) -> bool:
    verdicts, false = compare(truth, _found(heard))
    table = Table("truth", "from", "to", "first heard", box=None, pad_edge=False)
    for verdict in verdicts:
        event, at = verdict.event, verdict.heard_s
        when = "[red]missed" if at is None else f"{at:.1f} s"
        table.add_row(event.label, f"{event.start_s:.1f} s", f"{event.end_s:.1f} s", when)
    console.print(table)
    missed = sum(verdict.heard_s is None for verdict in verdicts)
    for label, start, end in false:
        console.print(f"false: {label} from {start:.1f} to {end:.1f} s")
    _say_latency(heard, console)
    console.print(
        f"[bold]{len(verdicts) - missed} found, {missed} missed, {len(false)} false", highlight=False
    )
    return not missed and not false


def _summarise(heard: Heard, console: Console) -> None:
    found = _found(heard)
    for label in sorted({label for label, _, _ in found}):
        seconds = sum(end - start for name, start, end in found if name == label)
        console.print(f"{label:<16} {seconds:6.1f} s", highlight=False)
    _say_latency(heard, console)
    console.print(f"[bold]{len(found)} detections", highlight=False)


def _say_latency(heard: Heard, console: Console) -> None:
    if heard.latencies_ms:
        middle, worst = median(heard.latencies_ms), max(heard.latencies_ms)
        what = f"last sample captured to detection sent, {len(heard.latencies_ms)} times"
        console.print(f"{what}: median {middle:.0f} ms, at most {worst:.0f} ms", highlight=False)


def _found(heard: Heard) -> list[tuple[str, float, float]]:
    found = [published.detection for published in heard.latest.values()]
    spans = [(d.label, d.start_sample / d.sample_rate_hz, d.end_sample / d.sample_rate_hz) for d in found]
    return sorted(spans, key=lambda span: span[1])
