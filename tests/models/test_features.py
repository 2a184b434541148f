"""The front end is an exact DFT, and what it makes of silence is nothing."""

import numpy as np
import pytest
import torch

from models.features import BANDS, FRAME_HOP_SAMPLES, FULL_SCALE, MelPower, hann, log_mel, mel_filterbank


def reference(audio: np.ndarray) -> np.ndarray:
    """Return `float64[B, frames, 64]` by numpy's FFT."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 400, axis=1)[:, ::FRAME_HOP_SAMPLES]
    return np.asarray(np.abs(np.fft.rfft(frames * hann())) ** 2 @ mel_filterbank())


@pytest.mark.parametrize("samples", [400, 16_000, 48_000])
def test_mel_power_is_that_of_an_fft(samples: int) -> None:
    audio = np.random.default_rng(1).uniform(-1.0, 1.0, (3, samples))
    power = MelPower()(torch.from_numpy(audio).float()).numpy()
    assert power.shape == reference(audio).shape
    assert power == pytest.approx(reference(audio), rel=2e-5)


@pytest.mark.parametrize("hz", [440.0, 2040.0, 4000.0, 5980.0, 7960.0])
def test_a_tone_in_every_quarter_of_the_spectrum_lands_in_its_band(hz: float) -> None:
    tone = np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000)[None]
    power = MelPower()(torch.from_numpy(tone).float())[0].mean(dim=0).numpy()
    band = int(power.argmax())
    assert band == reference(tone)[0].mean(axis=0).argmax()
    assert power[max(0, band - 2) : band + 3].sum() > 0.99 * power.sum()


def test_every_band_weighs_its_bins_to_one() -> None:
    weights = mel_filterbank()
    assert weights.shape == (201, BANDS)
    assert weights.sum(axis=0) == pytest.approx(np.ones(BANDS))


def test_features_do_not_change_with_distance_well_above_the_noise_of_rounding() -> None:
    power = torch.rand(2, 49, BANDS, generator=torch.Generator().manual_seed(0)) + 0.1
    assert torch.allclose(log_mel(power), log_mel(power / 1000), atol=1e-3)


def test_digital_silence_has_features_of_zero() -> None:
    assert log_mel(MelPower()(torch.zeros(1, 16_000))).abs().max() < 1e-5


def test_half_the_bands_at_twice_the_hop_are_means_of_two_at_every_other_frame() -> None:
    audio = torch.rand(2, 16_000, generator=torch.Generator().manual_seed(0)) - 0.5
    fine, coarse = MelPower()(audio), MelPower(hop_samples=640, bands=32)(audio)
    assert coarse.shape == (2, 25, 32)
    pairs = fine[:, ::2].reshape(2, 25, 32, 2).mean(dim=3)
    assert torch.allclose(coarse, pairs, rtol=1e-5)
    halves = MelPower(hop_samples=640, bands=32, halves=True)(audio)
    assert float(((halves - pairs).abs() / pairs).max()) < 0.005


def test_features_are_the_same_of_pcm_that_was_not_divided_by_full_scale() -> None:
    power = torch.rand(2, 49, BANDS, generator=torch.Generator().manual_seed(0))
    quiet = torch.stack([power[0] * 1e-7, power[1]])
    assert torch.allclose(log_mel(quiet * FULL_SCALE**2, FULL_SCALE), log_mel(quiet), atol=1e-5)
