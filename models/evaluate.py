"""network + recordings that it never heard -> a first look; `earwitness model evaluate` is what measures.

A recording's guess is the class with the highest mean logit over its windows, each window weighted by the
root of its power: what is loud in a recording is what it is a recording of.
"""

from collections.abc import Sequence

import numpy as np
import torch

from models.bank import HOP_SAMPLES, WINDOW_SAMPLES
from models.dataset import PCM, cut_windows
from models.network import Model
from models.recordings import Recording


def clip_accuracy(model: Model, recordings: Sequence[Recording], classes: Sequence[str]) -> float:
    """Return the share of recordings that are guessed right."""
    right = [guess(model, recording.read(), classes) == recording.label for recording in recordings]
    return float(np.mean(right)) if right else float("nan")


def guess(model: Model, audio: PCM, classes: Sequence[str]) -> str:
    """Say which class a recording is of; the classes are the model's first labels."""
    windows = windows_of(audio)
    power = np.mean(np.square(windows / 32768.0), axis=1)
    with torch.inference_mode():
        logits = model.logits(torch.from_numpy(windows)).numpy()[:, : len(classes)]
    return classes[int((logits * np.sqrt(power)[:, None]).sum(axis=0).argmax())]


def windows_of(audio: PCM) -> PCM:
    """Cut a recording into windows, `int16[W, 16000]`, zero-padded to at least one."""
    return cut_windows(audio, WINDOW_SAMPLES, HOP_SAMPLES)
