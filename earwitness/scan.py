"""Sound files -> detections, without a broker: the same frames, codec and pipeline as live.

A file is a sensor; its frames go through the wire format, so that what is scanned is what would have been
heard. The log is made up: offsets count frames, append time is capture time.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processors.batch import BatchSettings
from processors.decision import Decision
from processors.partition import Start
from processors.pipeline import Pipeline
from processors.run import Feed
from processors.score import OnnxScorer
from producers.framer import Framer
from producers.source import Source
from schemas.codec import Codec
from schemas.deadletter import Header
from schemas.detection import Detection, DetectionState

KEY = ("audio.frames", 0)
SENSOR = b"file"
"""Not the file's name: that may be what no sensor can be called, and nobody is told this one."""
READ_FRAMES = 200
"""Frames between two looks at what is due: 4 s of sound."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the log that was never written."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """A detection in a file, in seconds from its start."""

    file: str
    label: str
    start_s: float
    end_s: float
    score: float | None
    windows: int
    continued: bool
    start_sample: int
    end_sample: int
    sample_rate_hz: int

    def as_json(self) -> str:
        """Return everything on one line."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, ensure_ascii=False)


class Scanner:
    """Scans sources one after another with one model."""

    def __init__(self, decision: Decision, scorer: OnnxScorer, codec: Codec) -> None:
        self._decision, self._scorer, self._codec = decision, scorer, codec

    def scan(self, source: Source, file: Path | str) -> Iterator[Heard]:
        """Yield what is heard in a source, as soon as it has ended.

        Raises:
            CaptureError: the source cannot be read to its end.

        """
        pipeline = Pipeline(self._decision, self._codec, BatchSettings(max_wait_ms=0))
        pipeline.assign({KEY: Start(0, 0)})
        waiting: list[Record] = []
        for record in self._records(source):
            waiting.append(record)
            if len(waiting) == READ_FRAMES:
                pipeline.feed(KEY, waiting, Feed(0.0))
                waiting.clear()
                yield from self._settle(pipeline, file)
        pipeline.feed(KEY, waiting, Feed(0.0))
        pipeline.finish()
        yield from self._settle(pipeline, file)

    def _records(self, source: Source) -> Iterator[Record]:
        framer, samples, offset = Framer(), 0, 0
        for block in source.blocks():
            samples += len(block)
            frames = framer.feed(block, source.sample_rate_hz, samples * 1_000_000 // source.sample_rate_hz)
            for frame in frames:
                yield Record(offset, frame.captured_at_us // 1000, SENSOR, self._codec.encode(frame))
                offset += 1
        for frame in framer.flush():
            yield Record(offset, frame.captured_at_us // 1000, SENSOR, self._codec.encode(frame))

    def _settle(self, pipeline: Pipeline, file: Path | str) -> Iterator[Heard]:
        while (batch := pipeline.take(0.0)) is not None:
            pipeline.scored(batch, self._scorer.run(batch.pcm), 0.0)
        for output in pipeline.outputs():
            output.acknowledged()
            record = output.record
            if isinstance(record, Detection) and record.state is DetectionState.ENDED:
                yield _heard(record, str(file))
        pipeline.partitions[KEY].mark()


def _heard(found: Detection, file: str) -> Heard:
    rate = found.sample_rate_hz
    return Heard(
        file=file,
        label=found.label,
        start_s=round(found.start_sample / rate, 6),
        end_s=round(found.end_sample / rate, 6),
        score=found.peak_score,
        windows=found.windows,
        continued=found.continued,
        start_sample=found.start_sample,
        end_sample=found.end_sample,
        sample_rate_hz=rate,
    )
