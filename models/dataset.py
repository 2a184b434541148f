"""A folder with labels.csv -> entries, and each entry's sound as 16 kHz PCM: any user's data, and ours.

labels.csv: path, label, and where they are known fold, licence, source_id, url, seconds; a column that we
do not know is left alone. `path` is relative to the folder and stays inside it. A label that a model does
not know makes the recording a negative: nothing should be found in it. Recordings of one fold are held out
together, so what comes from one source belongs into one fold.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from schemas.errors import ConfigurationError

TABLE = "labels.csv"
MOST_ENTRIES = 1_000_000
LONGEST_S = 4 * 3600
"""Of one recording: it is read at once."""
MOST_SAMPLES = LONGEST_S * 48_000 * 2
"""Of one recording, all channels together: 4 h in stereo at 48 kHz."""

PCM = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of labels.csv."""

    file: Path
    path: str
    """As the table has it."""
    label: str
    fold: int | None
    licence: str
    source: str
    """Where it comes from: what two recordings of one source share."""


def read_labels(directory: Path) -> tuple[Entry, ...]:
    """Read the table of a folder.

    Raises:
        ConfigurationError: there is no table, or a row of it cannot be used: the message has its line.

    """
    table = directory / TABLE
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            entries = tuple(_entries(csv.DictReader(file), directory))
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise ConfigurationError(
            "data", str(directory), f"a folder with {TABLE}, CSV in UTF-8: {exc}"
        ) from exc
    if not entries:
        raise ConfigurationError("data", str(table), "a table with a recording in it")
    return entries


def read_pcm(path: Path, rate_hz: int = 16_000, speed: float = 1.0) -> PCM:
    """Read a file as mono `int16[samples]`; `speed` 1.1 plays it a tenth faster, and higher.

    Raises:
        ConfigurationError: it is not a recording that can be read, is empty or too long, or has samples that
            are no numbers.

    """
    try:
        with soundfile.SoundFile(path) as file:
            _check_size(path, file)
            sound, given_hz = file.read(dtype="float32", always_2d=True), file.samplerate
    except (OSError, soundfile.SoundFileError) as exc:
        raise ConfigurationError("data", str(path), f"a recording that can be read: {exc}") from exc
    if not sound.size or not np.isfinite(sound).all():
        raise ConfigurationError("data", str(path), "a recording of finite samples, at least one")
    pcm = to_pcm(soxr.resample(sound.mean(axis=1), given_hz * speed, rate_hz, quality="HQ"))
    if not pcm.size:
        raise ConfigurationError("data", str(path), f"a recording of at least one sample at {rate_hz} Hz")
    return pcm


def cut_windows(audio: PCM, samples: int, hop_samples: int) -> PCM:
    """Cut a recording into windows, `int16[W, samples]`, zero-padded to at least one."""
    padded = np.pad(audio, (0, max(0, samples - audio.size)))
    return np.lib.stride_tricks.sliding_window_view(padded, samples)[::hop_samples].copy()


def to_pcm(sound: NDArray[np.floating]) -> PCM:
    """Round samples in [-1, 1] to `int16`."""
    return np.asarray(np.clip(np.rint(sound * 32767.0), -32768, 32767), dtype=np.int16)


def _check_size(path: Path, file: soundfile.SoundFile) -> None:
    if file.frames < 1:
        raise ConfigurationError("data", str(path), "a recording of finite samples, at least one")
    if file.frames > LONGEST_S * file.samplerate:
        raise ConfigurationError("data", str(path), f"recordings of at most {LONGEST_S} s")
    if file.frames * file.channels > MOST_SAMPLES:
        raise ConfigurationError("data", str(path), f"at most {MOST_SAMPLES} samples, all channels together")


def _entries(rows: "csv.DictReader[str]", directory: Path) -> Iterator[Entry]:
    missing = {"path", "label"} - set(rows.fieldnames or ())
    if missing:
        accepted = f"a header with path and label; {', '.join(sorted(missing))} is missing"
        raise ConfigurationError("data", str(directory / TABLE), accepted)
    seen: set[Path] = set()
    for number, row in enumerate(rows):
        if number == MOST_ENTRIES:
            raise ConfigurationError("data", str(directory / TABLE), f"at most {MOST_ENTRIES} recordings")
        place = f"{TABLE}, line {rows.line_num}"
        entry = _entry(row, directory, place)
        if entry.file in seen:
            raise ConfigurationError(place, entry.path, "every recording once")
        seen.add(entry.file)
        yield entry


def _entry(row: Mapping[str, str | None], directory: Path, place: str) -> Entry:
    path, label = row["path"] or "", row["label"] or ""
    if not label:
        raise ConfigurationError(place, label, "a label for every recording")
    file = directory / path
    if not path or Path(path).is_absolute() or ".." in Path(path).parts:
        raise ConfigurationError(place, path, "a path inside the folder")
    if not file.is_file():
        raise ConfigurationError(place, path, f"a file in {directory}")
    source = row.get("url") or row.get("source_id") or path
    return Entry(file, path, label, _fold(row.get("fold"), place), row.get("licence") or "", source)


def _fold(text: str | None, place: str) -> int | None:
    if not text:
        return None
    try:
        fold = float(text)  # pandas writes 1.0 where other rows have no fold
    except ValueError:
        fold = float("nan")
    if not fold.is_integer():
        raise ConfigurationError(place, text, "a fold that is a whole number")
    if fold < 0:
        raise ConfigurationError(place, text, "a fold from 0 up")
    return int(fold)
