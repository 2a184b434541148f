"""windows of mel power -> harder windows: echo, colour, company, background, distance, and holes.

Every function takes and gives power `float32[B, frames, bands]`, and draws from the generator that it is
given. The last step, `punch_holes`, works on the network's input instead (SpecAugment, Park et al. 2019).
"""

import torch
from torch import Generator, Tensor

from models.bank import Batch

QUIETEST_DBFS, LOUDEST_DBFS = -60.0, -6.0
NEARLY_NOTHING_DBFS = -110.0
FULL_SCALE_POWER = 150.0
"""Power in a DFT bin of white noise at 0 dBFS: the sum of the squared Hann window."""
WIDEST_BAND_HOLE, LONGEST_TIME_HOLE = 8, 6


def augment(batch: Batch, backgrounds: Tensor, generator: Generator) -> Batch:
    """Do everything that is done to power, in the order in which it happens to a sound in the world."""
    power = colour(_echo(_level(batch.power), generator), generator)
    power, targets = _mix_pairs(power, batch.targets, generator)
    power = _lay_over(power, backgrounds, batch.alerts, generator)
    return Batch(_distance(power, targets, generator), targets, batch.alerts)


def punch_holes(features: Tensor, generator: Generator) -> Tensor:
    """Blank two runs of bands and two of frames in each of `float32[B, 1, frames, bands]`."""
    for axis, longest in ((3, WIDEST_BAND_HOLE), (2, LONGEST_TIME_HOLE)):
        for _ in range(2):
            features = _hole(features, axis, longest, generator)
    return features


def _level(power: Tensor) -> Tensor:
    """Bring every window's mean power to 1."""
    return power / (power.mean((1, 2), keepdim=True) + 1e-20)


def _uniform(generator: Generator, size: int, low: float, high: float) -> Tensor:
    """Return one value a window, `float32[B, 1, 1]`."""
    return low + (high - low) * torch.rand(size, 1, 1, generator=generator)


def _chance(generator: Generator, size: int, probability: float) -> Tensor:
    return torch.rand(size, 1, 1, generator=generator) < probability


def _gain(decibels: Tensor) -> Tensor:
    return 10 ** (decibels / 10)


def _echo(power: Tensor, generator: Generator) -> Tensor:
    """Add an exponential tail to 30 % of the windows: 0.1 to 1 s to fall by 30 dB, 0 to -12 dB."""
    size, frames = power.shape[:2]
    decay_s = _uniform(generator, size, 0.1, 1.0) / 6.9
    later = torch.arange(frames)[:, None] - torch.arange(frames)[None, :]
    tail = torch.exp(-later.clamp(min=0) * 0.02 / decay_s) * (later > 0)
    tail = tail / (decay_s / 0.02) * _gain(_uniform(generator, size, -12.0, 0.0))
    return power + torch.bmm(tail * _chance(generator, size, 0.3), power)


def colour(power: Tensor, generator: Generator, most_db: float = 4.0) -> Tensor:
    """Filter 80 % of the windows by a smooth random curve of at most `most_db` either way."""
    size, _, bands = power.shape
    knots = most_db * (2.0 * torch.rand(size, 1, 6, generator=generator) - 1.0)
    curve = torch.nn.functional.interpolate(knots, bands, mode="linear", align_corners=True)
    return power * _gain(curve * _chance(generator, size, 0.8))


def _mix_pairs(power: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Add another window of the batch, up to 10 dB louder or softer, to half of them: both count."""
    size = power.shape[0]
    partner = torch.randperm(size, generator=generator)
    mixed = _chance(generator, size, 0.5)
    share = _gain(_uniform(generator, size, -10.0, 10.0)) * mixed
    both = torch.maximum(targets, targets[partner] * mixed[:, :, 0])
    return _level(power) + share * _level(power[partner]), both


def _lay_over(power: Tensor, backgrounds: Tensor, alerts: Tensor, generator: Generator) -> Tensor:
    """Put a background under half of the windows: 5 to 30 dB of SNR, alerts from -8 dB."""
    size = power.shape[0]
    lowest_db = torch.where(alerts, -8.0, 5.0)[:, None, None]
    snr_db = lowest_db + (30.0 - lowest_db) * _uniform(generator, size, 0.0, 1.0)
    under = _level(backgrounds) * _gain(-snr_db) * _chance(generator, size, 0.5)
    return _level(power) + under


def _distance(power: Tensor, targets: Tensor, generator: Generator) -> Tensor:
    """Give every window a level: a sound -60 to -6 dBFS, a background anything down to nothing."""
    size = power.shape[0]
    sound = targets.amax(1)[:, None, None] > 0
    lowest = torch.where(sound, QUIETEST_DBFS, NEARLY_NOTHING_DBFS)
    level = lowest + (LOUDEST_DBFS - lowest) * _uniform(generator, size, 0.0, 1.0)
    return _level(power) * _gain(level) * FULL_SCALE_POWER


def _hole(features: Tensor, axis: int, longest: int, generator: Generator) -> Tensor:
    size, length = features.shape[0], features.shape[axis]
    width = torch.randint(0, longest + 1, (size, 1), generator=generator)
    start = (torch.rand(size, 1, generator=generator) * (length - width)).long()
    place = torch.arange(length)[None]
    inside = (place >= start) & (place < start + width)
    return features.masked_fill(inside[:, None, None, :] if axis == 3 else inside[:, None, :, None], 0)
