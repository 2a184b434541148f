"""Sound in which nothing should be found -> false alarms an hour, by label, with their upper bound.

Recordings of less than ten seconds are put end to end, those of a label after each other, into streams of a
minute: a spoken word of 0.7 s alone is never a whole window, so by itself nothing of it would be heard at
all. Each of these streams has a level of its own, -45 to -10 dBFS, about which its recordings vary by 3 dB.
Longer recordings are heard as they are. A detection is a false alarm for each 10 s that it has begun.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from earwitness.evaluation.heard import Heard, Pcm, hours_of
from earwitness.evaluation.intervals import Rate, rate
from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import FULL_SCALE, allowed, at_level, noises
from models.dataset import Entry, read_pcm, to_pcm

SHORT_S, STREAM_S = 10.0, 60.0
LEVELS_DBFS, SPREAD_DB, FADE_S = (-45.0, -10.0), 3.0, 0.005


@dataclass(frozen=True, slots=True)
class Negative:
    """Sound in which nothing should be found, where it is from, and what was heard in it."""

    source: str
    label: str
    heard: Heard


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of negatives, or a generator: how much of it was heard, and what was left out."""

    name: str
    recordings: int
    left_out: int
    all: Rate
    by_label: dict[str, Rate]
    """By the label that was detected, of all labels of the model."""
    by_kind: dict[str, Rate]
    """All labels together, by what the sound is, where anything was detected in it."""


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """All sources together, and each of them."""

    all: Rate
    by_label: dict[str, Rate]
    sources: tuple[Source, ...]


def hear_negatives(
    listener: Listener, source: str, entries: Sequence[Entry], seed: int | Sequence[int]
) -> Iterator[Negative]:
    """Hear what of a folder may be heard.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    rng, rate_hz = np.random.default_rng(seed), listener.spec.sample_rate_hz
    for label, group in groupby(sorted(entries, key=lambda e: e.label), lambda e: e.label):
        for pcm in streams((read_pcm(entry.file, rate_hz) for entry in group), rng, rate_hz):
            yield Negative(source, label, listener.hear_whole(pcm, rate_hz))


def hear_noises(
    listener: Listener, source: str, hours: float, seed: int | Sequence[int]
) -> Iterator[Negative]:
    """Hear generated noise."""
    rate_hz = listener.spec.sample_rate_hz
    for kind, pcm in noises(np.random.default_rng(seed), hours, rate_hz):
        yield Negative(source, kind, listener.hear_whole(pcm, rate_hz))


def streams(recordings: Iterable[Pcm], rng: np.random.Generator, rate_hz: int) -> Iterator[Pcm]:
    """Put short recordings end to end; give long ones as they are."""
    waiting: list[Pcm] = []
    level = rng.uniform(*LEVELS_DBFS)
    for pcm in recordings:
        if pcm.size >= SHORT_S * rate_hz:
            yield pcm
            continue
        waiting.append(_levelled(pcm, level + rng.uniform(-SPREAD_DB, SPREAD_DB), rate_hz))
        if sum(part.size for part in waiting) >= STREAM_S * rate_hz:
            yield np.concatenate(waiting)
            waiting, level = [], rng.uniform(*LEVELS_DBFS)
    if waiting:
        yield np.concatenate(waiting)


def false_alarms(
    heard: Sequence[Negative], labels: Sequence[str], counts: "dict[str, tuple[int, int]]"
) -> FalseAlarms:
    """Count detections; `counts` has of each source how many recordings were heard, and left out."""
    sources = [
        Source(name, *counts[name], *_rates(part, labels), _by_kind(part))
        for name, part in ((name, [n for n in heard if n.source == name]) for name in counts)
    ]
    return FalseAlarms(*_rates(heard, labels), tuple(sources))


def split(
    entries: Sequence[Entry], labels: Sequence[str], left_out: Sequence[str]
) -> tuple[tuple[Entry, ...], tuple[int, int]]:
    """Return what may be heard, and how many recordings that is, and are left out."""
    kept = allowed(entries, labels, left_out)
    return kept, (len(kept), len(entries) - len(kept))


def _rates(heard: Sequence[Negative], labels: Sequence[str]) -> tuple[Rate, dict[str, Rate]]:
    hours = _hours(heard)
    found: Counter[str] = Counter()
    for detection in (f for n in heard for f in n.heard.found):
        found[detection.label] += detection.false_alarms
    return rate(found.total(), hours), {label: rate(found[label], hours) for label in labels}


def _by_kind(heard: Sequence[Negative]) -> dict[str, Rate]:
    kinds = {kind: [n for n in heard if n.label == kind] for kind in sorted({n.label for n in heard})}
    counts = {kind: sum(f.false_alarms for n in part for f in n.heard.found) for kind, part in kinds.items()}
    rates = {kind: rate(counts[kind], _hours(part)) for kind, part in kinds.items()}
    return {kind: of for kind, of in rates.items() if of.count}


def _hours(heard: Iterable[Negative]) -> float:
    return hours_of([n.heard for n in heard])


def _levelled(pcm: Pcm, dbfs: float, rate_hz: int) -> Pcm:
    sound = at_level(pcm / FULL_SCALE, dbfs)
    ramp = np.linspace(0.0, 1.0, min(round(FADE_S * rate_hz), sound.size // 2))
    sound[: ramp.size] *= ramp
    sound[sound.size - ramp.size :] *= ramp[::-1]
    return to_pcm(sound)
