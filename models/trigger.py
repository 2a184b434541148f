"""pools + a trained network -> a trigger: a tiny model that says whether the network would hear anything.

It runs where there is next to no power, and what it lets through goes to the network. It learns from the
network's own scores, not from the truth: what the network would not report need not be let through. Its mel
bands are pairs of the network's, and its frames every other one, so pools serve both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.bank import WINDOW_SAMPLES
from models.compress.entry import NETWORK, Entry
from models.compress.store import round_network, shorten_names, store_halves
from models.compress.trigger_shapes import SHAPES, Trigger
from models.compress.weights import read_network
from models.export import TOLERANCE, Rule, write_onnx, write_spec
from models.features import log_mel
from models.network import Model, Network
from models.pool import Pool
from models.session import check_company, noise, open_session, score
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, ModelSpec

LABEL = "sound"
SILENT = 4
"""Windows of each batch that are digital silence."""
SCORED_AT_ONCE = 512
SHARPNESS = 0.7
"""How quickly a window's target falls with the distance of its log-odds from the nearest threshold."""

Windows = tuple[Pool, NDArray[np.int64]]
"""Some rows of a pool."""
Tick = Callable[[int, float], None]
"""Told the number of steps that are done and the last one's loss."""


@dataclass(frozen=True, slots=True)
class TriggerSettings:
    """How a trigger is trained.

    Raises:
        ConfigurationError: a batch would be silence alone.

    """

    shape: str = "medium"
    steps: int = 6000
    """With a third of them it rejects less: half as much on two folds, where it passed as much."""
    batch: int = 160
    learning_rate: float = 2e-2
    weight_decay: float = 0.01
    missed: float = 1.0
    """How much worse it is to miss what the network hears than to let nothing through."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch <= SILENT:
            raise ConfigurationError("batch", self.batch, f"more than the {SILENT} silent windows of each")


def train_trigger(
    lessons: Sequence[Windows],
    network: Network,
    thresholds: Mapping[str, float],
    settings: TriggerSettings,
    tick: Tick,
) -> Trigger:
    """Train a trigger on windows of pools; after `repeat_exactly`, always to the same weights.

    Windows are drawn evenly; `SILENT` of each batch are silence. `thresholds` are in the order of the
    network's outputs.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    targets = torch.cat([would_hear(pool, rows, network, thresholds) for pool, rows in lessons])
    ends = np.cumsum([rows.size for _, rows in lessons])
    trigger = Trigger(SHAPES[settings.shape])
    optimiser = torch.optim.AdamW(
        trigger.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    weight = torch.tensor(settings.missed)
    trigger.train()
    for step in range(settings.steps):
        chosen = np.sort(rng.integers(len(targets), size=settings.batch - SILENT))
        power = nn.functional.pad(_power(lessons, ends, chosen), (0, 0, 0, 0, 0, SILENT))
        wanted = nn.functional.pad(targets[chosen], (0, SILENT))
        # In this layout a step takes half as long.
        features = pool_features(power).to(memory_format=torch.channels_last)
        logits = trigger.network(features)[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        tick(step + 1, float(loss.detach()))
    return trigger.eval()


def _power(lessons: Sequence[Windows], ends: NDArray[np.int64], chosen: NDArray[np.int64]) -> Tensor:
    """Return the power of some windows, `float32[len(chosen), frames, bands]`.

    They are numbered through all lessons, and in order; `ends` is where each lesson's numbers end.
    """
    parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    starts = [0, *ends[:-1]]
    return torch.cat(
        [
            pool.power_of(rows[part - start])
            for (pool, rows), part, start in zip(lessons, parts, starts, strict=True)
        ]
    )


def read_trained(entry: Entry) -> Network:
    """Read the network of a model whose front end is that of the pools.

    Raises:
        ConfigurationError: it has another one, or is not float32.

    """
    accepted = "a float32 model as `model train` writes it"
    try:
        network = read_network(entry.graph())
    except ConfigurationError as exc:
        raise ConfigurationError("model", str(entry.directory), accepted) from exc
    windows = noise(WINDOW_SAMPLES)
    with torch.inference_mode():
        expected = Model(network)(torch.from_numpy(windows)).numpy()
    if not np.allclose(score(open_session(entry.file), windows, entry.spec), expected, atol=TOLERANCE):
        raise ConfigurationError("model", str(entry.directory), f"{accepted}, with its front end")
    return network


def would_hear(
    pool: Pool, usable: NDArray[np.int64], network: Network, thresholds: Mapping[str, float]
) -> Tensor:
    """Return how surely a network reaches the threshold of any label in each window, `float32[N]`."""
    at = torch.logit(torch.tensor(list(thresholds.values())))
    said = []
    with torch.inference_mode():
        for rows in np.array_split(usable, -(-len(usable) // SCORED_AT_ONCE)):
            above = network(log_mel(pool.power_of(rows))) - at
            said.append(torch.sigmoid(SHARPNESS * above.amax(dim=1)))
    return torch.cat(said)


def pool_features(power: Tensor) -> Tensor:
    """Turn the network's power `float32[B, 49, 64]` into what the trigger sees, `float32[B, 1, 25, 32]`."""
    frames = power[:, ::2]
    return log_mel((frames[:, :, ::2] + frames[:, :, 1::2]) / 2)


def export_trigger(trigger: Trigger, threshold: float, licence: str, directory: Path) -> ModelSpec:
    """Write a trigger as a model directory with the one label `sound`, its weights kept as float16.

    Raises:
        ConfigurationError: it gives a window other scores in another batch.

    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / MODEL_FILE
    write_onnx(trigger.eval(), file)
    graph = onnx.load(file)
    round_network(graph, NETWORK)
    store_halves(graph)
    shorten_names(graph)
    onnx.save(graph, file)
    check_company(file)
    return write_spec(rule_of(threshold), licence, directory)


def rule_of(threshold: float) -> Rule:
    """Return when a trigger lets a window through."""
    return Rule({LABEL: threshold}, 1, 1)
