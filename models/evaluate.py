"""network + recordings it never heard -> evidence: scores to choose thresholds by and to report.

Nothing here is measured on a recording, or on a background, that the network was trained on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.bank import HOP_SAMPLES, LOUD, WINDOW_SAMPLES, Synthesise
from models.features import RATE_HZ
from models.network import Model
from models.recordings import ALERTS, ESC10, LABELS, PCM, Recording, to_pcm
from schemas.errors import ConfigurationError

SNRS_DB = (-5.0, 0.0, 5.0, 10.0)
AUDIBLE_SAMPLES = RATE_HZ // 10
"""An alert sounds in a window if at least this much of it does: 0.1 s."""
FALSE_RATE, ALERT_FALSE_RATE = 0.01, 0.002
"""Share of windows without a label that may reach its threshold."""
MOST_DRAWS = 1000
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.3, 0.95

Logits = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of one recording: `logits float32[W, labels]` and `power float64[W]`."""

    recording: Recording
    logits: Logits
    power: NDArray[np.float64]

    @property
    def is_esc10(self) -> bool:
        """Tell a recording of ESC-10 from a long ambience."""
        return self.recording.path.startswith("esc10/")

    @property
    def loud(self) -> Flags:
        """Tell which windows are within 30 dB of the loudest: the others hold next to nothing."""
        return np.asarray(self.power >= LOUD * self.power.max())

    @property
    def guess(self) -> str:
        """Name the ESC-10 class of the whole recording: logits, weighted by the root of power."""
        weights = np.sqrt(self.power / max(float(self.power.max()), 1e-20))
        return ESC10[int((self.logits[:, : len(ESC10)] * weights[:, None]).sum(axis=0).argmax())]

    @property
    def window_accuracy(self) -> float:
        """Return the share of loud windows whose highest ESC-10 score is the recording's class."""
        best = self.logits[self.loud, : len(ESC10)].argmax(axis=1)
        return float(np.mean(best == LABELS.index(self.recording.label)))


@dataclass(frozen=True, slots=True)
class Trial:
    """An alert over a background at a known SNR: scores `float32[W, labels]`, and where it sounds."""

    label: str
    snr_db: float
    scores: NDArray[np.float32]
    sounding: Flags


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything heard by networks that had not heard it before."""

    heard: tuple[Heard, ...]
    trials: tuple[Trial, ...]

    def __add__(self, other: "Evidence") -> "Evidence":
        return Evidence(self.heard + other.heard, self.trials + other.trials)


def listen(model: Model, held_out: Sequence[Recording]) -> tuple[Heard, ...]:
    """Score every window of recordings that the model was not trained on."""
    return tuple(_hear(model, recording) for recording in held_out)


def try_alerts(
    model: Model,
    backgrounds: Sequence[Recording],
    synthesise: Synthesise,
    rng: np.random.Generator,
    count: int,
) -> tuple[Trial, ...]:
    """Lay `count` alerts of each kind, at each SNR, over held-out backgrounds, and score them.

    SNR is the alert's mean power where it is not digitally silent over the background's mean power.

    Raises:
        ConfigurationError: the generator never gives one of the alerts.

    """
    trials = []
    for label in ALERTS:
        for snr_db in SNRS_DB:
            for _ in range(count):
                alert = _draw(synthesise, rng, label)
                background = backgrounds[int(rng.integers(len(backgrounds)))]
                trials.append(_try(model, alert, label, _excerpt(background, alert.size, rng), snr_db))
    return tuple(trials)


def choose_thresholds(evidence: Evidence) -> dict[str, float]:
    """Choose for every label the lowest threshold that keeps its false windows rare.

    Rare is 1 % (smoke alarm and siren 0.2 %) of the windows of held-out recordings with another label
    or with none; the result is held within 0.3 and 0.95, and rounded up to hundredths.
    """
    return {label: _threshold(evidence, label) for label in LABELS}


def scores_of(logits: Logits) -> NDArray[np.float32]:
    """Turn logits into probabilities."""
    return (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def active(reached: Flags, m: int, n: int) -> Flags:
    """Return where at least m of the last n windows reached the threshold, `bool[W]`."""
    return np.asarray(np.convolve(reached.astype(int), np.ones(n, dtype=int))[: reached.size] >= m)


def detections(reached: Flags, m: int, n: int) -> int:
    """Count the runs of active windows."""
    heard = active(reached, m, n).astype(int)
    return int(np.count_nonzero(np.diff(heard, prepend=0) == 1))


def windows_of(audio: PCM) -> PCM:
    """Cut a recording into windows, `int16[W, 16000]`, zero-padded to at least one."""
    padded = np.pad(audio, (0, max(0, WINDOW_SAMPLES - audio.size)))
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES].copy()


def _hear(model: Model, recording: Recording) -> Heard:
    windows = windows_of(recording.audio)
    power = np.mean((windows / 32768.0) ** 2, axis=1)
    return Heard(recording, _logits(model, windows), power)


def _logits(model: Model, windows: PCM) -> Logits:
    with torch.inference_mode():
        parts = [model.logits(part) for part in torch.split(torch.from_numpy(windows), 64)]
    return np.asarray(torch.cat(parts).numpy())


def _draw(synthesise: Synthesise, rng: np.random.Generator, label: str) -> NDArray[np.float64]:
    for _ in range(MOST_DRAWS):
        sound, drawn = synthesise(rng)
        if drawn == label and np.any(sound):
            return sound
    raise ConfigurationError("synthesise", label, f"a generator that gives a {label} now and then")


def _excerpt(recording: Recording, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    start = int(rng.integers(max(1, recording.audio.size - size)))
    return np.resize(recording.audio[start : start + size], size) / 32768.0


def _try(
    model: Model,
    alert: NDArray[np.float64],
    label: str,
    background: NDArray[np.float64],
    snr_db: float,
) -> Trial:
    on = np.abs(alert) > 1e-6
    ratio = np.mean(background**2) / np.mean(alert[on] ** 2) * 10 ** (snr_db / 10)
    mixed = alert * np.sqrt(ratio) + background
    scores = scores_of(_logits(model, windows_of(to_pcm(mixed / max(1.0, np.abs(mixed).max())))))
    sounding = windows_of(on.astype(np.int16)).sum(axis=1) >= AUDIBLE_SAMPLES
    return Trial(label, snr_db, scores, sounding)


def _threshold(evidence: Evidence, label: str) -> float:
    others = [heard.logits for heard in evidence.heard if heard.recording.label != label]
    scores = scores_of(np.concatenate(others)[:, LABELS.index(label)])
    rate = ALERT_FALSE_RATE if label in ALERTS else FALSE_RATE
    still_common = float(np.quantile(scores, 1.0 - rate, method="higher"))
    rare = (math.floor(still_common * 100) + 1) / 100
    return min(max(rare, LOWEST_THRESHOLD), HIGHEST_THRESHOLD)
