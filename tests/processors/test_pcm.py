from io import BytesIO
from math import sqrt

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from processors.pcm import level, mono, resample, tally
from schemas.errors import InvalidFrameError, MalformedRecordError
from schemas.frame import AudioFrame, Encoding
from tests.processors.build import epoch
from tests.processors.logs import Pcm


def frame(encoding: Encoding, data: bytes, samples: int, channels: int = 1) -> AudioFrame:
    return AudioFrame(epoch(1), 0, samples, 0, 16_000, channels, encoding, data)


def flac(values: NDArray[np.int16], rate_hz: int = 16_000, container: str = "FLAC") -> bytes:
    out = BytesIO()
    soundfile.write(out, values, rate_hz, format=container, subtype="PCM_16")
    return out.getvalue()


def test_int16_is_taken_as_it_is() -> None:
    values = np.array([0, 1, -1, 32767, -32768], "<i2")
    heard = mono(frame(Encoding.PCM_S16LE, values.tobytes(), 5))
    assert (heard.dtype.name, heard.tolist()) == ("int16", values.tolist())


def test_channels_are_averaged_and_halves_go_to_the_even_neighbour() -> None:
    pairs = np.array([[1, 2], [3, 4], [-1, -2], [32767, 32767], [-32768, -32768], [100, -100]], "<i2")
    heard = mono(frame(Encoding.PCM_S16LE, pairs.tobytes(), 6, channels=2))
    assert heard.tolist() == [2, 4, -2, 32767, -32768, 0]  # 1.5, 3.5, -1.5, …


def test_three_channels_are_averaged() -> None:
    heard = mono(frame(Encoding.PCM_S16LE, np.array([[1, 1, 2], [10, 20, 31]], "<i2").tobytes(), 2, 3))
    assert heard.tolist() == [1, 20]  # 1.33, 20.33


@pytest.mark.parametrize(
    ("value", "sample"),
    [
        (0.0, 0),
        (0.5, 16384),
        (1.0, 32767),
        (-1.0, -32768),
        (2.0, 32767),
        (-7.0, -32768),
        (3e38, 32767),
        (-3e38, -32768),
        (1.5 / 32768, 2),
        (2.5 / 32768, 2),
        (-1.5 / 32768, -2),
        (0.49 / 32768, 0),
    ],
)
def test_floats_are_rounded_half_to_even_and_clipped(value: float, sample: int) -> None:
    assert mono(frame(Encoding.PCM_F32LE, np.array([value], "<f4").tobytes(), 1)).tolist() == [sample]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_float_that_is_not_finite_is_refused(value: float) -> None:
    data = np.array([0.0, value], "<f4").tobytes()
    with pytest.raises(InvalidFrameError, match="data is 'a float that is not finite'; accepted: finite"):
        mono(frame(Encoding.PCM_F32LE, data, 2))


@pytest.mark.parametrize("channels", [1, 2])
def test_flac_gives_the_samples_that_went_in(channels: int) -> None:
    values = np.random.default_rng(1).integers(-32768, 32767, (500, channels)).astype(np.int16)
    heard = mono(frame(Encoding.FLAC, flac(values), 500, channels))
    assert heard.tolist() == mono(frame(Encoding.PCM_S16LE, values.tobytes(), 500, channels)).tolist()


SILENCE = np.zeros(1000, np.int16)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (flac(SILENCE[:999]), "FLAC, 999 samples of 1 channels at 16000 Hz"),
        (flac(SILENCE, rate_hz=8_000), "FLAC, 1000 samples of 1 channels at 8000 Hz"),
        (flac(SILENCE.reshape(-1, 2)), "FLAC, 500 samples of 2 channels at 16000 Hz"),
    ],
    ids=["samples", "rate", "channels"],
)
def test_a_stream_that_is_not_what_the_frame_claims_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(InvalidFrameError) as refused:
        mono(frame(Encoding.FLAC, data, 1000))
    assert str(refused.value) == (
        f"data is '{found}'; accepted: FLAC, 1000 samples of 1 channels at 16000 Hz"
    )


@pytest.mark.parametrize(
    "data", [b"x", b"fLaC", bytes(1000), flac(SILENCE)[:20], flac(SILENCE, container="WAV")]
)
def test_data_that_are_no_flac_stream_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRecordError, match="data are not a FLAC stream"):
        mono(frame(Encoding.FLAC, data, 1000))


def test_a_flac_stream_that_breaks_off_is_refused() -> None:
    noise = np.random.default_rng(1).integers(-32768, 32767, 20_000).astype(np.int16)
    whole = flac(noise)
    with pytest.raises((InvalidFrameError, MalformedRecordError)):
        mono(frame(Encoding.FLAC, whole[: len(whole) // 2], 20_000))


def test_a_window_of_the_models_rate_is_not_touched() -> None:
    pcm = np.arange(8, dtype=np.int16)
    assert resample(pcm, 1000, 1000, 8) is not None
    assert resample(pcm, 1000, 1000, 8).tolist() == pcm.tolist()


def test_resampling_is_cropped_or_padded_to_the_models_length_and_repeats_itself() -> None:
    pcm = np.random.default_rng(1).integers(-9000, 9000, 441).astype(np.int16)
    once, again = resample(pcm, 44_100, 16_000, 160), resample(pcm, 44_100, 16_000, 160)
    assert once.tolist() == again.tolist()
    assert len(resample(pcm, 44_100, 16_000, 150)) == 150
    padded = resample(pcm, 44_100, 16_000, 170)
    assert padded[:160].tolist() == once.tolist()
    assert padded[161:].tolist() == [0] * 9


def test_resampling_a_full_scale_square_wave_does_not_wrap_round() -> None:
    square = np.where(np.arange(480) // 24 % 2, 32767, -32768).astype(np.int16)
    heard = resample(square, 48_000, 16_000, 160)
    assert heard[:8].max() < 0 < heard[9:15].min()  # a wrapped overshoot would change its sign


def sine(amplitude: float, samples: int = 16_000) -> Pcm:
    return np.rint(amplitude * np.sin(2 * np.pi * 100 * np.arange(samples) / 16_000)).astype(np.int16)


def test_a_full_scale_sine_is_3_01_db_below_full_scale() -> None:
    heard = level(tally(sine(32767)))
    assert heard is not None
    assert heard.rms_dbfs == pytest.approx(-3.0103, abs=2e-3)
    assert heard.peak_dbfs == pytest.approx(0, abs=1e-3)
    assert heard.dc_fraction == pytest.approx(0, abs=1e-6)


def test_a_tenth_is_20_db_less() -> None:
    heard = level(tally(sine(3276.7)))
    assert heard is not None
    assert heard.rms_dbfs == pytest.approx(-23.0103, abs=2e-3)
    assert heard.peak_dbfs == pytest.approx(-20, abs=2e-3)


def test_digital_silence_has_no_decibels() -> None:
    heard = level(tally(np.zeros(100, np.int16)))
    assert heard is not None
    assert (heard.rms_dbfs, heard.peak_dbfs, heard.zero_fraction, heard.dc_fraction) == (None, None, 1.0, 0.0)


def test_where_nothing_arrived_there_is_no_level() -> None:
    assert level(tally(np.zeros(100, np.int16), missing=100)) is None
    assert level(tally(np.zeros(0, np.int16))) is None


def test_samples_at_either_end_of_the_scale_are_clipped() -> None:
    heard = level(tally(np.array([32767, -32768, 32766, -32767, 0, 1, 2, 3], np.int16)))
    assert heard is not None
    assert (heard.clipped_fraction, heard.zero_fraction) == (2 / 8, 1 / 8)
    assert heard.peak_dbfs == 0.0


def test_a_constant_is_all_dc() -> None:
    heard = level(tally(np.full(10, -16384, np.int16)))
    assert heard is not None
    assert heard.dc_fraction == -0.5
    assert heard.rms_dbfs == pytest.approx(-6.0206, abs=1e-4)
    assert heard.peak_dbfs == pytest.approx(-6.0206, abs=1e-4)


def test_what_was_filled_in_does_not_count() -> None:
    tallied = tally(np.array([0, 100, 0, 0], np.int16), missing=2)
    assert (tallied.samples, tallied.zeros) == (2, 1)
    heard = level(tallied)
    assert heard is not None
    assert heard.rms_dbfs == pytest.approx(20 * np.log10(100 / sqrt(2) / 32768))


def test_tallies_of_neighbouring_stretches_add_up() -> None:
    pcm = np.random.default_rng(1).integers(-32768, 32768, 999).astype(np.int16)
    assert tally(pcm[:400]) + tally(pcm[400:]) == tally(pcm)


def test_a_million_full_scale_samples_are_counted_exactly() -> None:
    tallied = tally(np.full(1 << 20, -32768, np.int16))
    assert tallied.square_total == (1 << 20) * (1 << 30)
    assert tallied.total == -(1 << 20) * (1 << 15)
    assert tallied.peak == 32768
