"""Generated sounds are what they are called, within the figures of the standards they follow."""

import numpy as np
import pytest

from models.backgrounds import BACKGROUNDS, _body, _seldom, _whistle, draw_background
from models.features import RATE_HZ
from models.generate import ALERTS, _rotor, _two_tones, draw_alert
from models.music import _pattern
from models.tones import at_peak, coloured, tone
from producers.sources.sounds import WAIL, siren


@pytest.mark.parametrize("label", ALERTS)
def test_an_alert_is_drawn_anew_each_time_and_the_same_from_the_same_seed(label: str) -> None:
    one, again, other = (draw_alert(np.random.default_rng(seed), label, 2.0) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("label", ALERTS)
def test_alerts_are_finite_at_full_scale_and_of_the_length_asked_for(label: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        sound = draw_alert(rng, label, 3.0)
        assert sound.shape == (48_000,)
        assert np.abs(sound).max() == pytest.approx(1.0)


def test_every_siren_has_most_of_its_power_below_6_khz_and_above_100_hz() -> None:
    rng = np.random.default_rng(4)
    hz = np.fft.rfftfreq(3 * RATE_HZ, 1 / RATE_HZ)
    for _ in range(30):
        power = np.abs(np.fft.rfft(draw_alert(rng, "siren", 3.0))) ** 2
        assert power[(hz > 100) & (hz < 6000)].sum() > 0.9 * power.sum()


def test_backgrounds_of_every_kind_are_finite() -> None:
    rng = np.random.default_rng(5)
    sounds = [draw_background(rng, 6.0) for _ in range(60)]
    assert all(np.isfinite(sound).all() and sound.shape == (6 * RATE_HZ,) for sound in sounds)
    peaks = np.array([np.abs(sound).max() for sound in sounds])
    assert np.isclose(peaks[peaks > 0], 1.0).all()
    assert np.count_nonzero(peaks == 0) < 5  # what beeps seldom may be silent for so long


def pitches_hz(sound: np.ndarray, seconds: float = 0.25) -> np.ndarray:
    """Return the loudest frequency of each piece of a sound."""
    pieces = sound[: sound.size // int(seconds * RATE_HZ) * int(seconds * RATE_HZ)].reshape(
        -1, int(seconds * RATE_HZ)
    )
    loudest = np.abs(np.fft.rfft(pieces * np.hanning(pieces.shape[1]), axis=1)).argmax(axis=1)
    return np.asarray(loudest / seconds)


def spread(sound: np.ndarray) -> float:
    """Return the share of frequencies, 20 Hz each, that hold nine tenths of a sound's power."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    power = np.add.reduceat(power, np.arange(0, power.size, 80))
    return float(np.mean(np.cumsum(np.sort(power)[::-1]) < 0.9 * power.sum()))


def steadiness(sound: np.ndarray) -> float:
    """Return how alike spectra a quarter of a second apart are, in bands of 40 Hz: their median cosine."""
    power = np.abs(np.fft.rfft(sound[: sound.size // 4000 * 4000].reshape(-1, 4000) * np.hanning(4000))) ** 2
    bands = power[:, :2000].reshape(len(power), -1, 10).sum(axis=2)
    bands /= np.linalg.norm(bands, axis=1, keepdims=True)
    return float(np.median((bands[1:] * bands[:-1]).sum(axis=1)))


def test_no_steady_tone_slides_as_a_siren_does() -> None:
    rng, checked = np.random.default_rng(7), 0
    for _ in range(40):
        sound = at_peak(BACKGROUNDS["steady tones"](rng, 4 * RATE_HZ))
        if spread(sound) < 0.1:  # a tone, not the noise that is left without one
            checked += 1
            assert steadiness(sound) > 0.8
    assert steadiness(siren(4.0, RATE_HZ, WAIL)) < 0.3
    assert checked > 15


def test_insects_do_not_sing_at_the_pitch_of_a_sounder() -> None:
    rng = np.random.default_rng(8)
    hz = np.fft.rfftfreq(4 * RATE_HZ, 1 / RATE_HZ)
    for _ in range(30):
        spectrum = np.abs(np.fft.rfft(BACKGROUNDS["insects"](rng, 4 * RATE_HZ)))
        assert hz[1200 * 4 + spectrum[1200 * 4 :].argmax()] > 3700.0


def test_what_beeps_seldom_beeps_for_less_than_an_alarms_pulse() -> None:
    rng, time_s = np.random.default_rng(15), np.arange(20 * RATE_HZ) / RATE_HZ
    for _ in range(30):
        gate = _seldom(rng, time_s)
        changes = np.flatnonzero(np.diff(gate, prepend=0.0, append=0.0))
        assert 0.015 < np.diff(changes)[::2].max() / RATE_HZ <= 0.121


def test_no_pattern_of_music_beeps_at_the_pitch_of_a_piezo() -> None:
    rng = np.random.default_rng(9)
    for _ in range(30):
        root, scale = rng.uniform(80.0, 240.0), rng.choice(12, 5, replace=False)
        sound = _pattern(rng, 4 * RATE_HZ, rng.uniform(0.08, 0.25), root, scale)
        assert np.median(pitches_hz(sound)) < 2000.0


def test_a_hum_is_of_the_mains_and_its_harmonics() -> None:
    rng = np.random.default_rng(10)
    for _ in range(20):
        loudest_hz = np.median(pitches_hz(BACKGROUNDS["hum"](rng, 4 * RATE_HZ), seconds=1.0))
        harmonics = [(loudest_hz / mains, round(loudest_hz / mains)) for mains in (50.0, 60.0)]
        # mains are up to 0.5 % off, and a second tells pitches 1 Hz apart
        assert min(abs(at - k) - 0.006 * k for at, k in harmonics) < 0.02


def test_what_is_struck_evenly_is_no_clock() -> None:
    rng, hz = np.random.default_rng(12), np.fft.rfftfreq(RATE_HZ, 1 / RATE_HZ)
    for _ in range(100):
        power = np.abs(np.fft.rfft(_body(rng, rng.uniform(50.0, 400.0), 1000.0), RATE_HZ)) ** 2
        assert power[hz > 2000.0].sum() < 0.3 * power.sum()


def test_an_engine_swings_about_nothing() -> None:
    rng = np.random.default_rng(13)
    for _ in range(20):
        sound = BACKGROUNDS["engine"](rng, 4 * RATE_HZ)
        assert abs(sound.mean()) < 0.2 * sound.std()


def test_whistles_do_not_fold_back_into_the_band() -> None:
    rising = _whistle(np.linspace(6000.0, 10_000.0, 1600))
    assert np.abs(rising[:400]).max() > 0.1
    assert not rising[800:].any()


@pytest.mark.parametrize("pitch_hz", [520, 3100, 3600])
def test_a_tone_has_power_at_its_harmonics_alone(pitch_hz: int) -> None:
    """What is bent and folds back would be in every generated alarm, and in no recorded one."""
    rng, harmonics = np.random.default_rng(14), np.arange(pitch_hz, 8000, pitch_hz)
    for _ in range(10):
        sound = tone(rng, np.full(RATE_HZ, float(pitch_hz)))
        power = np.abs(np.fft.rfft(sound)) ** 2
        assert power[harmonics].sum() > (1 - 1e-9) * power.sum()


def test_a_siren_of_two_tones_holds_two_pitches() -> None:
    rng, time_s = np.random.default_rng(20), np.arange(6 * RATE_HZ) / RATE_HZ
    for _ in range(20):
        pitch_hz = pitches_hz(_two_tones(rng, time_s, np.ones_like(time_s)), 0.05)
        often = np.sort(np.unique(np.round(pitch_hz / 20.0), return_counts=True)[1])[::-1]
        assert often.size > 1
        assert often[:2].sum() > 0.9 * pitch_hz.size
        changes = np.flatnonzero(np.abs(np.diff(np.log(pitch_hz))) > 0.08)
        assert np.diff(changes, prepend=0, append=pitch_hz.size).max() <= 1.1 / 0.05


def test_a_rotor_is_louder_the_faster_it_turns() -> None:
    rng, time_s, follows = np.random.default_rng(21), np.arange(30 * RATE_HZ) / RATE_HZ, []
    for _ in range(20):
        frames = _rotor(rng, time_s).reshape(-1, 800)
        level, speed = np.square(frames).mean(1), np.diff(np.signbit(frames), axis=1).mean(1)
        follows.append(np.corrcoef(level.argsort().argsort(), speed.argsort().argsort())[0, 1])
    assert np.median(follows) > 0.8


def test_a_glide_does_not_click_where_its_partials_go() -> None:
    rng = np.random.default_rng(16)
    for _ in range(10):
        sound = tone(rng, np.linspace(2400.0, 2700.0, RATE_HZ))
        frames = np.lib.stride_tricks.sliding_window_view(sound, 400)[::160] * np.hanning(400)
        power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
        hz = np.fft.rfftfreq(400, 1 / RATE_HZ)
        between = power[:, (hz > 3300.0) & (hz < 4500.0)].sum(axis=1) / power.sum(axis=1)
        assert 10 * np.log10(between.max()) < -70.0


def test_noise_falls_by_the_slope_asked_for() -> None:
    noise = coloured(np.random.default_rng(6), 64 * RATE_HZ, -6.0)
    hz, power = np.fft.rfftfreq(noise.size, 1 / RATE_HZ), np.abs(np.fft.rfft(noise)) ** 2
    low, high = (power[(hz > at) & (hz < 1.2 * at)].mean() for at in (500, 4000))
    assert 10 * np.log10(low / high) == pytest.approx(18.0, abs=0.5)


def test_silence_stays_silence_at_its_peak() -> None:
    assert not at_peak(np.zeros(10)).any()
