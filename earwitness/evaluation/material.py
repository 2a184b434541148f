"""Tables and generators -> sounds to measure on, at the model's rate.

The table's recordings are heard whole, and laid into streams. Backgrounds and negatives are recordings in
which nothing of the model's should be found: what bears a label of the model, or is left out by name, is in
neither. A folder without a table is all negatives.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earwitness.evaluation.clips import Clip
from earwitness.evaluation.events import Scene
from earwitness.evaluation.heard import Pcm
from earwitness.evaluation.listener import Listener
from models.dataset import TABLE, Entry, read_labels, read_pcm, to_pcm
from models.scenes.noises import NOISES, draw_noise
from models.scenes.streams import Recorded, Stream
from producers.sources.files import files_in
from schemas.errors import CaptureError, ConfigurationError
from schemas.model import ModelSpec

LEFT_OUT = ("ambiguous", "thunderstorm")
"""Labels that are neither right nor wrong: a thunderstorm is rain, wind and thunder at once."""
UNLABELLED = "unlabelled"
NOISE_STREAM_S, BACKGROUND_S = 60.0, 20.0
FULL_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class Part:
    """A model, recordings that it never learned from, and backgrounds that it never learned from.

    Several parts are measured as one: the folds of a cross-validation. Without backgrounds, generated noise
    takes their place.
    """

    model: Path
    entries: tuple[Entry, ...]
    backgrounds: tuple[Entry, ...] = ()


def read_entries(directory: Path, folds: Sequence[int] = ()) -> tuple[Entry, ...]:
    """Read a table, or the rows of some of its folds.

    Raises:
        ConfigurationError: the table cannot be used, or no row is of these folds.

    """
    entries = read_labels(directory)
    chosen = tuple(entry for entry in entries if not folds or entry.fold in folds)
    if not chosen:
        known = sorted({entry.fold for entry in entries if entry.fold is not None})
        raise ConfigurationError("--fold", list(folds), f"folds of the table: {known or 'it has none'}")
    return chosen


def read_unlabelled(directory: Path) -> tuple[Entry, ...]:
    """Read a folder of negatives or backgrounds: its table, or where it has none all of its sound files.

    Raises:
        ConfigurationError: there is neither.

    """
    if (directory / TABLE).is_file():
        return read_labels(directory)
    try:
        files = files_in(directory)
    except CaptureError as exc:
        raise ConfigurationError("--negatives", str(directory), f"a folder with sounds in it: {exc}") from exc
    return tuple(_entry(file, directory) for file in files)


def allowed(entries: Iterable[Entry], labels: Sequence[str], left_out: Sequence[str]) -> tuple[Entry, ...]:
    """Return the entries in which nothing should be found."""
    return tuple(e for e in entries if e.label not in labels and e.label not in left_out)


def hear_clips(listener: Listener, entries: Iterable[Entry]) -> Iterator[Clip]:
    """Hear recordings whole.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    rate_hz = listener.spec.sample_rate_hz
    for entry in entries:
        yield Clip(entry.path, entry.label, listener.hear_whole(read_pcm(entry.file, rate_hz), rate_hz))


def hear_streams(listener: Listener, streams: Iterable[Stream]) -> Iterator[Scene]:
    """Hear streams whose events are known."""
    for stream in streams:
        yield Scene(stream.truth, listener.hear_whole(stream.pcm, stream.rate_hz))


def recorded(entries: Sequence[Entry], rate_hz: int, most: int, rng: np.random.Generator) -> list[Recorded]:
    """Read at most so many recordings, drawn from all of them.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    chosen = sorted(rng.permutation(len(entries))[:most].tolist())
    return [Recorded(read_pcm(entries[at].file, rate_hz), entries[at].label) for at in chosen]


def backgrounds(
    entries: Sequence[Entry], spec: ModelSpec, most: int, left_out: Sequence[str], rng: np.random.Generator
) -> list[Recorded]:
    """Read what of backgrounds may lie under events, or draw one of each generated noise.

    Raises:
        ConfigurationError: there are backgrounds, but the model knows the labels of all of them.

    """
    rate_hz, kept = spec.sample_rate_hz, allowed(entries, spec.labels, left_out)
    if kept:
        return recorded(kept, rate_hz, most, rng)
    if entries:
        labels = sorted({entry.label for entry in entries})
        raise ConfigurationError("--background", labels, "a label that the model does not have")
    return [
        Recorded(to_pcm(at_level(draw_noise(rng, kind, BACKGROUND_S, rate_hz), -30.0)), kind)
        for kind in NOISES
    ]


def noises(rng: np.random.Generator, hours: float, rate_hz: int) -> Iterator[tuple[str, Pcm]]:
    """Draw generated noise in streams of a minute, of each kind in turn, at -50 to -10 dBFS."""
    for number in range(round(hours * 3600 / NOISE_STREAM_S)):
        kind = NOISES[number % len(NOISES)]
        sound = draw_noise(rng, kind, NOISE_STREAM_S, rate_hz)
        yield kind, to_pcm(at_level(sound, rng.uniform(-50.0, -10.0)))


def at_level(sound: NDArray[np.floating], dbfs: float) -> NDArray[np.float64]:
    """Bring a sound to a root mean square, or to as much of it as its peaks leave room for."""
    power, peak = float(np.mean(np.square(sound, dtype=np.float64))), float(np.abs(sound).max(initial=0.0))
    if not power:
        return np.asarray(sound, dtype=np.float64)
    return np.asarray(sound * min(10 ** (dbfs / 20) / np.sqrt(power), 0.99 / peak), dtype=np.float64)


def _entry(file: Path, directory: Path) -> Entry:
    path = file.relative_to(directory).as_posix()
    return Entry(file, path, UNLABELLED, None, "", path)
