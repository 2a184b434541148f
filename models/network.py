"""log-mel -> scores: a small convolutional network, and the whole model from PCM to probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.features import FULL_SCALE, MelPower, log_mel

Layer = tuple[int, int, tuple[int, int]]
"""Channels, kernel, and stride in (time, frequency) of one convolution."""

LAYERS: tuple[Layer, ...] = (
    (16, 5, (1, 2)),
    (24, 3, (2, 2)),
    (32, 3, (1, 1)),
    (64, 3, (2, 2)),
    (72, 3, (1, 1)),
    (104, 3, (2, 2)),
    (144, 1, (1, 1)),
)
DROPOUT = 0.2


class Network(nn.Module):
    """Turn log-mel `float32[B, 1, frames, 64]` into logits `float32[B, labels]`.

    Plain 3x3 convolutions: on a CPU they run, and train, faster than depthwise ones of equal accuracy.
    """

    def __init__(self, labels: int, layers: Sequence[Layer] = LAYERS) -> None:
        super().__init__()
        outputs = [channels for channels, _, _ in layers]
        inputs = [1, *outputs[:-1]]
        self.body = nn.Sequential(*(_layer(i, *layer) for i, layer in zip(inputs, layers, strict=True)))
        self.dropout = nn.Dropout(DROPOUT)
        # A 1x1 convolution, not nn.Linear: a matrix product may round differently for another batch.
        self.head = nn.Conv2d(2 * outputs[-1], labels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return one logit per label."""
        return self.decide(self.embed(features))

    def embed(self, features: Tensor) -> Tensor:
        """Return the mean and the loudest moment of the window, `float32[B, 2 · channels, 1, 1]`."""
        over_time = self.body(features).mean(3)
        # Reducing without kept dimensions, and giving them back at the end, is quicker in ONNX Runtime.
        pooled = torch.cat([over_time.mean(2), over_time.amax(2)], dim=1)[:, :, None, None]
        dropped: Tensor = self.dropout(pooled)
        return dropped

    def decide(self, embedding: Tensor) -> Tensor:
        """Turn what `embed` gives into one logit per label."""
        logits: Tensor = self.head(embedding)
        return logits.flatten(1)


class Model(nn.Module):
    """Turn PCM `int16[B, S]` into independent probabilities `float32[B, labels]`: what is exported."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.power = MelPower()
        self.network = network

    def forward(self, audio: Tensor) -> Tensor:
        """Return the probability of every label in every window."""
        return torch.sigmoid(self.logits(audio))

    def logits(self, audio: Tensor) -> Tensor:
        """Return the logits that `forward` turns into probabilities."""
        logits: Tensor = self.network(log_mel(self.power(audio.float()), FULL_SCALE))
        return logits


def _layer(inputs: int, outputs: int, kernel: int, stride: tuple[int, int]) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
