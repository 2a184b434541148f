"""What happens to a sound on its way changes it as it is said to, and never its length."""

import numpy as np
import pytest

from models.disturb import CODECS, Chances, band_limited, clipped, coded, disturb, equalised, in_room

RATE_HZ = 16_000


def noise(seed: int = 0) -> np.ndarray:
    """Return a second of noise."""
    return (np.random.default_rng(seed).standard_normal(RATE_HZ) * 0.1).astype(np.float32)


def test_nothing_happens_where_nothing_has_a_chance() -> None:
    never = Chances(room=0.0, equaliser=0.0, band=0.0, codec=0.0, clipping=0.0)
    assert np.array_equal(disturb(np.random.default_rng(0), noise(), never), noise())


def test_whatever_happens_the_length_stays_and_values_are_finite() -> None:
    always, rng = Chances(1.0, 1.0, 1.0, 1.0, 1.0), np.random.default_rng(1)
    for _ in range(10):
        sound = disturb(rng, noise(), always)
        assert sound.shape == (RATE_HZ,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()


def test_a_room_goes_on_after_the_sound_and_keeps_its_level() -> None:
    click = np.zeros(RATE_HZ, np.float32)
    click[1000] = 1.0
    wet = in_room(np.random.default_rng(2), click)
    assert np.abs(wet[1100:2000]).max() > 0
    assert not wet[:1000].any() or np.abs(wet[:1000]).max() < 1e-6
    assert np.sqrt(np.mean(wet**2)) == pytest.approx(np.sqrt(np.mean(click**2)), rel=1e-3)


def test_an_equaliser_stays_within_its_range() -> None:
    before, after = (
        np.abs(np.fft.rfft(s)) for s in (noise(), equalised(np.random.default_rng(3), noise(), 6.0))
    )
    change_db = 20 * np.log10(after[50:-50] / before[50:-50])
    assert np.abs(change_db).max() < 6.1
    assert np.ptp(change_db) > 1.0


def test_a_band_limit_takes_the_top_away() -> None:
    limited = np.abs(np.fft.rfft(band_limited(np.random.default_rng(4), noise()))) ** 2
    plain = np.abs(np.fft.rfft(noise())) ** 2
    assert limited[7800:].sum() < 0.5 * plain[7800:].sum()


def test_clipping_cuts_at_a_share_of_the_peak() -> None:
    cut = clipped(np.random.default_rng(5), noise())
    assert np.abs(cut).max() < 0.71 * np.abs(noise()).max()
    assert np.count_nonzero(np.abs(cut) == np.abs(cut).max()) > 1


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_back_something_like_what_it_was_given(codec: tuple[str, str]) -> None:
    tone = (0.3 * np.sin(2 * np.pi * 500 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
    rng = np.random.default_rng(CODECS.index(codec))
    spectrum = np.abs(np.fft.rfft(coded(rng, tone)))
    assert abs(int(spectrum.argmax()) - 500) <= 1
