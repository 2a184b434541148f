"""Small decisions, frames and records for tests that draw their timeline: at 1000 Hz a sample is 1 ms."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from processors.batch import Batch, BatchSettings
from processors.decision import Decision, DecisionSettings
from processors.partition import TICK_HEADER, Output, Partition, Start
from processors.pipeline import Pipeline
from processors.run import Feed, Slot
from schemas.codec import Codec
from schemas.coverage import Coverage
from schemas.deadletter import DeadLetter
from schemas.detection import Detection
from schemas.frame import AudioFrame, Encoding
from schemas.model import ModelSpec
from schemas.sensor import SensorState
from tests.processors.logs import Entry, Pcm

CODEC = Codec()
BEGIN_MS = 1_750_000_000_000
LOUD = 20_000
TICK = [(TICK_HEADER, b"")]
KEY = ("audio.frames", 3)
Record = Detection | Coverage | SensorState | DeadLetter


def epoch(number: int) -> bytes:
    """Return the name of an epoch; a higher number is a later one."""
    return number.to_bytes(6) + b"\x70\x00\x80" + bytes(7)


def decide(
    *,
    rate_hz: int = 1000,
    window: int = 8,
    hop: int = 4,
    m: int = 1,
    n: int = 1,
    labels: Sequence[str] = ("loud",),
    threshold: float = 0.5,
    segment: int = 1000,
    max_missing_s: float = 0.0,
    idle_s: float = 0.12,
    margin_s: float = 0.012,
    max_gap_s: float = 0.1,
) -> Decision:
    """Return a decision: windows of 8 samples every 4."""
    spec = ModelSpec(
        name="tiny",
        version="1",
        sample_rate_hz=rate_hz,
        window_samples=window,
        hop_samples=hop,
        labels=tuple(labels),
        thresholds=dict.fromkeys(labels, threshold),
        m=m,
        n=n,
        licence="Apache-2.0",
        digest="0" * 64,
    )
    rules = DecisionSettings(
        segment_windows=segment,
        max_missing_s=max_missing_s,
        max_gap_s=max_gap_s,
        idle_s=idle_s,
        margin_s=margin_s,
    )
    return Decision(spec, rules)


def ramp(first: int, end: int) -> Pcm:
    """Return sound whose samples are their own index plus one, so that nothing of it is zero."""
    return np.arange(first + 1, end + 1).astype(np.int16)


def record(
    offset: int,
    at_ms: int,
    first: int,
    end: int,
    *,
    sensor: bytes | None = b"s",
    in_epoch: int = 1,
    rate_hz: int = 1000,
    channels: int = 1,
    loud: bool | None = None,
) -> Entry:
    """Return the record of a frame that holds `[first, end)`, appended `at_ms` after the beginning.

    Its last sample was captured when it was appended. It is a ramp, or all of it is loud, or faint.
    """
    sound = ramp(first, end) if loud is None else np.full(end - first, LOUD if loud else 1, np.int16)
    frame = AudioFrame(
        epoch(in_epoch),
        first,
        end - first,
        (BEGIN_MS + at_ms) * 1000,
        rate_hz,
        channels,
        Encoding.PCM_S16LE,
        sound.repeat(channels).astype("<i2").tobytes(),
    )
    return Entry(offset, BEGIN_MS + at_ms, sensor, CODEC.encode(frame))


def tick(offset: int, at_ms: int) -> Entry:
    """Return a record that only brings the broker's clock."""
    return Entry(offset, BEGIN_MS + at_ms, None, None, TICK)


def loudness(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """Score 0.9 where most of a window is loud, else 0.1: int16[B, length] -> float32[B, 1]."""
    loud = (pcm > LOUD // 2).mean(axis=1) >= 0.5
    return np.where(loud, 0.9, 0.1).astype(np.float32)[:, np.newaxis]


class Ear:
    """A pipeline on one partition; what it decides is scored at once, and nothing is acknowledged."""

    def __init__(self, decision: Decision, start: Start | None = None) -> None:
        self.pipeline = Pipeline(decision, CODEC, BatchSettings(max_windows=1, max_wait_ms=0))
        self.pipeline.assign({KEY: start or Start(0, 0)})
        self.unacknowledged: list[Output] = []

    @property
    def partition(self) -> Partition:
        return self.pipeline.partitions[KEY]

    def hear(self, *entries: Entry) -> list[Record]:
        """Take records, score what there is to score, and return what was said."""
        self.pipeline.feed(KEY, entries, Feed(0.0))
        return self.score()

    def score(self) -> list[Record]:
        for batch in self.batches():
            self.pipeline.scored(batch, loudness(batch.pcm), 0.0)
        return self.said()

    def batches(self) -> list[Batch[Slot]]:
        return list(iter(lambda: self.pipeline.take(0.0), None))

    def said(self) -> list[Record]:
        outputs = self.pipeline.outputs()
        self.unacknowledged += outputs
        return [output.record for output in outputs]

    def finish(self) -> list[Record]:
        """End the log; return what was said."""
        self.pipeline.finish()
        return self.score()

    def acknowledge(self) -> None:
        for output in self.unacknowledged:
            output.acknowledged()
        self.unacknowledged.clear()

    def mark(self) -> int:
        return self.partition.mark()


def stream(first: int, end: int, offset: int = 0, *, loud: bool = False, sensor: bytes = b"s") -> list[Entry]:
    """Return frames of 4 samples that hold `[first, end)`, appended as they are captured."""
    return [
        record(offset + i, at + 4, at, at + 4, loud=loud, sensor=sensor)
        for i, at in enumerate(range(first, end, 4))
    ]


def briefly(said: list[Record]) -> list[str]:
    """Say in a word each what was said."""
    words = []
    for x in said:
        if isinstance(x, Detection | SensorState):
            words.append(str(x.state))
        else:
            words.append(str(x.outcome) if isinstance(x, Coverage) else x.exception)
    return words


def covered(said: list[Record]) -> list[tuple[int | None, int | None, str]]:
    return [(x.start_sample, x.end_sample, x.outcome.value) for x in said if isinstance(x, Coverage)]


def letters(said: list[Record]) -> list[DeadLetter]:
    return [x for x in said if isinstance(x, DeadLetter)]


def detections(said: list[Record]) -> list[Detection]:
    return [x for x in said if isinstance(x, Detection)]


def states(said: list[Record]) -> list[SensorState]:
    return [x for x in said if isinstance(x, SensorState)]
