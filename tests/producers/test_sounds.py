"""Generated sounds: the asked pitch, times and ratio, and the same samples for the same seed."""

import numpy as np
import pytest

from producers.sources import sounds
from producers.sources.sounds import LOW_FREQUENCY, PIEZO, WAIL, YELP, Background, Samples, Tone

RATE_HZ = 16_000


def peak_hz(sound: Samples) -> float:
    """Return the frequency of the strongest bin."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(sound.size)))
    return float(spectrum.argmax() * RATE_HZ / sound.size)


def crossing_rate_hz(sound: Samples) -> float:
    """Return the frequency that the count of rising zero crossings suggests."""
    rising = np.count_nonzero((sound[:-1] < 0) & (sound[1:] >= 0))
    return rising * RATE_HZ / sound.size


@pytest.mark.parametrize("tone", [PIEZO, LOW_FREQUENCY, Tone(2850.0), Tone(3400.0, (1.0, 0.5))])
def test_a_smoke_alarm_peaks_at_the_asked_frequency(tone: Tone) -> None:
    assert peak_hz(sounds.smoke_alarm(0.5, RATE_HZ, tone)) == pytest.approx(tone.frequency_hz, abs=2.0)


def test_a_smoke_alarm_sounds_three_times_half_a_second_and_then_pauses_for_one_and_a_half() -> None:
    alarm = sounds.smoke_alarm(8.0, RATE_HZ)
    blocks = np.sqrt(np.mean(alarm.reshape(-1, RATE_HZ // 10) ** 2, axis=1)) > 0.1
    on, off = [True] * 5, [False] * 5
    pattern = (on + off) * 3 + off * 2
    assert blocks.tolist() == pattern * 2


def test_a_smoke_alarm_is_digitally_silent_between_its_pulses() -> None:
    alarm = sounds.smoke_alarm(4.0, RATE_HZ)
    assert not alarm[RATE_HZ // 2 + 1 : RATE_HZ].any()
    assert not alarm[5 * RATE_HZ // 2 + 1 :].any()


def test_a_smoke_alarm_may_begin_anywhere_in_its_pattern() -> None:
    late = sounds.smoke_alarm(1.5, RATE_HZ, start_s=2.5)
    assert np.abs(late).max() < 1e-9


def test_the_low_frequency_alarm_has_odd_harmonics_only() -> None:
    spectrum = np.abs(np.fft.rfft(sounds.smoke_alarm(0.5, RATE_HZ, LOW_FREQUENCY)))
    level = {k: spectrum[k * 520 // 2] for k in (1, 2, 3)}
    assert level[3] == pytest.approx(level[1] / 3, rel=0.02)
    assert level[2] < level[1] / 100


def test_a_wail_climbs_for_half_its_period_and_falls_for_the_other_half() -> None:
    wail = sounds.siren(WAIL.period_s, RATE_HZ, sounds.Sweep(600.0, 1350.0, WAIL.period_s, (1.0,)))
    heard = [crossing_rate_hz(part) for part in np.split(wail, 16)]
    expected = [600 * 2.25 ** (1 - abs(2 * (k + 0.5) / 16 - 1)) for k in range(16)]
    assert heard == pytest.approx(expected, rel=0.02)


def test_a_yelp_comes_round_every_period() -> None:
    yelp = sounds.siren(3.0, RATE_HZ, YELP)
    envelope = np.array([crossing_rate_hz(part) for part in np.split(yelp, 100)])
    period = np.abs(np.fft.rfft(envelope - envelope.mean())).argmax()
    assert period == 3.0 / YELP.period_s


def test_a_sweep_stays_within_its_range() -> None:
    wail = sounds.siren(4.0, RATE_HZ, sounds.Sweep(600.0, 1350.0, 4.0, (1.0,)))
    power = np.abs(np.fft.rfft(wail * np.hanning(wail.size))) ** 2
    hz = np.arange(power.size) / 4.0
    assert power[(hz > 580) & (hz < 1400)].sum() > 0.999 * power.sum()


def test_partials_at_or_above_half_the_rate_are_left_out_not_folded_back() -> None:
    sound = sounds.smoke_alarm(0.5, RATE_HZ, Tone(3100.0, (1.0, 0.0, 1.0)))
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(sound.size)))
    assert spectrum[(RATE_HZ - 9300) // 2] < spectrum.max() / 1000


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_mixing_gives_the_asked_ratio_counted_where_the_signal_sounds(snr_db: float) -> None:
    alarm = sounds.smoke_alarm(4.0, RATE_HZ)
    background = sounds.ambience(np.random.default_rng(1), 4.0, RATE_HZ)
    rest = sounds.mix(alarm, background, snr_db) - background
    sounding = np.concatenate([rest[k * RATE_HZ : k * RATE_HZ + RATE_HZ // 2] for k in range(3)])
    snr = np.mean(sounding**2) / np.mean(background**2)
    assert 10 * np.log10(snr) == pytest.approx(snr_db, abs=0.1)


def test_a_mix_that_would_clip_is_lowered_as_a_whole() -> None:
    alarm, loud = sounds.smoke_alarm(1.0, RATE_HZ), np.full(RATE_HZ, 0.5)
    mixed = sounds.mix(alarm, loud, 20.0)
    assert np.abs(mixed).max() == pytest.approx(1.0)


def test_mixing_with_silence_is_refused() -> None:
    with pytest.raises(ValueError, match="silent"):
        sounds.mix(np.zeros(100), np.ones(100), 0.0)


def test_mixing_unequal_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="100 samples, background 99"):
        sounds.mix(np.ones(100), np.ones(99), 0.0)


def test_ambience_has_the_asked_level_and_stays_within_full_scale() -> None:
    sound = sounds.ambience(np.random.default_rng(2), 10.0, RATE_HZ, Background(level_dbfs=-20.0))
    assert 10 * np.log10(np.mean(sound**2)) == pytest.approx(-20.0, abs=0.1)
    assert np.abs(sound).max() <= 1.0


def test_ambience_falls_with_frequency_by_the_asked_slope() -> None:
    flat = Background(slope_db_per_octave=-6.0, swell_db=0.0, hum_db=-200.0)
    power = np.abs(np.fft.rfft(sounds.ambience(np.random.default_rng(3), 10.0, RATE_HZ, flat))) ** 2
    octave = [power[f * 10 : f * 20].mean() for f in (500, 1000, 2000)]
    assert 10 * np.diff(np.log10(octave)) == pytest.approx([-6.0, -6.0], abs=0.5)


def test_hum_stands_at_its_frequency() -> None:
    hum = Background(hum_hz=60.0, hum_db=10.0)
    assert peak_hz(sounds.ambience(np.random.default_rng(4), 10.0, RATE_HZ, hum)) == pytest.approx(
        60.0, abs=0.2
    )


def test_the_same_seed_gives_the_same_samples_and_another_seed_others() -> None:
    draws = [sounds.draw_alert(np.random.default_rng(seed), 2.0, RATE_HZ) for seed in (7, 7, 8)]
    assert draws[0][1] == draws[1][1]
    assert np.array_equal(draws[0][0], draws[1][0])
    assert not np.array_equal(draws[0][0], draws[2][0])
    one, two = (sounds.ambience(np.random.default_rng(7), 2.0, RATE_HZ) for _ in range(2))
    assert np.array_equal(one, two)


def test_every_draw_is_mono_within_full_scale_and_as_long_as_asked() -> None:
    rng = np.random.default_rng(9)
    for _ in range(50):
        sound, label = sounds.draw_alert(rng, 1.0, RATE_HZ)
        assert label in {"smoke_alarm", "siren"}
        assert sound.shape == (RATE_HZ,)
        assert np.abs(sound).max() <= 1.0
