"""Hard negatives are empty windows that a network takes for something, of all that it may hear."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.hard_negatives import HardNegatives
from models.network import Network
from models.opinions import Opinions, Taught
from models.pool import Pool

FRAMES, BANDS, WINDOWS = 49, 64, 40
TILT = np.arange(-20, 20) / 8


class Loudest(Network):
    """Two labels: how much louder the low bands are than the high ones, and the other way round."""

    def forward(self, features: Tensor) -> Tensor:
        low, high = features[:, 0, :, :32].mean((1, 2)), features[:, 0, :, 32:].mean((1, 2))
        return torch.stack([low - high, high - low], dim=1)


@pytest.fixture(name="network")
def _network() -> nn.Module:
    return Loudest(2, ((4, 1, (1, 1)),))


def pool_of(tilt: np.ndarray, targets: np.ndarray, known: np.ndarray) -> Pool:
    """Return windows of which the low bands are louder by `tilt`, with nothing from a teacher."""
    power = np.zeros((len(tilt), FRAMES, BANDS), np.float16)
    power[:, :, :32] = tilt[:, None, None]
    nothing = np.zeros((len(tilt), 0), np.float16)
    return Pool(power, targets, known, np.full(len(tilt), -1, np.int16), nothing, nothing)


def opinions(tilt: np.ndarray, usable: np.ndarray, full: tuple[int, ...] = (), unknown: int = -1) -> Opinions:
    targets = np.zeros((len(tilt), 2), np.float32)
    targets[list(full), 0] = 1.0
    known = np.arange(len(tilt)) != unknown
    mean = np.zeros(0, np.float32)
    return Opinions(pool_of(tilt, targets, known), usable, None, mean, mean)


def tilts(taught: Taught) -> set[int]:
    """Return the tilts of what was drawn, in eighths."""
    return set((8 * taught.power[:, 0, 0].log()).round().int().tolist())


def mined(negatives: HardNegatives, network: Network, seed: int = 0) -> list[int]:
    negatives.mine(network, np.random.default_rng(seed), torch.device("cpu"), bfloat16=False)
    return negatives.places.tolist()


def test_those_with_the_highest_scores_of_each_label_are_kept(network: Network) -> None:
    assert mined(HardNegatives([opinions(TILT, np.arange(WINDOWS))], hardest=3), network) == [
        0,
        1,
        2,
        37,
        38,
        39,
    ]


def test_windows_with_a_sound_of_ours_of_which_nothing_is_known_or_that_are_held_out_are_none(
    network: Network,
) -> None:
    negatives = HardNegatives([opinions(TILT, np.arange(1, WINDOWS), full=(39,), unknown=38)], hardest=2)
    assert len(negatives) == WINDOWS - 3
    assert tilts(negatives.draw(np.random.default_rng(0), 500)) == set(range(-19, 18))
    mined(negatives, network)
    drawn = negatives.draw(np.random.default_rng(0), 50)
    assert tilts(drawn) == {-19, -18, 16, 17}
    assert not drawn.targets.any()
    assert drawn.known.all()


def test_they_come_from_several_pools(network: Network) -> None:
    one, other = opinions(np.array([-3.0, 0.0]), np.arange(2)), opinions(np.array([0.0, 3.0]), np.arange(2))
    negatives = HardNegatives([one, other], hardest=1)
    assert mined(negatives, network) == [0, 3]
    drawn = negatives.draw(np.random.default_rng(1), 20)
    assert len(drawn.targets) == len(drawn.power) == 20
    assert tilts(drawn) == {-24, 24}


def test_only_some_are_heard_each_time_and_others_the_next(network: Network) -> None:
    negatives = HardNegatives([opinions(TILT, np.arange(WINDOWS))], heard=5)
    first, again, next_time = (mined(negatives, network, seed) for seed in (1, 1, 2))
    assert len(first) == 5
    assert first == again != next_time
