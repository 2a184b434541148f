"""labels.csv and audio files -> recordings: labelled 16 kHz PCM, each in the fold that it is held out in.

<data>/esc10/labels.csv     path,label,fold,…   ten classes of ESC-50, folds by their source
<data>/ambience/labels.csv  path,label,…        long backgrounds, dealt out to the folds in order
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models.features import RATE_HZ
from schemas.errors import ConfigurationError

ESC10 = (
    "chainsaw",
    "clock_tick",
    "crackling_fire",
    "crying_baby",
    "dog_bark",
    "helicopter",
    "rain",
    "rooster",
    "sea_waves",
    "sneezing",
)
ALERTS = ("smoke_alarm", "siren")
LABELS = (*ESC10, *ALERTS)
FOLDS = (1, 2, 3, 4)
AMBIGUOUS = frozenset({"thunderstorm"})
"""Rain, wind and thunder at once: neither right nor wrong as rain, so left out."""

PCM = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Recording:
    """One file, mono at 16 kHz. A `label` that is not in `LABELS` makes it background."""

    path: str
    label: str
    fold: int
    licence: str
    source: str
    audio: PCM

    @property
    def is_background(self) -> bool:
        """Tell whether nothing in it should be found."""
        return self.label not in LABELS


def read_esc10(data: Path, speed: float = 1.0) -> list[Recording]:
    """Read the recordings of ESC-10, played at `speed`.

    Raises:
        ConfigurationError: the directory is not there.

    """
    rows = list(_rows(data / "esc10"))
    return [_recording(data / "esc10", row, int(row["fold"]), speed) for row in rows]


def read_ambience(data: Path, speed: float = 1.0) -> list[Recording]:
    """Read the long backgrounds, played at `speed`; a third of them are rain, a fire and waves.

    Raises:
        ConfigurationError: the directory is not there.

    """
    rows = [row for row in _rows(data / "ambience") if row["label"] not in AMBIGUOUS]
    return [_recording(data / "ambience", row, FOLDS[i % len(FOLDS)], speed) for i, row in enumerate(rows)]


def read_pcm(path: Path, speed: float = 1.0) -> PCM:
    """Read a file as mono `int16[samples]` at 16 kHz; `speed` 1.1 plays it a tenth faster, and higher."""
    sound, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    resampled = soxr.resample(sound.mean(axis=1), rate_hz * speed, RATE_HZ, quality="HQ")
    return to_pcm(resampled)


def to_pcm(sound: NDArray[np.floating]) -> PCM:
    """Round samples in [-1, 1] to `int16`."""
    return np.asarray(np.clip(np.rint(sound * 32767.0), -32768, 32767), dtype=np.int16)


def _rows(directory: Path) -> Iterator[dict[str, str]]:
    table = directory / "labels.csv"
    if not table.is_file():
        raise ConfigurationError("data", str(directory.parent), f"a directory with {table.name}")
    with table.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _recording(directory: Path, row: dict[str, str], fold: int, speed: float) -> Recording:
    return Recording(
        path=f"{directory.name}/{row['path']}",
        label=row["label"],
        fold=fold,
        licence=row["licence"],
        source=row.get("url") or row["source_id"] or f"{directory.name}/{row['path']}",
        audio=read_pcm(directory / row["path"], speed),
    )
