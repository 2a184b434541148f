"""PCM -> log-mel: the part of the graph that hears, as ordinary convolutions that any runtime has.

    int16[B, S] ─ scale ─ window, DFT, |.|² ─ mel bands ─ power[B, frames, 64] ─ log ─ [B, 1, frames, 64]

The DFT is exact, not learned. It is split by a radix R = 16, so that two small convolutions cost far less
than the plain one. With N = 400, Q = N / R, w the window and

    A_p[k] = sum over q of w·x[Rq + p]·exp(-2πik(Rq + p)/N)
    X[k + Q m] = sum over p < R of exp(-2πipm/R) · A_p[k],    k = 0..Q/2,  m = 0..R-1

(the first butterfly of Cooley and Tukey, 1965): one grouped convolution gives every A_p, and the sum is one
more with a kernel of [2R, 2R], the same for every k and every frame. A radix near the root of N has the
fewest weights: 46 KB instead of 163 KB for R = 4.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

RATE_HZ = 16_000
FRAME_SAMPLES, FRAME_HOP_SAMPLES = 400, 320
BANDS, LOW_HZ, HIGH_HZ = 64, 50.0, 8000.0
BINS = FRAME_SAMPLES // 2 + 1
RADIX = 16
SPAN = FRAME_SAMPLES // RADIX // 2 + 1
"""Bins that one output of the butterfly covers, both ends included."""

FULL_SCALE = 32768.0
SILENCE_POWER = 4.7e-8
"""Power in a DFT bin of white noise at -95 dBFS (10^-9.5 · sum of w²): what is quieter is silence.
The rounding of 16-bit samples makes -101 dBFS."""
RANGE_POWER = 1e-7
"""Floor against the loudest value of a window: 70 dB of range."""
LOG_SPREAD = 3.0
"""About the standard deviation of log power within a window, so that the network sees about 1."""


class MelPower(nn.Module):
    """Turn samples `float32[B, S]`, S a multiple of 16, into power `float32[B, frames, bands]`.

    `bands` divides 64: neighbours of the 64 are averaged. With `halves` the constants are float16 numbers, so
    that they can be stored as that; it puts errors some 77 dB below a loud tone.
    """

    kernels: Tensor
    butterfly: Tensor
    mel: Tensor

    def __init__(
        self, hop_samples: int = FRAME_HOP_SAMPLES, bands: int = BANDS, halves: bool = False
    ) -> None:
        super().__init__()
        self._stride = hop_samples // RADIX
        for name, made in (("kernels", _kernels()), ("butterfly", _butterfly()), ("mel", _mel(bands))):
            kept = made.astype(np.float16 if halves else np.float32)
            self.register_buffer(name, torch.from_numpy(kept).float(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the power of every band in every frame, linear."""
        phases = audio.reshape(audio.shape[0], -1, RADIX).transpose(1, 2)
        parts = nn.functional.conv1d(phases, self.kernels, stride=self._stride, groups=RADIX)
        frames = parts.shape[2]
        joined = parts.reshape(-1, 2 * RADIX, SPAN * frames)
        bins = nn.functional.conv1d(joined, self.butterfly).reshape(-1, 2 * RADIX * SPAN, frames)
        real, imaginary = torch.split(bins * bins, RADIX * SPAN, dim=1)
        return nn.functional.conv1d(real + imaginary, self.mel).transpose(1, 2)


def log_mel(power: Tensor, full_scale: float = 1.0) -> Tensor:
    """Turn power `float32[B, frames, bands]` into the network's input `float32[B, 1, frames, bands]`.

    `full_scale` is what the samples' largest value was: 1, or `FULL_SCALE` of PCM that was not divided.

    The mean of the window is taken away, so a sound is the same at every distance until it sinks into
    `SILENCE_POWER`; digital silence becomes all zeros.
    """
    loudest = power.amax((1, 2), keepdim=True)
    level = torch.log(power + RANGE_POWER * loudest + SILENCE_POWER * full_scale**2)
    return ((level - level.mean((1, 2), keepdim=True)) / LOG_SPREAD).unsqueeze(1)


def mel_filterbank() -> NDArray[np.float64]:
    """Return the weights of the DFT bins in each band, `float64[201, 64]`, each column summing to 1.

    Triangles on the scale of Slaney's Auditory Toolbox (1998): linear to 1 kHz, then 27 bands for every
    factor of 6.4.
    """
    lowest, highest = _hz_to_mel(np.array([LOW_HZ, HIGH_HZ])).tolist()
    corners_hz = _mel_to_hz(np.linspace(lowest, highest, BANDS + 2))
    bins_hz = np.arange(BINS)[:, None] * RATE_HZ / FRAME_SAMPLES
    low, middle, high = corners_hz[:-2], corners_hz[1:-1], corners_hz[2:]
    rising, falling = (bins_hz - low) / (middle - low), (high - bins_hz) / (high - middle)
    weights = np.clip(np.minimum(rising, falling), 0.0, None)
    return np.asarray(weights / np.maximum(weights.sum(axis=0), 1e-9))


def hann() -> NDArray[np.float64]:
    """Return the periodic Hann window, `float64[400]`."""
    return np.asarray(np.hanning(FRAME_SAMPLES + 1)[:-1])


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = 15 + 27 * np.log(np.maximum(hz, 1.0) / 1000) / np.log(6.4)
    return np.where(hz < 1000, hz * 3 / 200, above)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def _kernels() -> NDArray[np.float64]:
    """Return `float64[R · 2 · span, 1, N / R]`: for each phase the real, then the imaginary parts."""
    window, rows = hann(), []
    for phase in range(RADIX):
        samples = np.arange(phase, FRAME_SAMPLES, RADIX)
        angle = 2 * np.pi * np.outer(np.arange(SPAN), samples) / FRAME_SAMPLES
        rows += [np.cos(angle) * window[samples], -np.sin(angle) * window[samples]]
    return np.concatenate(rows)[:, None]


def _butterfly() -> NDArray[np.float64]:
    """Return `float64[2R, 2R, 1]`: rows (part, m) of the sums, columns (p, part) of the phases."""
    angle = 2 * np.pi * np.outer(np.arange(RADIX), np.arange(RADIX)) / RADIX
    real = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    imaginary = np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
    return np.stack([real, imaginary]).reshape(2 * RADIX, 2 * RADIX, 1)


def _mel(bands: int) -> NDArray[np.float64]:
    """Return `float64[bands, R · span, 1]`: the filter bank in the butterfly's order of bins.

    Some bins come out twice; the second time they weigh nothing.
    """
    bins = (np.arange(SPAN) + FRAME_SAMPLES // RADIX * np.arange(RADIX)[:, None]).ravel() % FRAME_SAMPLES
    bins = np.minimum(bins, FRAME_SAMPLES - bins)
    first = np.zeros(bins.size, dtype=bool)
    first[np.unique(bins, return_index=True)[1]] = True
    weights = mel_filterbank().reshape(BINS, bands, -1).mean(axis=2)
    return np.asarray((weights[bins] * first[:, None]).T[:, :, None])
