"""A trigger learns, from every pool that it is given, what a network would hear."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.network import Network
from models.pool import Pool
from models.trigger import SILENT, TriggerSettings, pool_features, train_trigger, would_hear
from schemas.errors import ConfigurationError

FRAMES, BANDS, WINDOWS = 49, 64, 60


class Loud(Network):
    """One label: how loud the low bands are, and another that is never heard."""

    def forward(self, features: Tensor) -> Tensor:
        low = features[:, 0, :, :32].mean((1, 2))
        return torch.stack([8 * (low - low.new_tensor(0.5)), torch.full_like(low, -20.0)], dim=1)


def pool_of(low: float, high: float, seed: int) -> Pool:
    """Return windows whose low and high bands are about as loud as said, in nepers of power."""
    rng = np.random.default_rng(seed)
    power = rng.normal(0, 0.5, (WINDOWS, FRAMES, BANDS)).astype(np.float16)
    power[:, :, :32] += np.float16(low)
    power[:, :, 32:] += np.float16(high)
    nothing = np.zeros((WINDOWS, 0), np.float16)
    targets, known = np.zeros((WINDOWS, 2), np.float32), np.ones(WINDOWS, np.bool_)
    return Pool(power, targets, known, np.full(WINDOWS, -1, np.int16), nothing, nothing)


def test_it_lets_through_what_the_network_hears_in_any_of_its_pools_and_nothing_else() -> None:
    network = Loud(2, ((4, 1, (1, 1)),))
    thresholds = {"low": 0.5, "never": 0.5}
    low, high = pool_of(8.0, -8.0, 1), pool_of(-8.0, 8.0, 2)
    some = np.arange(0, WINDOWS, 2)
    heard = [float(would_hear(pool, some, network, thresholds).mean()) for pool in (low, high)]
    assert heard[0] > 0.7 > 0.3 > heard[1]
    losses: list[float] = []
    trigger = train_trigger(
        [(low, some), (high, some)],
        network,
        thresholds,
        TriggerSettings(shape="small", steps=60, batch=32, learning_rate=5e-3),
        lambda _, loss: losses.append(loss),
    )
    unseen = np.arange(1, WINDOWS, 2)
    with torch.inference_mode():
        said = [torch.sigmoid(trigger.network(pool_features(p.power_of(unseen)))) for p in (low, high)]
    assert len(losses) == 60
    assert float(said[0].min()) > float(said[1].max())


def test_silence_is_not_let_through_where_the_network_hears_something_everywhere() -> None:
    network = Loud(2, ((4, 1, (1, 1)),))
    pool = pool_of(8.0, -8.0, 3)
    settings = TriggerSettings(shape="small", steps=60, batch=32, learning_rate=5e-3)
    trigger = train_trigger(
        [(pool, np.arange(WINDOWS))], network, {"low": 0.5, "never": 0.5}, settings, lambda *_: None
    )
    windows = torch.cat([pool.power_of(np.arange(WINDOWS)), torch.zeros(1, FRAMES, BANDS)])
    with torch.inference_mode():
        said = torch.sigmoid(trigger.network(pool_features(windows)))[:, 0]
    assert float(said[-1]) < 0.2 < 0.5 < float(said[:-1].min())


def test_a_batch_holds_more_than_silence() -> None:
    with pytest.raises(ConfigurationError, match="more than the 4 silent windows"):
        TriggerSettings(batch=SILENT)


def test_of_several_pools_each_window_keeps_its_own_target() -> None:
    network = Loud(2, ((4, 1, (1, 1)),))
    thresholds = {"low": 0.5, "never": 0.5}
    settings = TriggerSettings(shape="small", steps=3, batch=16)
    low, high = pool_of(8.0, -8.0, 1), pool_of(-8.0, 8.0, 2)
    both = Pool(*(np.concatenate([getattr(low, name), getattr(high, name)]) for name in Pool.__slots__))

    def losses(*lessons: tuple[Pool, np.ndarray]) -> list[float]:
        told: list[float] = []
        train_trigger(lessons, network, thresholds, settings, lambda _, loss: told.append(loss))
        return told

    torch.use_deterministic_algorithms(True)
    parted = losses((low, np.arange(3, WINDOWS)), (high, np.arange(WINDOWS - 7)))
    assert parted == losses((both, np.arange(3, 2 * WINDOWS - 7)))
