"""A real worker, ten good sensors that play, and mutants on every partition: what came of it.

    calm ──► mutants, of all kinds ──► all is read ──► calm ──► the good sensors stop

What was appended and what was said is read back from the topics; nothing here knows how a worker works.
"""

import asyncio
import hashlib
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from threading import Event, Thread

import psutil
from confluent_kafka import OFFSET_BEGINNING, Message, Producer, TopicPartition

from earwitness.play import clip_pool
from processors.log import headers_of
from producers.fleet import FleetSettings
from schemas.coverage import Coverage
from schemas.deadletter import DeadLetter
from schemas.detection import Detection, DetectionState
from tests.fuzz.batch import append
from tests.fuzz.judge import Place, Verdict, judge
from tests.fuzz.mutate import Mutant, Mutator
from tests.integration.harness import (
    CODEC,
    POLL_S,
    RATE_HZ,
    Appended,
    Playing,
    Programs,
    Tenant,
    Timeline,
    Worker,
    _bytes,
    _reader,
    by_id,
    play,
    timelines,
    wait_until,
)

GOOD_SENSORS, GOOD, FRAME_MS = 10, "good-", 100
PARTITIONS, SEED = 4, 20_260_131
CALM_S, SAMPLE_S = 4.0, 0.25
READ_WITHIN_S = 600.0
BURST = 200
"""FLAC bombs of one sensor in a row: 0.6 MB as they come, 400 MB once decoded."""
_ODD_NAMES = (b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x82")


@dataclass(slots=True)
class Memory:
    """A worker's resident memory in MB, sampled from a thread."""

    worker: Worker
    samples_mb: list[float] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)

    def start(self) -> "Memory":
        """Begin to look."""
        Thread(target=self._run, daemon=True).start()
        return self

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    @property
    def now_mb(self) -> float:
        """What it has now."""
        return float(self.worker.usage.memory_info().rss) / 1e6

    def _run(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while not self._stop.wait(SAMPLE_S):
                self.samples_mb.append(self.now_mb)


@dataclass(frozen=True, slots=True)
class Told:
    """A dead letter, without its bytes: its reason, and digests of its key and value."""

    exception: str
    message: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was sent, and what came of it."""

    kinds: Counter[str]
    verdicts: dict[Place, Verdict]
    sent: dict[Place, tuple[bytes, bytes]]
    letters: dict[Place, Told]
    letters_appended: int
    detections: dict[str, Detection]
    heard: dict[tuple[str, str], Timeline]
    latency_ms: dict[str, float]
    memory_mb: dict[str, float]
    seconds: float
    assignments: int
    exit_status: int | None
    log: str


@dataclass(slots=True)
class Run:
    """One worker, ten good sensors, and mutants."""

    tenant: Tenant
    worker: Worker
    playing: Playing
    marks_ms: dict[str, int] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def begin(cls, tenant: Tenant, programs: Programs, model: Path) -> "Run":
        """Start the worker and, once it is there, the good sensors."""
        worker = programs.work(tenant, model)
        worker.ready()
        fleet = FleetSettings(sensors=GOOD_SENSORS, pattern=GOOD + "{:02d}", seconds=None, frame_ms=FRAME_MS)
        return cls(tenant, worker, play(tenant, fleet, clip_pool(None, RATE_HZ)))

    def go(self, count: int) -> Outcome:
        """Send so many mutants, and wait until all that was sent has been read and said."""
        memory = Memory(self.worker).start()
        self._calm("before")
        before_mb, since_s = memory.now_mb, time.monotonic()
        self._send(count)
        wait_until(self._all_is_read, "the worker has read everything", READ_WITHIN_S)
        seconds = time.monotonic() - since_s
        self.marks_ms["during"] = _now_ms()
        self._calm("after")
        self.playing._stop.set()
        self.playing.finish()
        wait_until(self._all_is_silent, "all runs are closed")
        after_mb = memory.now_mb
        memory.stop()
        self.worker.terminate()
        print(
            f"\n{count} mutants read in {seconds:.1f} s, exit {self.worker.process.exit_status}", flush=True
        )
        mb = {"before": before_mb, "most": max(memory.samples_mb), "after": after_mb}
        return self._outcome(mb, seconds)

    def _calm(self, name: str) -> None:
        Event().wait(CALM_S)
        self.marks_ms[name] = _now_ms()

    def _send(self, count: int) -> None:
        senders = {compressed: _producer(self.tenant, compressed=compressed) for compressed in (False, True)}
        mutator, topic = Mutator(SEED), self.tenant.topics.frames
        for number, mutant in enumerate(mutator.mutants(count)):
            self.kinds[mutant.kind] += 1
            _produce(senders[mutant.compressed], topic, number % PARTITIONS, mutant)
        for mutant in mutator.burst(BURST):
            self.kinds[mutant.kind] += 1
            _produce(senders[mutant.compressed], topic, 0, mutant)
        for number, name in enumerate(_ODD_NAMES * PARTITIONS):
            self.kinds["name of a header"] += 1
            self._append_name(number % PARTITIONS, name)
        assert [sender.flush(READ_WITHIN_S) for sender in senders.values()] == [0, 0]

    def _append_name(self, partition: int, name: bytes) -> None:
        records = [(b"fuzz-name", b"no frame", [(name, b"\xff")])]
        asyncio.run(append(self.tenant.servers, self.tenant.topics.frames, partition, records))

    def _all_is_read(self) -> bool:
        assert self.worker.process.exit_status is None, f"the worker ended:\n{self.worker.log[-6000:]}"
        return self._lag_records() < GOOD_SENSORS * PARTITIONS

    def _all_is_silent(self) -> bool:
        good = {name for name, _ in self.tenant.silent() if name.startswith(GOOD)}
        return len(good) == GOOD_SENSORS and not self._lag_records()

    def _lag_records(self) -> float:
        return self.worker.metrics().get("position_lag_records", inf)  # none without a partition

    def _outcome(self, memory_mb: dict[str, float], seconds: float) -> Outcome:
        tenant, told, sent = self.tenant, dict[Place, Told](), dict[Place, tuple[bytes, bytes]]()
        appended = 0
        for record in stream(tenant, tenant.topics.dead_letters):
            letter = DeadLetter.from_wire(record.key, record.value, record.headers)
            told[letter.partition, letter.offset] = _told(letter)
            appended += 1

        def noted() -> Iterator[Appended]:
            for record in stream(tenant, tenant.topics.frames):
                sent[record.partition, record.offset] = _digest(record.key), _digest(record.value)
                yield record

        verdicts = judge(noted(), told.keys())
        detections, coverage = good_detections(tenant), good_coverage(tenant)
        return Outcome(
            kinds=self.kinds,
            verdicts=verdicts,
            sent=sent,
            letters=told,
            letters_appended=appended,
            detections=detections,
            heard=timelines(coverage),
            latency_ms=self._latency_ms(),
            memory_mb=memory_mb,
            seconds=seconds,
            assignments=self.worker.assignments,
            exit_status=self.worker.process.exit_status,
            log=self.worker.log,
        )

    def _latency_ms(self) -> dict[str, float]:
        """Return the median from capture to log of what began to be heard before, during and after."""
        found: dict[str, list[float]] = {name: [] for name in self.marks_ms}
        for record in stream(self.tenant, self.tenant.topics.detections):
            heard = CODEC.decode(Detection, record.value)
            if heard.state is DetectionState.ACTIVE and heard.sensor.startswith(GOOD):
                name = next((n for n, at_ms in self.marks_ms.items() if record.appended_ms < at_ms), None)
                if name is not None:
                    found[name].append(record.appended_ms - heard.end_us / 1000)
        return {name: statistics.median(values) for name, values in found.items() if values}


def stream(tenant: Tenant, topic: str) -> Iterator[Appended]:
    """Read a whole topic up to its end, record by record: it may be larger than memory."""
    left = {number: end for number, end in tenant.ends(topic).items() if end}
    with _reader(tenant) as consumer:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in left])
        last_s = time.monotonic()
        while left:
            assert time.monotonic() < last_s + READ_WITHIN_S, f"{topic} gives no more records"
            for message in consumer.consume(1000, POLL_S):
                if message.error() is None:
                    last_s = time.monotonic()
                    record = _appended(message)
                    yield record
                    if record.offset + 1 >= left.get(record.partition, record.offset + 2):
                        del left[record.partition]


def _appended(message: Message) -> Appended:
    headers = headers_of(message)  # to ask for them otherwise may end this process
    place, at_ms = (message.partition() or 0, message.offset() or 0), message.timestamp()[1]
    return Appended(*place, _bytes(message.key()), _bytes(message.value()), headers, at_ms)


def copy_good(tenant: Tenant, to: Tenant) -> None:
    """Append the good sensors' frames, byte for byte and in their places, to a tenant without mutants."""
    producer = _producer(to, compressed=False)
    for record in stream(tenant, tenant.topics.frames):
        if (record.key or b"").startswith(GOOD.encode()):
            mutant = Mutant("copy", record.key, record.value)
            _produce(producer, to.topics.frames, record.partition, mutant)
    assert producer.flush(READ_WITHIN_S) == 0


def good_detections(tenant: Tenant) -> dict[str, Detection]:
    """Return what was heard of the good sensors in the end, by id."""
    return by_id(found for found in tenant.detections() if found.sensor.startswith(GOOD))


def good_coverage(tenant: Tenant) -> list[Coverage]:
    """Return what was listened to of the good sensors."""
    return [one for one in tenant.coverage() if one.sensor is not None and one.sensor.startswith(GOOD)]


def _producer(tenant: Tenant, *, compressed: bool) -> Producer:
    return Producer(
        {
            **tenant.client,
            "linger.ms": 5,
            "message.max.bytes": 64 << 20,
            "queue.buffering.max.kbytes": 128 << 10,
            "compression.type": "gzip" if compressed else "none",
            "batch.num.messages": 1 if compressed else 1000,
        }
    )


def _produce(producer: Producer, topic: str, partition: int, mutant: Mutant) -> None:
    while True:
        try:
            headers: list[tuple[str, str | bytes | None]] = list(mutant.headers)
            producer.produce(topic, mutant.value, mutant.key, partition=partition, headers=headers)
        except BufferError:
            producer.poll(0.1)
            continue
        producer.poll(0)
        return


def _told(letter: DeadLetter) -> Told:
    headers = dict(letter.headers)

    def digest(part: str, content: bytes | None) -> bytes:
        instead = headers.get(f"earwitness-{part}-sha256") if content is None else None
        return _digest(content) if instead is None else bytes.fromhex(instead.decode())

    key, value = digest("key", letter.key), digest("value", letter.value)
    return Told(letter.exception, letter.message, key, value)


def _digest(found: bytes | None) -> bytes:
    return b"" if found is None else hashlib.sha256(found).digest()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
