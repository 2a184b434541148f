"""Recorded sound -> what any model hears in it: a range of the log through the pipeline that runs live.

    range ──► plan ──► listen, in processes ──► detections ──► standard output, a file, a topic
                                  └──► scores of every window (Parquet)

The detections in the range are those that workers with the same settings publish, by id and field by field;
by default rollouts are followed as they were.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from confluent_kafka import KafkaError, Message
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from earwitness.analysis.following import Following
from earwitness.analysis.heard import WRITTEN, write_detections
from earwitness.analysis.listen import ReadSettings, listen
from earwitness.analysis.listener import Progress as Read
from earwitness.analysis.listener import Report
from earwitness.analysis.lookup import Lookup, upserted
from earwitness.analysis.plan import Plan, ReplaySettings, nothing_heard, plan
from earwitness.analysis.target import check_target
from earwitness.analysis.wanted import Wanted
from earwitness.settings import Settings
from earwitness.topics import TopicAdmin
from processors.ledger import SCORER_HEADER
from processors.log import LogReader
from processors.score import ONNX_IDENTITY
from producers.client import open_client
from schemas.detection import Detection
from schemas.errors import ConfigurationError, DeliveryError
from schemas.topics import Topics

FLUSH_S = 30.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Where detections go: as they are decided to `show` and to a topic, in the end to a file."""

    show: Callable[[Detection], None]
    file: Path | None = None
    topic: str | None = None
    force: bool = False
    """Files that are there already are written over."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay; each detection as a consumer holds it, by sensor and time."""

    detections: list[Detection]
    report: Report
    plan: Plan
    stopped: bool
    """Whether it was ended early: what is told is not all."""
    followed: str = ""
    """Which rollouts were followed, or were not; empty where there were none."""

    def as_text(self) -> str:
        """Return what a person wants to know on one line."""
        report, windows = self.report, sum(self.report.windows.values())
        pace = report.sound_s / report.elapsed_s if report.elapsed_s else 0.0
        text = (
            f"{len(self.detections)} detections in {report.sound_s:.0f} s of sound, {windows} windows, "
            f"{report.records} records; {report.elapsed_s:.1f} s, {pace:.0f} times real time"
        )
        if report.dead_letters:
            text += f"; {report.dead_letters} records that cannot be read"
        if self.plan.removed:
            text += f"; {self.plan.removed} records of the range have been removed by retention"
        return text


def replay(
    read_settings: ReadSettings,
    wanted: Wanted,
    how: ReplaySettings,
    targets: Targets,
    stopped: Callable[[], Event],
) -> Replayed:
    """Listen to a range again; `stopped` is called once it begins, and gives what ends it early.

    Raises:
        ConfigurationError: there is no such sound, or a target cannot be written.
        EarwitnessError: it cannot go on.

    """
    settings = read_settings()
    _check_targets(settings, how, targets)
    with LogReader(settings.kafka.librdkafka()) as reader:
        lookup = Lookup(reader, settings.codec(), settings.tenant, settings.frames_topics[0])
        with Following(settings, lookup, one_model=how.one_model) as following:
            planned = _planned(lookup, following, wanted, how)
        stop, said, report = stopped(), list[Detection](), Report()
        with _topic(settings, targets.topic) as publish, _progress(planned) as advance:
            for told in listen(read_settings, planned, how, stop):
                if isinstance(told, Detection):
                    said.append(told)
                    publish(told)
                    targets.show(told)
                elif isinstance(told, Read):
                    advance(told.records)
                else:
                    report.add(told)
        if not report.frames and not stop.is_set():
            raise nothing_heard(lookup, wanted)
    found = sorted(upserted(said), key=lambda d: (d.sensor, d.start_us, d.label))
    if targets.file is not None:
        write_detections(targets.file, found)
    return Replayed(found, report, planned, stop.is_set(), following.remark(report.begin_ms, report.end_ms))


def _planned(lookup: Lookup, following: Following, wanted: Wanted, how: ReplaySettings) -> Plan:
    planned = plan(lookup, following.course, wanted, how)
    while following.refresh():  # one that was announced meanwhile may begin before what is planned ends
        planned = plan(lookup, following.course, wanted, how)
    return planned


def _check_targets(settings: Settings, how: ReplaySettings, targets: Targets) -> None:
    if targets.file is not None:
        check_target("--out", targets.file, WRITTEN, force=targets.force)
    if how.scores is not None:
        check_target("--scores", how.scores, (".parquet",), force=targets.force)
    ours = {name for tenant in settings.topics.tenants for name in Topics(tenant).every}
    if targets.topic is not None and (targets.topic in ours or targets.topic.endswith(Topics().every)):
        accepted = "a topic of its own: one of these names is written to by what runs live"
        raise ConfigurationError("--to-topic", targets.topic, accepted)


@contextmanager
def _progress(planned: Plan) -> Iterator[Callable[[int], None]]:
    """Show on a terminal's standard error how far it is."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = TextColumn("{task.percentage:3.0f} %"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replay", total=planned.records)
        yield lambda records: progress.advance(task, records)


@contextmanager
def _topic(settings: Settings, name: str | None) -> Iterator[Callable[[Detection], None]]:
    """Publish to a topic that is nobody else's; all is acknowledged at the end.

    Raises:
        ConfigurationError: the topic is one of the tenant's own, or cannot be made.
        DeliveryError: something was not delivered.

    """
    if name is None:
        yield lambda _: None
        return
    _make_topic(settings, name)
    target = _Target(settings, name)
    yield target.publish
    target.close()


class _Target:
    """A topic of a replay's own: keyed and partitioned as the sensors' frames are."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._producer, self._errors = open_client(settings.kafka.librdkafka(), settings.publisher)
        self._topic, self._codec = topic, settings.codec()
        self._failure: KafkaError | None = None

    def publish(self, found: Detection) -> None:
        headers: list[tuple[str, str | bytes | None]] = [(SCORER_HEADER, ONNX_IDENTITY.encode())]
        value, key = self._codec.encode(found), found.sensor.encode()
        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(1.0)
            else:
                break
        self._producer.poll(0)

    def close(self) -> None:
        left = self._producer.flush(FLUSH_S)
        if left or self._failure is not None:
            reason = (
                self._errors.reason(self._failure)
                if self._failure
                else f"{left} not acknowledged in {FLUSH_S:g} s"
            )
            raise DeliveryError(f"not everything was published to {self._topic}: {reason}")

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._failure = self._failure or error


def _make_topic(settings: Settings, name: str) -> None:
    topics = settings.tenant
    admin = TopicAdmin(settings.kafka.librdkafka())
    if name in admin.partitions([name]):
        return
    frames = admin.describe([topics.frames])[topics.frames]
    admin.create_log(name, frames.partitions, frames.replicas)
