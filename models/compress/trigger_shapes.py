"""PCM -> log-mel -> logits, in a tenth of a millisecond: the shapes of network that a trigger may have.

It hears 25 of every 40 ms, in 32 bands, by the front end of the large models, whose constants it keeps as
float16 numbers. What fits into 100 KB and 0.1 ms a window was found by trying.
"""

import torch
from torch import Tensor, nn

from models.features import FULL_SCALE, MelPower, log_mel
from models.network import Layer, Network

HOP_SAMPLES, BANDS = 640, 32

SHAPES: dict[str, tuple[Layer, ...]] = {
    "small": ((16, 3, (2, 2)), (32, 3, (2, 2)), (48, 3, (2, 2)), (64, 1, (1, 1))),
    "medium": ((16, 5, (1, 2)), (16, 3, (2, 2)), (32, 3, (2, 2)), (48, 3, (1, 1))),
    "large": ((16, 5, (2, 2)), (32, 3, (2, 2)), (32, 3, (1, 1)), (48, 3, (2, 2)), (64, 1, (1, 1))),
}
"""22, 21 and 32 thousand parameters; `large` is under 100 KB with 8-bit weights only."""


class Trigger(nn.Module):
    """Turn PCM `int16[B, S]` into independent probabilities `float32[B, labels]`."""

    def __init__(self, layers: tuple[Layer, ...], labels: int = 1) -> None:
        super().__init__()
        self.power = MelPower(HOP_SAMPLES, BANDS, halves=True)
        self.network = Network(labels, layers)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the probability of every label in every window."""
        return torch.sigmoid(self.logits(audio))

    def logits(self, audio: Tensor) -> Tensor:
        """Return the logits that `forward` turns into probabilities."""
        logits: Tensor = self.network(self.features(audio))
        return logits

    def features(self, audio: Tensor) -> Tensor:
        """Return what the network sees, `float32[B, 1, frames, bands]`."""
        return log_mel(self.power(audio.float()), FULL_SCALE)
