"""PCM -> log-mel: the part of the graph that hears, as ordinary convolutions that any runtime has.

    int16[B, S] ─ scale ─ window, DFT, |.|² ─ mel bands ─ power[B, frames, 64] ─ log ─ [B, 1, frames, 64]

The DFT is exact, not learned. It is split by radix 4 so that one grouped convolution costs a quarter
of the plain one: with N = 400, w the window and A_p[k] = sum over q of w·x[4q+p]·exp(-2πik(4q+p)/N),

    X[k + 100 m] = sum over p = 0..3 of (-i)^(p m) · A_p[k],    k = 0..50,  m = 0..3

(the first butterfly of Cooley and Tukey, 1965), and bins above 200 are the mirror of those below.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

RATE_HZ = 16_000
FRAME_SAMPLES, FRAME_HOP_SAMPLES = 400, 320
BANDS, LOW_HZ, HIGH_HZ = 64, 50.0, 8000.0
BINS = FRAME_SAMPLES // 2 + 1
SPAN = FRAME_SAMPLES // 8 + 1
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
    """Turn samples `float32[B, S]` in [-1, 1], S a multiple of 4, into `float32[B, frames, 64]`."""

    kernels: Tensor
    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", torch.from_numpy(_radix4_kernels()), persistent=False)
        self.register_buffer("bands", torch.from_numpy(_radix4_bands()), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the power of every band in every frame, linear."""
        phases = audio.reshape(audio.shape[0], -1, 4).transpose(1, 2)
        stride = FRAME_HOP_SAMPLES // 4
        parts = nn.functional.conv1d(phases, self.kernels, stride=stride, groups=4)
        power = _butterfly_power(parts)
        return nn.functional.conv1d(power, self.bands).transpose(1, 2)


def log_mel(power: Tensor) -> Tensor:
    """Turn power `float32[B, frames, bands]` into the network's input `float32[B, 1, frames, bands]`.

    The mean of the window is taken away, so a sound is the same at every distance until it sinks into
    `SILENCE_POWER`; digital silence becomes all zeros.
    """
    loudest = power.amax((1, 2), keepdim=True)
    level = torch.log(power + RANGE_POWER * loudest + SILENCE_POWER)
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


def _radix4_kernels() -> NDArray[np.float32]:
    """Return `float32[408, 1, 100]`: for each phase p, 51 real and 51 imaginary parts of A_p[k]."""
    window, rows = hann(), []
    for phase in range(4):
        samples = np.arange(phase, FRAME_SAMPLES, 4)
        angle = 2 * np.pi * np.outer(np.arange(SPAN), samples) / FRAME_SAMPLES
        rows += [np.cos(angle) * window[samples], -np.sin(angle) * window[samples]]
    return np.concatenate(rows)[:, None].astype(np.float32)


def _radix4_bands() -> NDArray[np.float32]:
    """Return `float32[64, 204, 1]`: the filter bank in the butterfly's order of bins.

    Bins 50, 100 and 150 come out twice; the second time they weigh nothing.
    """
    k, quarter = np.arange(SPAN), FRAME_SAMPLES // 4
    order = np.concatenate([k, quarter + k, 2 * quarter - k, quarter - k])
    first = np.zeros(order.size, dtype=bool)
    first[np.unique(order, return_index=True)[1]] = True
    weights = mel_filterbank()[order] * first[:, None]
    return np.asarray(weights.T[:, :, None], dtype=np.float32)


def _butterfly_power(parts: Tensor) -> Tensor:
    """Combine A_0..A_3, `[B, 4 · 102, frames]`, into power `[B, 204, frames]` for m = 0, 1, 2, 3."""
    a, b, c, d = torch.split(parts, 2 * SPAN, dim=1)
    even, odd = a + c, b + d
    v_re, v_im = torch.split(a - c, SPAN, dim=1)
    f_re, f_im = torch.split(b - d, SPAN, dim=1)
    return torch.cat(
        [
            _power(*torch.split(even + odd, SPAN, dim=1)),
            _power(v_re + f_im, v_im - f_re),
            _power(*torch.split(even - odd, SPAN, dim=1)),
            _power(v_re - f_im, v_im + f_re),
        ],
        dim=1,
    )


def _power(real: Tensor, imaginary: Tensor) -> Tensor:
    return real * real + imaginary * imaginary
