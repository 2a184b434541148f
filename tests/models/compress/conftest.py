"""A small model that learnt three kinds of sound in seconds, and a folder of recordings of them."""

import csv
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from models.compress.entry import Entry, read_entry
from models.features import FULL_SCALE, log_mel
from models.network import Layer, Model, Network
from schemas.model import MODEL_FILE, SPEC_FILE, ModelSpec, file_digest

RATE_HZ = 16_000
LABELS = "hiss", "hum", "whistle"
LAYERS: tuple[Layer, ...] = ((8, 3, (2, 2)), (16, 3, (2, 2)), (24, 3, (2, 2)), (32, 1, (1, 1)))
POOL, STEPS, BATCH = 160, 60, 24


def sound(label: str, seconds: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Make noise, or a tone of 100 to 300 Hz, or of 2 to 4 kHz, over faint noise, at any level."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    noise = rng.standard_normal(time_s.size)
    low, high = {"hiss": (0, 1), "hum": (100, 300), "whistle": (2000, 4000)}[label]
    tone = np.sin(2 * np.pi * rng.uniform(low, high) * time_s)
    mixed = noise if label == "hiss" else tone + 0.05 * noise
    return np.asarray(mixed * np.exp(rng.uniform(np.log(100), np.log(5000))), dtype=np.int16)


def to_onnx(model: torch.nn.Module, file: Path) -> None:
    """Export a model, as `models.export` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(2, RATE_HZ, dtype=torch.int16),),
            str(file),
            input_names=["audio"],
            output_names=["scores"],
            dynamic_axes={"audio": {0: "batch"}, "scores": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two folds of four recordings a label."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "fold"])
        for fold in (1, 2):
            for label in LABELS:
                for number in range(4):
                    name = f"{label}-{fold}-{number}.wav"
                    soundfile.write(folder / name, sound(label, 2.5, rng), RATE_HZ)
                    writer.writerow([name, label, fold])
    return folder


@pytest.fixture(scope="session")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """Return a model directory: trained, exported, with its spec."""
    directory = tmp_path_factory.mktemp("models") / "three" / "1"
    directory.mkdir(parents=True)
    to_onnx(_trained(), directory / MODEL_FILE)
    spec = ModelSpec(
        name="three",
        version="1",
        sample_rate_hz=RATE_HZ,
        window_samples=RATE_HZ,
        hop_samples=RATE_HZ // 2,
        labels=LABELS,
        thresholds=dict.fromkeys(LABELS, 0.9),
        m=1,
        n=1,
        licence="none",
        digest=file_digest(directory / MODEL_FILE),
    )
    (directory / SPEC_FILE).write_text(spec.model_dump_json(), encoding="utf-8")
    return read_entry(directory)


def _trained() -> Model:
    torch.manual_seed(0)
    rng, network = np.random.default_rng(0), Network(len(LABELS), LAYERS)
    model = Model(network)
    labels = rng.integers(len(LABELS) + 1, size=POOL)
    audio = np.zeros((POOL, RATE_HZ), np.int16)
    for row, index in enumerate(labels):
        if index < len(LABELS):  # else silence
            audio[row] = sound(LABELS[index], 1.0, rng)
    with torch.no_grad():
        features = log_mel(model.power(torch.from_numpy(audio).float() / FULL_SCALE))
    targets = torch.from_numpy(np.eye(len(LABELS) + 1, dtype=np.float32)[labels][:, : len(LABELS)])
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(STEPS):
        rows = torch.from_numpy(rng.integers(POOL, size=BATCH))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(features[rows]), targets[rows])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return model.eval()
