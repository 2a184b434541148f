"""Small folders of recordings that tests train on: tones and noises of two classes in two folds."""

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
Rows = list[tuple[str, str, int | None]]
"""Path, label and fold of recordings."""


def tone(rng: np.random.Generator, seconds: float = 2.0) -> np.ndarray:
    """Return a tone of any pitch, loud for its middle half."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    inside = (time_s > seconds / 4) & (time_s < seconds * 3 / 4)
    return 0.5 * np.sin(2 * np.pi * rng.uniform(300, 2000) * time_s) * inside


def hiss(rng: np.random.Generator, seconds: float = 2.0) -> np.ndarray:
    """Return white noise."""
    return 0.1 * rng.standard_normal(int(seconds * RATE_HZ))


def write_folder(folder: Path, rows: Rows, seed: int = 0) -> Path:
    """Write recordings, each by its path, label and fold: `tone` is a tone, anything else is hiss."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path,label,fold"]
    for path, label, fold in rows:
        soundfile.write(folder / path, tone(rng) if label == "tone" else hiss(rng), RATE_HZ)
        lines.append(f"{path},{label},{'' if fold is None else fold}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def two_folds(folder: Path) -> Path:
    """Write eight recordings: two of each class in each of the folds 1 and 2."""
    rows: Rows = [
        (f"{label}-{fold}-{i}.wav", label, fold)
        for label in ("hiss", "tone")
        for fold in (1, 2)
        for i in (0, 1)
    ]
    return write_folder(folder, rows)
