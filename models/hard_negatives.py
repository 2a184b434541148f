"""A network's own mistakes -> windows to learn from: those without a sound of ours that it takes for one.

Most of what is heard is easily told to be nothing, so windows that are drawn evenly soon teach nothing more,
and what is left are the false alarms. Every so many steps the network hears some of all empty windows, and
the ones with the highest score of each label are learnt again (A. Shrivastava et al., "Training region-based
object detectors with online hard example mining", CVPR 2016, which chooses within a batch).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.features import log_mel
from models.network import Network
from models.opinions import Opinions, Taught

HEARD = 8000
"""Empty windows that are heard at a time."""
HARDEST = 100
"""Of each label so many are kept."""
AT_ONCE = 500


class HardNegatives:
    """The empty windows of some pools, and which of them are hard at present: `places int64[H]`."""

    def __init__(self, sources: Sequence[Opinions], heard: int = HEARD, hardest: int = HARDEST) -> None:
        self._sources, self._heard, self._hardest = tuple(sources), heard, hardest
        empty = [_empty(source) for source in sources]
        self._source = np.repeat(np.arange(len(empty)), [rows.size for rows in empty])
        self._row = np.concatenate([np.zeros(0, np.int64), *empty])
        self.places = np.arange(self._row.size)

    def __len__(self) -> int:
        """Return how many empty windows there are."""
        return int(self._row.size)

    def mine(self, network: Network, rng: np.random.Generator, device: torch.device, bfloat16: bool) -> None:
        """Hear a share of the empty windows, and keep those with the highest scores of each label."""
        heard = np.sort(rng.permutation(len(self))[: self._heard])
        parts = np.array_split(heard, -(-heard.size // AT_ONCE))
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            said = [network(log_mel(self._power(part)).to(device)).float().cpu() for part in parts]
        logits = torch.cat(said).numpy()
        hardest = np.argsort(-logits, axis=0, kind="stable")[: self._hardest]
        self.places = heard[np.unique(hardest)]

    def draw(self, rng: np.random.Generator, size: int) -> Taught:
        """Draw of the hard ones."""
        drawn = np.sort(rng.choice(self.places, size))
        return together([source.at(rows) for source, rows in self._at(drawn)])

    def _power(self, places: NDArray[np.int64]) -> Tensor:
        return torch.cat([source.pool.power_of(rows) for source, rows in self._at(places)])

    def _at(self, places: NDArray[np.int64]) -> Iterator[tuple[Opinions, NDArray[np.int64]]]:
        """Yield the pools in which windows are, and their rows there."""
        for number, source in enumerate(self._sources):
            rows = self._row[places[self._source[places] == number]]
            if rows.size:
                yield source, rows


def together(parts: Sequence[Taught]) -> Taught:
    """Put batches together."""
    opinions = [part.opinion for part in parts if part.opinion is not None]
    return Taught(
        power=torch.cat([part.power for part in parts]),
        targets=torch.cat([part.targets for part in parts]),
        known=torch.cat([part.known for part in parts]),
        opinion=torch.cat(opinions) if len(opinions) == len(parts) else None,
        scores=torch.cat([part.scores for part in parts]),
        embedding=torch.cat([part.embedding for part in parts]),
    )


def _empty(source: Opinions) -> NDArray[np.int64]:
    """Return the windows of which it is known that nothing of ours is in them."""
    usable, pool = source.usable, source.pool
    return np.asarray(usable[pool.known[usable] & ~pool.targets[usable].any(axis=1)])
