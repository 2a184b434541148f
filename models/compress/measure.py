"""Two models and recordings -> what compression gained and cost: accuracy, agreement, size, speed.

Both are measured in one run, and their speed in alternating turns, so that whatever else the machine does
hits both alike.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.compress.entry import Entry
from models.dataset import PCM, cut_windows, read_labels, read_pcm
from models.session import Scores, noise, open_session, score
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec

BATCHES = 1, 32
TURNS = 60
SURE = 1e-6
"""A score is held within this of 0 and 1 before it becomes a logit again."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording that was not trained on: windows `int16[W, window_samples]`, and its label."""

    label: str
    windows: PCM

    @property
    def weights(self) -> NDArray[np.float64]:
        """Return the root of each window's power over that of the loudest, `float64[W]`."""
        power = np.mean(np.square(self.windows / 32768.0), axis=1)
        return np.asarray(np.sqrt(power / max(float(power.max()), 1e-20)))


@dataclass(frozen=True, slots=True)
class Turns:
    """Milliseconds of one core that a window took, in a number of alternating turns.

    It is the thread's own time: what other programs took of the core in between is not in it.
    """

    median_ms: float
    least_ms: float
    most_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What one model does: `clip_accuracy` is None where there are no recordings."""

    model: str
    file_bytes: int
    clip_accuracy: float | None
    speed: dict[int, Turns]
    """By windows in a batch."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model before and after."""

    before: Figures
    after: Figures
    clips: int
    windows: int
    agreement: float
    """Share of windows with the same top label."""
    largest_difference: float
    """Of any score of any window."""

    @property
    def size_ratio(self) -> float:
        """Bytes after over bytes before."""
        return self.after.file_bytes / self.before.file_bytes

    def as_dict(self) -> dict[str, object]:
        """Return everything as what JSON can hold."""
        return asdict(self) | {
            "size_ratio": self.size_ratio,
            "time_ratio": {batch: self.time_ratio(batch) for batch in BATCHES},
        }

    def time_ratio(self, batch: int) -> float:
        """Median time after over median time before."""
        return self.after.speed[batch].median_ms / self.before.speed[batch].median_ms


def read_clips(data: Path, spec: ModelSpec, fold: int | None = None) -> tuple[Clip, ...]:
    """Read the recordings of a folder, or of one fold of it, that have a label of the model.

    Raises:
        ConfigurationError: there are none, or one cannot be read.

    """
    rows = [row for row in read_labels(data) if fold is None or row.fold == fold]
    rows = [row for row in rows if row.label in spec.labels]
    if not rows:
        where = str(data) if fold is None else f"{data}, fold {fold}"
        raise ConfigurationError("data", where, f"recordings of {', '.join(spec.labels[:12])}")
    size, hop = spec.window_samples, spec.hop_samples
    return tuple(
        Clip(row.label, cut_windows(read_pcm(row.file, spec.sample_rate_hz), size, hop)) for row in rows
    )


def noise_clip(spec: ModelSpec) -> Clip:
    """Return noise of every level, for where there are no recordings: a clip of no label."""
    return Clip("", noise(spec.window_samples))


def compare(before: Entry, after: Entry, clips: Sequence[Clip], turns: int = TURNS) -> Comparison:
    """Measure two models on the same recordings in the same run."""
    scores = [_scores(entry, clips) for entry in (before, after)]
    speed = {batch: _speed((before, after), batch, turns) for batch in BATCHES}
    figures = [
        Figures(
            model=entry.spec.reference,
            file_bytes=entry.file.stat().st_size,
            clip_accuracy=clip_accuracy(clips, scores[i], entry.spec),
            speed={batch: both[i] for batch, both in speed.items()},
        )
        for i, entry in enumerate((before, after))
    ]
    first, second = (np.concatenate(each) for each in scores)
    return Comparison(
        before=figures[0],
        after=figures[1],
        clips=sum(1 for clip in clips if clip.label),
        windows=len(first),
        agreement=float(np.mean(first.argmax(axis=1) == second.argmax(axis=1))),
        largest_difference=float(np.abs(first - second).max()),
    )


def clip_accuracy(clips: Sequence[Clip], scores: Sequence[Scores], spec: ModelSpec) -> float | None:
    """Return the share of recordings whose label is the one guessed, of the labels that the clips have.

    The guess is the label of the largest sum of logits, each window weighted by the root of its power.
    """
    known = [i for i, label in enumerate(spec.labels) if label in {clip.label for clip in clips}]
    if not known:
        return None
    right = 0
    for clip, of_clip in zip(clips, scores, strict=True):
        logits = of_clip.astype(np.float64)
        if spec.output.activation == "none":
            sure = np.clip(logits, SURE, 1.0 - SURE)
            logits = np.log(sure / (1.0 - sure))
        total = (logits[:, known] * clip.weights[:, None]).sum(axis=0)
        right += spec.labels[known[int(total.argmax())]] == clip.label
    return right / len(clips)


def _scores(entry: Entry, clips: Sequence[Clip]) -> list[Scores]:
    session = open_session(entry.file)
    return [score(session, clip.windows, entry.spec) for clip in clips]


def _speed(entries: Sequence[Entry], batch: int, turns: int) -> list[Turns]:
    """Time entries in alternating turns, on noise of -30 dBFS."""
    sessions = [open_session(entry.file) for entry in entries]
    hiss = np.random.default_rng(0).standard_normal((batch, entries[0].spec.window_samples))
    windows = (hiss * 1000).astype(np.int16)
    times: list[list[float]] = [[] for _ in entries]
    for turn in range(turns + 3):
        for spent, session, entry in zip(times, sessions, entries, strict=True):
            start = time.thread_time()
            score(session, windows, entry.spec)
            if turn >= 3:  # the first ones warm up
                spent.append((time.thread_time() - start) * 1000 / batch)
    return [Turns(float(np.median(spent)), min(spent), max(spent)) for spent in times]
