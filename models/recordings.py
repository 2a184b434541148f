"""Folders with labels.csv -> recordings, each in the fold that it is held out in.

data      path,label,fold,…   what is to be told apart; folds keep one source's recordings together
ambience  path,label,…        long backgrounds, dealt out to the folds in order
variety   path,label,…        anything at all, of no fold: nothing should be found in it
"""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from models.backgrounds import NOTHING, draw_background
from models.dataset import PCM, TABLE, Entry, read_labels, read_pcm, to_pcm
from models.features import RATE_HZ
from models.generate import ALERTS, draw_alert
from schemas.errors import ConfigurationError

AMBIGUOUS = frozenset({"ambiguous", "thunderstorm"})
"""Labels of sounds that are neither right nor wrong as one of ours, as a thunderstorm is rain: only a teacher
says what to make of them."""

GENERATED_S = 6.0
"""Length of a generated sound: one and a half patterns of a smoke alarm."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One file, which is read where it is needed."""

    file: Path
    path: str
    """The folder's name and the path in it."""
    label: str
    fold: int | None
    licence: str
    source: str

    def read(self) -> PCM:
        """Read it as mono `int16[samples]` at 16 kHz.

        Raises:
            ConfigurationError: it cannot be read.

        """
        return read_pcm(self.file)


@dataclass(frozen=True, slots=True)
class Sources:
    """The folders to learn from."""

    data: Path
    ambience: tuple[Path, ...] = ()
    variety: tuple[Path, ...] = ()

    @property
    def folders(self) -> dict[str, Path]:
        """Every folder by its name.

        Raises:
            ConfigurationError: two have the same name, by which recordings and digests are told apart.

        """
        folders = (self.data, *self.ambience, *self.variety)
        by_name = {folder_name(folder): folder for folder in folders}
        if len(by_name) < len(folders):
            names = sorted(map(folder_name, folders))
            raise ConfigurationError("data, ambience, variety", names, "folders of different names")
        return by_name


@dataclass(frozen=True, slots=True)
class Heap:
    """All recordings that there are to learn from, and what is to be told apart in them."""

    classes: tuple[str, ...]
    labelled: tuple[Recording, ...]
    """Recordings of a class, those among the ambience included."""
    backgrounds: tuple[Recording, ...]
    variety: tuple[Recording, ...]
    alerts: tuple[Recording, ...] = ()
    generated: tuple[Recording, ...] = ()
    """Backgrounds that are generated."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, then the alerts that are generated."""
        return (*self.classes, *dict.fromkeys(r.label for r in self.alerts))

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that there are."""
        return tuple(sorted({r.fold for r in self.labelled if r.fold is not None}))

    @property
    def all(self) -> tuple[Recording, ...]:
        """Every recording."""
        return self.labelled + self.backgrounds + self.variety


def read_heap(sources: Sources, classes: Sequence[str] | None = None) -> Heap:
    """Read everything; without `classes` every label of `data` is one.

    Raises:
        ConfigurationError: a folder or a file of it cannot be used, or has nothing of a class, or two
            folders have the same name, or recordings of one source are in two folds.

    """
    folders, rows = sources.folders, read_labels(sources.data)
    if "" in folders:
        raise ConfigurationError("data, ambience, variety", str(folders[""]), "a folder that has a name")
    _check_sources(rows)
    known = tuple(classes) if classes else tuple(sorted({row.label for row in rows}))
    missing = set(known) - {row.label for row in rows}
    if missing:
        raise ConfigurationError("classes", sorted(missing), f"labels that are in {sources.data}")
    plain = [row for row in rows if row.label in known or row.label not in AMBIGUOUS]
    data = [_recording(row, row.fold, sources.data) for row in plain]
    folds = sorted({row.fold for row in rows if row.fold is not None})
    long = [r for folder in sources.ambience for r in _read_dealt(folder, folds)]
    variety = [_recording(row, None, folder) for folder in sources.variety for row in read_labels(folder)]
    every = data + long
    return Heap(
        classes=known,
        labelled=tuple(r for r in every if r.label in known),
        backgrounds=tuple(r for r in every if r.label not in known),
        variety=tuple(variety),
    )


def with_generated(heap: Heap, count: int, folder: Path) -> Heap:
    """Add `count` generated sounds of 6 s: an alert, the other alert, two backgrounds, in turn.

    They are written to the folder, or read from it where they are already there.
    """
    if count and not (folder / TABLE).is_file():
        _generate([label for label in ALERTS if label not in heap.classes], count, folder)
    made = [_recording(row, None, folder) for row in read_labels(folder)] if count else []
    return replace(
        heap,
        alerts=tuple(r for r in made if r.label != NOTHING),
        generated=tuple(r for r in made if r.label == NOTHING),
    )


def without_folds(recordings: Iterable[Recording], held_out: Collection[int]) -> list[Recording]:
    """Return the recordings that are not of some folds."""
    return [r for r in recordings if r.fold not in held_out]


def _generate(alerts: Sequence[str], count: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng, turn, lines = np.random.default_rng(0), [*alerts, NOTHING, NOTHING], ["path,label,licence"]
    for number in range(count):
        label = turn[number % len(turn)]
        sound = draw_background(rng, GENERATED_S) if label == NOTHING else draw_alert(rng, label, GENERATED_S)
        soundfile.write(folder / f"{number}.flac", to_pcm(sound), RATE_HZ)
        lines.append(f"{number}.flac,{label},generated")
    write_whole(folder / TABLE, "\n".join(lines) + "\n")


def write_whole(file: Path, text: str) -> None:
    """Write a file so that it is there whole or, after an interruption, as it was before."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def folder_name(folder: Path) -> str:
    """Return the last name of a folder's path, that of `.` included; links are not followed."""
    return Path(os.path.abspath(folder)).name


def _check_sources(rows: Sequence[Entry]) -> None:
    folds: dict[str, int | None] = {}
    for row in rows:
        if folds.setdefault(row.source, row.fold) != row.fold:
            raise ConfigurationError("source", row.source, "a source whose recordings are in one fold")


def _read_dealt(folder: Path, folds: Sequence[int]) -> list[Recording]:
    rows = [row for row in read_labels(folder) if row.label not in AMBIGUOUS]
    return [_recording(row, folds[i % len(folds)] if folds else None, folder) for i, row in enumerate(rows)]


def _recording(row: Entry, fold: int | None, folder: Path) -> Recording:
    path = f"{folder_name(folder)}/{row.path}"
    return Recording(row.file, path, row.label, fold, row.licence, row.source)
