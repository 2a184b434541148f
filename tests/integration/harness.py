"""What tests of the whole program share: a tenant on a real broker, programs run as users run them, readers.

Nothing here knows how a worker works: it is a child process with settings in its environment, and what it did
is read from the topics with a plain consumer.
"""

import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import psutil
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from earwitness.topics import TopicAdmin
from infra.local.kafka import QUIET_CLIENT
from infra.local.process import GuardedProcess
from processors.log import until_led
from producers.clips import ClipPool
from producers.fleet import Fleet, FleetReport, FleetSettings
from producers.publisher import FramePublisher
from schemas.codec import Codec, R
from schemas.coverage import Coverage, Outcome
from schemas.deadletter import DeadLetter, Header
from schemas.detection import Detection, DetectionState
from schemas.sensor import Presence, SensorState
from schemas.topics import Topics

DEADLINE_S = 60.0
POLL_S = 0.1
STOP_S = 20.0
RATE_HZ = 16_000
IDLE_AND_MARGIN_S = 6.0
"""How long a worker waits, by the broker's clock, before it closes the runs of a sensor that went quiet."""
CODEC = Codec()

Offsets = Mapping[int, int]
Timeline = list[tuple[int, int, Outcome]]
"""Stretches `[start, end)` of an epoch and their outcome, in order."""


def wait_until(condition: Callable[[], object], what: str, within_s: float = DEADLINE_S) -> None:
    """Look again and again until a condition holds; fail with `what` was waited for."""
    deadline_s, never = time.monotonic() + within_s, Event()
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        never.wait(POLL_S)


# -- reading ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Appended:
    """A record as it stands in the log."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    appended_ms: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's topics on a broker."""

    servers: str
    name: str

    @property
    def topics(self) -> Topics:
        """The names of its topics."""
        return Topics(self.name)

    @property
    def client(self) -> dict[str, str | int | float | bool]:
        """Options for clients."""
        return {"bootstrap.servers": self.servers, **QUIET_CLIENT}

    def create(self, partitions: int = 8) -> "Tenant":
        """Make its topics, and wait until each partition has a leader."""
        TopicAdmin(self.client).create(self.topics, partitions, 1, 1.0)
        for topic in (self.topics.frames, *self.topics.outputs):
            wait_until(lambda topic=topic: self._led(topic), f"leaders of {topic}")  # type: ignore[misc]
        return self

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end of every partition's log."""
        with _reader(self) as consumer:
            numbers = consumer.list_topics(topic, DEADLINE_S).topics[topic].partitions
            limits = partial(consumer.get_watermark_offsets, timeout=DEADLINE_S)
            # A partition that was added a moment ago has no leader yet.
            ask = until_led(DEADLINE_S)
            return {n: ask(limits, TopicPartition(topic, n))[1] for n in numbers}

    def _led(self, topic: str) -> bool:
        try:
            return bool(self.ends(topic))
        except KafkaException:
            return False

    def committed(self, group: str) -> dict[int, int]:
        """Return what a group has committed for the frames topic."""
        with _reader(self, group) as consumer:
            topic = self.topics.frames
            numbers = consumer.list_topics(topic, DEADLINE_S).topics[topic].partitions
            found = consumer.committed([TopicPartition(topic, n) for n in numbers], DEADLINE_S)
            return {p.partition: p.offset for p in found}

    def read(self, topic: str, since: Offsets | None = None) -> list[Appended]:
        """Read a whole topic, or what follows some offsets, up to its end."""
        begin = since or dict.fromkeys(self.ends(topic), OFFSET_BEGINNING)
        with _reader(self) as consumer:
            consumer.assign([TopicPartition(topic, number, offset) for number, offset in begin.items()])
            return [_appended(message) for message in _to_the_end(consumer, len(begin))]

    def decoded(self, kind: type[R], topic: str, since: Offsets | None = None) -> list[R]:
        """Read a topic's records of one kind."""
        return [CODEC.decode(kind, record.value) for record in self.read(topic, since)]

    def detections(self, since: Offsets | None = None) -> list[Detection]:
        """Read what was heard."""
        return self.decoded(Detection, self.topics.detections, since)

    def coverage(self, since: Offsets | None = None) -> list[Coverage]:
        """Read what was listened to."""
        return self.decoded(Coverage, self.topics.coverage, since)

    def states(self) -> list[SensorState]:
        """Read who is there, oldest first within each sensor."""
        return self.decoded(SensorState, self.topics.sensors)

    def silent(self) -> set[tuple[str, str]]:
        """Return the sensors whose last word is SILENT, with their epochs."""
        last = {state.sensor: state for state in self.states()}
        return {(s.sensor, s.epoch) for s in last.values() if s.state is Presence.SILENT}

    def dead_letters(self) -> list[DeadLetter]:
        """Read what could not be read."""
        records = self.read(self.topics.dead_letters)
        return [DeadLetter.from_wire(record.key, record.value, record.headers) for record in records]


@contextmanager
def _reader(tenant: Tenant, group: str = "reader") -> Iterator[Consumer]:
    options = {"group.id": group, "enable.partition.eof": True, "enable.auto.commit": False}
    consumer = Consumer({**tenant.client, **options, "auto.offset.reset": "error"})
    try:
        yield consumer
    finally:
        consumer.close()


def _to_the_end(consumer: Consumer, partitions: int) -> Iterator[Message]:
    ended: set[int | None] = set()
    deadline_s = time.monotonic() + DEADLINE_S
    while len(ended) < partitions:
        assert time.monotonic() < deadline_s, f"a topic was not read within {DEADLINE_S:g} s"
        for message in consumer.consume(1000, POLL_S):
            error = message.error()
            if error is None:
                yield message
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                ended.add(message.partition())


def _appended(message: Message) -> Appended:
    key, value, partition, offset = message.key(), message.value(), message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    headers: list[Header] = [(header[0], _bytes(header[1])) for header in message.headers() or []]
    return Appended(partition, offset, _bytes(key), _bytes(value), tuple(headers), message.timestamp()[1])


def _bytes(found: str | bytes | None) -> bytes | None:
    return found.encode() if isinstance(found, str) else found


# -- judging ------------------------------------------------------------------------------------------------


def by_id(detections: Iterable[Detection]) -> dict[str, Detection]:
    """Upsert by id as a consumer does: ENDED over ACTIVE."""
    found: dict[str, Detection] = {}
    for detection in detections:
        if detection.id not in found or detection.state is DetectionState.ENDED:
            found[detection.id] = detection
    return found


def timelines(coverage: Iterable[Coverage]) -> dict[tuple[str, str], Timeline]:
    """Return the union of what coverage says, for every sensor and epoch: SCORED first."""
    said: dict[tuple[str, str], Timeline] = {}
    for record in coverage:
        assert record.sensor is not None
        assert record.epoch is not None
        assert record.start_sample is not None
        assert record.end_sample is not None
        statement = record.start_sample, record.end_sample, record.outcome
        said.setdefault((record.sensor, record.epoch), []).append(statement)
    return {of: _union(statements) for of, statements in said.items()}


def _union(statements: Timeline) -> Timeline:
    order = list(Outcome)
    cuts = sorted({cut for start, end, _ in statements for cut in (start, end)})
    joined: Timeline = []
    for start, end in pairwise(cuts):
        outcomes = [outcome for s, e, outcome in statements if s <= start and end <= e]
        if not outcomes:
            continue
        best = min(outcomes, key=order.index)
        if joined and joined[-1][1:] == (start, best):
            start = joined.pop()[0]
        joined.append((start, end, best))
    return joined


def covered(timeline: Timeline) -> list[tuple[int, int]]:
    """Return the stretches that a timeline accounts for, whatever their outcome."""
    joined: list[tuple[int, int]] = []
    for start, end, _ in timeline:
        joined.append((joined.pop()[0], end) if joined and joined[-1][1] == start else (start, end))
    return joined


def unended(detections: Iterable[Detection]) -> set[str]:
    """Return the ids that are ACTIVE and never ENDED."""
    ids: dict[DetectionState, set[str]] = {state: set() for state in DetectionState}
    for detection in detections:
        ids[detection.state].add(detection.id)
    return ids[DetectionState.ACTIVE] - ids[DetectionState.ENDED]


# -- workers ------------------------------------------------------------------------------------------------


def variables(settings: Mapping[str, object]) -> dict[str, str]:
    """Return settings by dotted key as environment variables."""
    return {f"EARWITNESS_{key.upper().replace('.', '__')}": str(value) for key, value in settings.items()}


def command(*arguments: str) -> list[str]:
    """Return the command line of our program, free of this test run's own variables."""
    ours = [name for name in os.environ if name.startswith("EARWITNESS_") and name != "EARWITNESS_CACHE"]
    forget = [word for name in ours for word in ("-u", name)]
    return ["env", *forget, sys.executable, "-m", "earwitness.cli", *arguments]


def worker_settings(tenant: Tenant, model: Path) -> dict[str, object]:
    """Return what every worker of these tests is told."""
    return {
        "kafka.bootstrap_servers": tenant.servers,
        "topics.tenants": f'["{tenant.name}"]',
        "model.path": model,
        "worker.group": tenant.name,
        "worker.begin_at": "earliest",
        "status.port": 0,
    }


@dataclass(slots=True)
class Program:
    """A command of ours in a child process, with everything it prints in a file."""

    process: GuardedProcess
    log_file: Path
    usage: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self.usage = psutil.Process(self.process.pid)

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self.log_file.read_text("utf-8", "replace")

    def said(self, pattern: str, within_s: float = DEADLINE_S) -> re.Match[str]:
        """Wait until it prints something."""
        wait_until(lambda: self._ended() or re.search(pattern, self.log), f"{pattern} in its log", within_s)
        found = re.search(pattern, self.log)
        assert found, f"it ended with {self.process.exit_status} and never said {pattern}:\n{self.log}"
        return found

    def terminate(self) -> float:
        """Ask it to end, as a service manager does; return how many seconds it took."""
        since_s = time.monotonic()
        os.kill(self.process.pid, signal.SIGTERM)
        assert self.process.wait(DEADLINE_S), "it does not end"
        return time.monotonic() - since_s

    def _ended(self) -> bool:
        return self.process.exit_status is not None


class Worker(Program):
    """`earwitness work`."""

    def ready(self, within_s: float = DEADLINE_S) -> None:
        """Wait until it is a settled member of its group."""
        self.said("status on http", within_s)
        wait_until(lambda: self._ended() or self._get("readyz") is not None, "ready", within_s)
        assert not self._ended(), f"it ended:\n{self.log}"

    def metrics(self) -> dict[str, float]:
        """Return its metrics, summed over their labels other than `outcome`: `windows_total{SCORED}`."""
        text, found = self._get("metrics"), dict[str, float]()
        assert text is not None, "it gives no metrics"
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("earwitness_")
                if "outcome" in sample.labels:
                    name += f"{{{sample.labels['outcome']}}}"
                found[name] = found.get(name, 0.0) + sample.value
        return found

    def counts(self, name: str, label: str) -> dict[str, float]:
        """Return one of its metrics by a label."""
        text = self._get("metrics") or ""
        families = text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return {sample.labels[label]: sample.value for sample in samples}

    @property
    def assignments(self) -> int:
        """How many times it was given a partition."""
        return self.log.count(": ours; who is live from")

    def _get(self, path: str) -> str | None:
        address = self.said(r"status on (http://\S+)").group(1)
        try:
            with urllib.request.urlopen(f"{address}/{path}", timeout=DEADLINE_S) as answer:  # noqa: S310
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            return None


class Programs:
    """Starts programs, and ends and shows them when a test is over."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[Program] = []

    def work(self, tenant: Tenant, model: Path, **settings: object) -> Worker:
        """Start a worker; settings by dotted key, with `__` for the dot."""
        told = {key.replace("__", "."): value for key, value in settings.items()}
        given = {**worker_settings(tenant, model), **told}
        return Worker(*self._start(["work"], given))

    def run(self, arguments: Sequence[str], settings: Mapping[str, object]) -> Program:
        """Start any command."""
        return Program(*self._start(arguments, settings))

    def _start(self, arguments: Sequence[str], settings: Mapping[str, object]) -> tuple[GuardedProcess, Path]:
        log_file = self._directory / f"{len(self._started)}-{arguments[0]}.log"
        process = GuardedProcess(command(*arguments), log_file, variables(settings))
        self._started.append(Program(process, log_file))
        return process, log_file

    def close(self) -> None:
        """End what still runs; pytest shows what is printed here where a test failed."""
        for program in self._started:
            program.process.stop(STOP_S)
            print(f"---- {program.log_file.name}, exit {program.process.exit_status}\n{program.log[-6000:]}")


# -- playing ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Playing:
    """A fleet that plays in a thread of its own."""

    fleet: Fleet
    publisher: FramePublisher
    report: FleetReport | None = None
    _stop: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def start(self) -> "Playing":
        """Begin to play."""
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def finish(self) -> FleetReport:
        """Wait until the sound is over and everything is delivered."""
        assert self._thread is not None
        self._thread.join()
        assert self.report is not None, "the fleet failed"
        assert self.publisher.close(DEADLINE_S) == 0
        return self.report

    def late_ms(self, fraction: float) -> float:
        """Return a quantile of how late frames were handed over."""
        return self.fleet._lateness.quantile_ms(fraction)

    def _run(self) -> None:
        self.report = self.fleet.run(self._stop)


def play(tenant: Tenant, settings: FleetSettings, pool: ClipPool) -> Playing:
    """Start a fleet."""
    publisher = FramePublisher(dict(tenant.client), tenant.topics.frames, CODEC)
    return Playing(Fleet(settings, pool, publisher), publisher).start()
