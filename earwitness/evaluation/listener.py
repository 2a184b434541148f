"""A model and PCM -> what it heard: every window's scores, and detections, by the pipeline that runs live.

The sound goes through frames, the wire format and `Pipeline`, as in a scan; but in frames of a second, which
changes nothing of what is detected, and scores are kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earwitness.evaluation.heard import Found, Heard, Pcm
from earwitness.scan import KEY, SENSOR, Record
from processors.batch import Batch, BatchSettings
from processors.decision import Decision, DecisionSettings
from processors.partition import Start
from processors.pipeline import Pipeline
from processors.run import Feed, Slot
from processors.score import OnnxScorer
from processors.window import Grid
from producers.framer import Framer, FramerSettings
from schemas.codec import Codec
from schemas.detection import Detection, DetectionState
from schemas.frame import AudioFrame
from schemas.model import ModelSpec, read_spec

LONG_FRAME_MS, LOST_FRAME_MS = 1000, 20
"""Frames are long where none is lost, and as sensors send them where some are."""
READ_FRAMES, BATCH_WINDOWS = 64, 32
FULL_SCALE = 32768.0

Lost = NDArray[np.bool_]
"""Says of every frame of 20 ms whether it is lost; frames after its end arrive."""


class Listener:
    """Hears recordings, one after another, with one model."""

    def __init__(self, decision: Decision, scorer: OnnxScorer) -> None:
        self._decision, self._scorer, self._codec = decision, scorer, Codec()

    @classmethod
    def of(cls, directory: Path, rules: DecisionSettings | None = None) -> "Listener":
        """Open a model's directory.

        Raises:
            ConfigurationError: the model cannot be used.

        """
        spec = read_spec(directory)
        return cls(Decision(spec, rules or DecisionSettings()), OnnxScorer(directory, spec))

    @property
    def spec(self) -> ModelSpec:
        """What the model hears, and when a label counts."""
        return self._decision.spec

    def hear(self, pcm: Pcm, rate_hz: int, lost: Lost | None = None) -> Heard:
        """Hear mono `int16[samples]`; frames that are `lost` never reach the log.

        Raises:
            ScorerError: the model cannot be run on it.

        """
        hearing = _Hearing(self._decision, self._scorer, self._codec)
        frames = _frames(pcm, rate_hz, lost)
        while some := list(islice(frames, READ_FRAMES)):
            hearing.feed(some)
        slots, powers, detections = hearing.finish()
        return Heard(
            spec=self.spec,
            rate_hz=rate_hz,
            samples=pcm.size,
            starts=np.array([slot.window.start_sample for slot in slots], np.int64),
            ends=np.array([slot.window.end_sample for slot in slots], np.int64),
            scores=_scores(slots, len(self.spec.labels)),
            power=np.array([powers.get(slot, np.nan) for slot in slots]),
            found=_joined(detections),
        )

    def hear_whole(self, pcm: Pcm, rate_hz: int, lost: Lost | None = None) -> Heard:
        """Hear a recording that may be shorter than a window: then silence follows it."""
        spec = self.spec
        least = Grid(rate_hz, spec.sample_rate_hz, spec.window_samples, spec.hop_samples).samples
        return self.hear(np.pad(pcm, (0, max(0, least - pcm.size))), rate_hz, lost)


class _Hearing:
    """One recording on its way through the pipeline."""

    def __init__(self, decision: Decision, scorer: OnnxScorer, codec: Codec) -> None:
        self._slots: list[Slot] = []
        self._powers: dict[Slot, float] = {}
        self._detections: list[Detection] = []
        self._scorer, self._codec, self._offset = scorer, codec, 0
        batches = BatchSettings(max_windows=BATCH_WINDOWS, max_wait_ms=0)
        self._pipeline = Pipeline(decision, codec, batches, self._slots.append)
        self._pipeline.assign({KEY: Start(0, 0)})

    def feed(self, frames: Iterable[AudioFrame]) -> None:
        records = [self._record(frame) for frame in frames]
        self._pipeline.feed(KEY, records, Feed(0.0))
        self._settle()

    def finish(self) -> tuple[list[Slot], dict[Slot, float], list[Detection]]:
        self._pipeline.finish()
        self._settle()
        return self._slots, self._powers, self._detections

    def _record(self, frame: AudioFrame) -> Record:
        offset, self._offset = self._offset, self._offset + 1
        return Record(offset, frame.captured_at_us // 1000, SENSOR, self._codec.encode(frame))

    def _settle(self) -> None:
        while (batch := self._pipeline.take(0.0)) is not None:
            self._powers.update(zip(batch.items, _power(batch), strict=True))
            self._pipeline.scored(batch, self._scorer.run(batch.pcm), 0.0)
        for output in self._pipeline.outputs():
            output.acknowledged()
            record = output.record
            if isinstance(record, Detection) and record.state is DetectionState.ENDED:
                self._detections.append(record)
        self._pipeline.partitions[KEY].mark()


def _frames(pcm: Pcm, rate_hz: int, lost: Lost | None) -> Iterator[AudioFrame]:
    framer = Framer(FramerSettings(frame_ms=LONG_FRAME_MS if lost is None else LOST_FRAME_MS))
    end_us = pcm.size * 1_000_000 // rate_hz
    frames = [*framer.feed(pcm.reshape(-1, 1), rate_hz, end_us), *framer.flush()]
    if lost is None:
        yield from frames
    else:
        yield from (frame for at, frame in enumerate(frames) if at >= lost.size or not lost[at])


def _power(batch: Batch[Slot]) -> list[float]:
    """Return the mean power of each window of a batch, as the model is given it; full scale is 1."""
    sound = batch.pcm.astype(np.float32)
    power: list[float] = (np.einsum("bs,bs->b", sound, sound) / sound.shape[1] / FULL_SCALE**2).tolist()
    return power


def _scores(slots: Sequence[Slot], labels: int) -> NDArray[np.float32]:
    unheard = np.full(labels, np.nan, np.float32)
    rows = [unheard if slot.scores is None else slot.scores for slot in slots]
    return np.array(rows, np.float32).reshape(len(slots), labels)


def _joined(detections: Iterable[Detection]) -> tuple[Found, ...]:
    """Join what was cut at segments."""
    found: list[Found] = []
    open_at: dict[tuple[str, int], int] = {}
    for detection in sorted(detections, key=lambda d: (d.start_sample, d.label)):
        piece = _found(detection)
        at = open_at.pop((detection.label, detection.start_sample), None) if detection.continued else None
        if at is None:
            at = len(found)
            found.append(piece)
        else:
            found[at] = found[at].followed_by(piece)
        open_at[detection.label, detection.end_sample] = at
    return tuple(found)


def _found(detection: Detection) -> Found:
    rate_hz = detection.sample_rate_hz
    return Found(
        detection.label,
        detection.start_sample / rate_hz,
        detection.end_sample / rate_hz,
        detection.peak_score or 0.0,
    )
