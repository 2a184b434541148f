"""An engine with everything that it drives: the tiny model, a publisher, one partition of a log."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import onnx

from processors.batch import BatchSettings
from processors.deadline import Deadline
from processors.decision import Decision
from processors.engine import Engine
from processors.metrics import Metrics
from processors.partition import Output, Start
from processors.pipeline import Pipeline
from processors.publish import Publisher
from processors.run import Slot
from processors.score import OnnxScorer, Scorer
from processors.scorers import OpenScorer, Scorers
from schemas.codec import Codec
from schemas.coverage import Outcome
from schemas.detection import Detection, DetectionState
from schemas.model import ModelSpec
from tests.processors.shell import TOPICS, Record
from tests.processors.tiny_model import WINDOW, write_model

KEY = (TOPICS.frames, 2)


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
        self.engine.feed({KEY: records}, monotonic(), is_current)

    def said(self, state: DetectionState) -> list[Detection]:
        found = [output.record for output in self.published]
        return [record for record in found if isinstance(record, Detection) and record.state is state]

    def windows(self, outcome: Outcome) -> float:
        labels = {"outcome": outcome.value}
        return self.metrics.registry.get_sample_value("earwitness_windows_total", labels) or 0.0


def opener(scorer: Scorer) -> OpenScorer:
    """Return what gives a scorer that is there already."""

    async def given(_: ModelSpec) -> Scorer:
        return scorer

    return given


@asynccontextmanager
async def rig_on(
    broker: str,
    directory: Path,
    *,
    hop: int = WINDOW,
    graph: onnx.GraphProto | None = None,
    batch: BatchSettings | None = None,
    codec: Codec | None = None,
    wrap: Callable[[Scorer], Scorer] = lambda scorer: scorer,
    decided: Callable[[Slot], None] | None = None,
    deadline: Deadline | None = None,
    most_windows: int | None = None,
) -> AsyncIterator[tuple[Rig, Scorer]]:
    """Put an engine together that reads one partition from its start."""
    decision = Decision(write_model(directory, graph, hop_samples=hop))
    scorer = wrap(OnnxScorer(directory, decision.spec))
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
    sheds = deadline is not None
    pipeline = Pipeline(decision, codec, batch, decided, sheds=sheds, most_windows=most_windows)
    scorers = Scorers(opener(scorer))
    await scorers.open(decision)
    pipeline.assign({KEY: Start(0, 0)})
    engine = Engine(pipeline, codec, scorers, publisher, metrics, batch, failures.append, deadline)
    try:
        yield Rig(engine, publisher, metrics, codec, published, failures), scorer
    finally:
        engine.close()
        await publisher.close(0)
        await scorers.close()
