"""Folders of made-up recordings with a table, for the tiny model: what is loud is `loud`."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000


def write_folder(directory: Path, rows: Sequence[tuple[str, float, float, int]]) -> Path:
    """Write a recording for each row: label, level of its noise, seconds, fold."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "fold"])
        for number, (label, level, seconds, fold) in enumerate(rows):
            noise = np.random.default_rng(number).uniform(-level, level, round(seconds * RATE_HZ))
            soundfile.write(directory / f"{number}.wav", noise, RATE_HZ)
            table.writerow([f"{number}.wav", label, fold])
    return directory


def write_recordings(directory: Path) -> Path:
    """Loud recordings in two folds, and some of a label that the model does not know."""
    loud = [("loud", 0.9, 3.0, 1 + at % 2) for at in range(6)]
    return write_folder(directory, [*loud, ("speech", 0.1, 3.0, 1)])
