"""The engine keeps windows, batches and outputs moving, whatever the scorer and the registry do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from processors.batch import BatchSettings
from processors.decision import Decision
from processors.engine import Engine
from processors.metrics import Metrics
from processors.partition import Output, Start
from processors.pipeline import Pipeline
from processors.publish import Publisher
from processors.score import OnnxScorer, Pcm, Scorer, Scores
from schemas.codec import CONFLUENT, Codec, released_schemas
from schemas.coverage import Coverage, Outcome
from schemas.deadletter import DeadLetter
from schemas.detection import Detection, DetectionState
from schemas.errors import LogOrderError, SchemaUnresolvedError
from schemas.frame import AudioFrame
from schemas.registry import ConfluentRegistry, SchemaRegistry
from tests.processors.shell import (
    DEADLINE_S,
    LOUD,
    QUIET,
    TOPICS,
    Record,
    broker_with_topics,
    end_of,
    frames_of,
    read,
    records_of,
    stretches,
    until,
)
from tests.processors.tiny_model import HOP, WINDOW, loudness_that_fails_when_loud, write_model

KEY = (TOPICS.frames, 2)
UNKNOWN_ID = 999


class GatedScorer:
    """A scorer that scores a batch only when it is let through the gate, one for each `open`."""

    def __init__(self, scorer: Scorer) -> None:
        self.identity, self.concurrency = scorer.identity, scorer.concurrency
        self._scorer, self._gate = scorer, asyncio.Semaphore(0)

    def open(self, batches: int = 1) -> None:
        for _ in range(batches):
            self._gate.release()

    async def score(self, pcm: Pcm) -> Scores:
        await self._gate.acquire()
        return await self._scorer.score(pcm)

    async def close(self) -> None:
        await self._scorer.close()


class RegistryThatWasAway:
    """A registry that does not answer the first question of every id."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self.asked: list[int] = []

    def register(self, subject: str, schema: str) -> int:
        return self._registry.register(subject, schema)

    def schema(self, schema_id: int) -> str:
        self.asked.append(schema_id)
        if self.asked.count(schema_id) == 1:
            raise SchemaUnresolvedError(schema_id)
        return self._registry.schema(schema_id)


@dataclass
class Rig:
    """An engine with everything that it drives."""

    engine: Engine
    publisher: Publisher
    metrics: Metrics
    codec: Codec
    published: list[Output] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    @property
    def position(self) -> int:
        return self.engine.pipeline.partitions[KEY].position

    async def feed(self, records: list[Record], is_current: Callable[[], bool] = lambda: True) -> None:
        await self.engine.feed(KEY, records, is_current)

    def said(self, state: DetectionState) -> list[Detection]:
        found = [output.record for output in self.published]
        return [record for record in found if isinstance(record, Detection) and record.state is state]

    def windows(self, outcome: Outcome) -> float:
        labels = {"outcome": outcome.value}
        return self.metrics.registry.get_sample_value("earwitness_windows_total", labels) or 0.0


@pytest.fixture
def broker() -> Iterator[str]:
    with broker_with_topics() as address:
        yield address


@asynccontextmanager
async def rig_on(
    broker: str,
    directory: Path,
    *,
    hop: int = WINDOW,
    graph: onnx.GraphProto | None = None,
    batch: BatchSettings | None = None,
    codec: Codec | None = None,
    gated: bool = False,
) -> AsyncIterator[tuple[Rig, Scorer]]:
    """Put an engine together that reads one partition from its start."""
    decision = Decision(write_model(directory, graph, hop_samples=hop))
    scorer: Scorer = OnnxScorer(directory, decision.spec)
    scorer = GatedScorer(scorer) if gated else scorer
    codec, batch, metrics = codec or Codec(), batch or BatchSettings(), Metrics()
    published: list[Output] = []
    failures: list[Exception] = []
    publisher = Publisher(
        {"bootstrap.servers": broker},
        codec,
        lambda _: [],
        lambda output, _: published.append(output),
        failures.append,
    )
    pipeline = Pipeline(decision, codec, batch)
    pipeline.assign({KEY: Start(0, 0)})
    engine = Engine(pipeline, codec, scorer, publisher, metrics, batch, failures.append)
    try:
        yield Rig(engine, publisher, metrics, codec, published, failures), scorer
    finally:
        engine.close()
        await publisher.close(0)
        await scorer.close()


async def test_a_lone_window_waits_for_company_as_long_as_it_may_and_is_scored_then(
    broker: str, tmp_path: Path
) -> None:
    patient = BatchSettings(max_windows=32, max_wait_ms=50)
    async with rig_on(broker, tmp_path, batch=patient) as (rig, _):
        await rig.feed(records_of(rig.codec, frames_of(stretches(LOUD))))
        assert rig.engine.pipeline.backlog == 1
        await until(lambda: bool(rig.said(DetectionState.ACTIVE)))
        (slot,) = [output.slot for output in rig.published if isinstance(output.record, Detection)]
        assert slot is not None
        assert slot.batched_s is not None
        assert 0.05 <= slot.batched_s - slot.fed_s < DEADLINE_S
        assert (rig.engine.pipeline.backlog, rig.windows(Outcome.SCORED)) == (0, 1)


async def test_a_full_batch_waits_for_nothing(broker: str, tmp_path: Path) -> None:
    patient = BatchSettings(max_windows=2, max_wait_ms=1000)
    async with rig_on(broker, tmp_path, batch=patient) as (rig, _):
        await rig.feed(records_of(rig.codec, frames_of(stretches(LOUD, LOUD))))
        await rig.engine.drain(0.9)
        assert rig.windows(Outcome.SCORED) == 2


async def test_reading_is_held_from_the_limit_on_until_half_of_it_is_left(
    broker: str, tmp_path: Path
) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0, max_backlog_windows=8)
    async with rig_on(broker, tmp_path, batch=batch, gated=True) as (rig, scorer):
        assert isinstance(scorer, GatedScorer)
        records = records_of(rig.codec, frames_of(stretches(*[QUIET] * 12)))
        seen = []
        await rig.feed(records[:70])
        seen.append((rig.engine.pipeline.backlog, rig.engine.overfull))
        await rig.feed(records[70:80])
        seen.append((rig.engine.pipeline.backlog, rig.engine.overfull))
        for left in (7, 6, 5, 4):
            scorer.open()
            await until(lambda left=left: rig.engine.pipeline.backlog == left)  # type: ignore[misc]
            seen.append((left, rig.engine.overfull))
        await rig.feed(records[80:110])
        seen.append((rig.engine.pipeline.backlog, rig.engine.overfull))
        await rig.feed(records[110:])
        seen.append((rig.engine.pipeline.backlog, rig.engine.overfull))
        scorer.open(12)
        await rig.engine.drain(DEADLINE_S)
        assert (rig.windows(Outcome.SCORED), rig.failures) == (12, [])
        assert seen == [
            (7, False),
            (8, True),
            (7, True),
            (6, True),
            (5, True),
            (4, False),
            (7, False),
            (8, True),
        ]


async def test_a_window_that_the_scorer_gives_up_is_failed_and_the_others_are_scored(
    broker: str, tmp_path: Path
) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0)
    graph = loudness_that_fails_when_loud()
    async with rig_on(broker, tmp_path, graph=graph, batch=batch) as (rig, _):
        await rig.feed(records_of(rig.codec, frames_of(stretches(QUIET, QUIET, LOUD, *[QUIET] * 7))))
        await rig.engine.drain(DEADLINE_S)
        assert (rig.windows(Outcome.SCORED), rig.windows(Outcome.FAILED)) == (9, 1)
        assert rig.failures == []
        covered = [rig.codec.decode(Coverage, found.value) for found in read(broker, TOPICS.coverage, 3)]
        assert [(x.start_sample, x.end_sample, x.outcome) for x in covered] == [
            (0, 2 * WINDOW, Outcome.SCORED),
            (2 * WINDOW, 3 * WINDOW, Outcome.FAILED),
            (3 * WINDOW, 10 * WINDOW, Outcome.SCORED),
        ]


async def test_draining_leaves_nothing_undecided_and_nothing_unpublished(broker: str, tmp_path: Path) -> None:
    batch = BatchSettings(max_windows=4, max_wait_ms=0)
    async with rig_on(broker, tmp_path, hop=HOP, batch=batch) as (rig, _):
        await rig.feed(records_of(rig.codec, frames_of(stretches(QUIET, LOUD, LOUD, QUIET, QUIET))))
        await rig.engine.drain(DEADLINE_S)
        assert (rig.engine.pipeline.backlog, rig.publisher.unacknowledged) == (0, 0)
        (ended,) = rig.said(DetectionState.ENDED)
        assert (ended.label, ended.start_sample, ended.end_sample) == ("loud", HOP, 7 * HOP)
        ends = [end_of(broker, topic, KEY[1]) for topic in TOPICS.outputs]
        assert sum(ends) == len(rig.published)


async def test_results_of_an_earlier_generation_change_nothing(broker: str, tmp_path: Path) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0)
    async with rig_on(broker, tmp_path, batch=batch, gated=True) as (rig, scorer):
        assert isinstance(scorer, GatedScorer)
        await rig.feed(records_of(rig.codec, frames_of(stretches(LOUD))))
        rig.engine.pipeline.assign({KEY: Start(0, 0)})
        scorer.open()
        await rig.engine.drain(DEADLINE_S)
        assert (rig.said(DetectionState.ACTIVE), rig.failures) == ([], [])


async def test_records_out_of_order_end_the_feed(broker: str, tmp_path: Path) -> None:
    async with rig_on(broker, tmp_path) as (rig, _):
        with pytest.raises(LogOrderError, match=r"audio\.frames\[2\]@7 arrived where @0 was expected"):
            await rig.feed(records_of(rig.codec, frames_of(stretches(QUIET)), first_offset=7))


# -- with a schema registry -----------------------------------------------------------------------------


def new_registry() -> ConfluentRegistry:
    """Return Confluent's own registry in memory."""
    return ConfluentRegistry(SchemaRegistryClient.new_client({"url": "mock://"}))


def under_another_id(registry: SchemaRegistry, record: Record) -> Record:
    """Return a record as a writer wrote it that registered its frames with a comment of its own."""
    schema = released_schemas()[AudioFrame.NAME][-1]
    schema_id = registry.register("theirs", json.dumps({**schema, "doc": "as our sensors write it"}))
    return with_id(schema_id, record)


def with_id(schema_id: int, record: Record) -> Record:
    value = CONFLUENT + schema_id.to_bytes(4) + (record.value or b"")[5:]
    return Record(record.offset, record.timestamp, record.key, value)


async def test_an_id_that_the_registry_knows_is_asked_for_once(broker: str, tmp_path: Path) -> None:
    registry = RegistryThatWasAway(new_registry())
    async with rig_on(broker, tmp_path, codec=Codec(registry)) as (rig, _):
        records = records_of(rig.codec, frames_of(stretches(LOUD)))
        await rig.feed([under_another_id(registry, record) for record in records])
        await until(lambda: bool(rig.said(DetectionState.ACTIVE)))
        assert len(registry.asked) == 2  # it was away when it was asked first
        assert (rig.position, rig.failures) == (10, [])


async def test_an_id_that_nobody_knows_makes_a_dead_letter_and_the_other_records_go_on(
    broker: str, tmp_path: Path
) -> None:
    async with rig_on(broker, tmp_path, codec=Codec(new_registry())) as (rig, _):
        frames = frames_of(stretches(LOUD))
        before = records_of(rig.codec, frames[:3])
        strange = [
            with_id(UNKNOWN_ID + n, records_of(rig.codec, frames[:1], 3 + n, b"shed")[0]) for n in range(2)
        ]
        after = records_of(rig.codec, frames[3:], 5)
        await rig.feed([*before, *strange, *after])
        await until(lambda: bool(rig.said(DetectionState.ACTIVE)))
        assert rig.position == 12
        letters = [
            DeadLetter.from_wire(x.key, x.value, x.headers) for x in read(broker, TOPICS.dead_letters, 2)
        ]
        assert [(x.offset, x.key, x.value, x.exception) for x in letters] == [
            (record.offset, b"shed", record.value, "UnknownSchemaError") for record in strange
        ]
        assert "unknown schema id 999: the registry has none" in letters[0].message


async def test_a_partition_that_is_lost_while_the_registry_is_asked_is_fed_no_more(
    broker: str, tmp_path: Path
) -> None:
    registry = new_registry()
    async with rig_on(broker, tmp_path, codec=Codec(registry)) as (rig, _):
        records = records_of(rig.codec, frames_of(stretches(LOUD)))
        records[2:] = [under_another_id(registry, record) for record in records[2:]]
        await rig.feed(records, is_current=lambda: False)
        assert rig.position == 2
