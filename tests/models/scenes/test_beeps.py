"""What beeps is no alarm by the marks of the standards."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.scenes import beeps, smoke_alarms
from models.scenes.beeps import BEEPERS
from tests.models.scenes.heard import RATE_HZ, SEEDS, power

ALARM_BANDS_HZ = ((2300.0, 3700.0), (468.0, 572.0))


def is_temporal_three(beeps_s: NDArray[np.float64]) -> bool:
    """Tell whether three beeps anywhere have the times of ISO 8201, 10 % either way, and a pause after."""
    on_s, off_s = beeps_s[:, 1] - beeps_s[:, 0], beeps_s[1:, 0] - beeps_s[:-1, 1]
    on, off, pause = np.abs(on_s - 0.5) <= 0.05, np.abs(off_s - 0.5) <= 0.05, np.abs(off_s - 1.5) <= 0.15
    return any(
        on[i : i + 3].all() and off[i : i + 2].all() and pause[i + 2] for i in range(max(0, off_s.size - 2))
    )


def test_the_marks_of_temporal_three_are_known_when_heard() -> None:
    for seed in SEEDS:
        assert is_temporal_three(smoke_alarms._temporal_three_beeps(np.random.default_rng(seed)))


@pytest.mark.parametrize("name", BEEPERS)
def test_no_beeper_has_the_rhythm_of_a_smoke_alarm(name: str) -> None:
    for seed in range(30):
        beeps_s = beeps._beeps_s(np.random.default_rng(seed), BEEPERS[name], 120.0)
        assert not is_temporal_three(beeps_s)
        assert (beeps_s[1:, 0] > beeps_s[:-1, 1]).all()


@pytest.mark.parametrize("name", [*BEEPERS, "telephone", "chime"])
def test_no_beeper_has_the_pitch_of_a_smoke_alarm(name: str) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        if name in BEEPERS:
            sound = beeps._beeping(rng, BEEPERS[name], 5 * RATE_HZ, RATE_HZ)
        else:
            sound = {"telephone": beeps._telephone, "chime": beeps._chime}[name](rng, 5 * RATE_HZ, RATE_HZ)
        hz, energy = power(sound)
        strongest_hz = hz[energy.argmax()]
        assert not any(low <= strongest_hz <= high for low, high in ALARM_BANDS_HZ)
        for low, high in ALARM_BANDS_HZ:
            assert energy[(hz > low) & (hz < high)].sum() < 0.25 * energy.sum()


@pytest.mark.parametrize("name", BEEPERS)
def test_beeps_do_not_glide(name: str) -> None:
    sound = beeps._beeping(np.random.default_rng(2), BEEPERS[name], 5 * RATE_HZ, RATE_HZ)
    hz, energy = power(sound)
    strongest_hz = hz[energy.argmax()]
    near = np.abs(hz - strongest_hz) < 60
    below = (hz > 0.6 * strongest_hz) & (hz < 1.4 * strongest_hz)
    assert energy[near].sum() > 0.95 * energy[below].sum()


def test_a_telephone_changes_its_pitch_faster_than_any_siren() -> None:
    for seed in SEEDS:
        sound = beeps._telephone(np.random.default_rng(seed), 5 * RATE_HZ, RATE_HZ)
        levels = np.abs(sound.reshape(-1, 160)).max(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], levels > 0.7 * levels.max(), [0]])))
        longest = int(np.argmax(edges[1::2] - edges[::2]))
        ring = sound[160 * edges[2 * longest] : 160 * edges[2 * longest + 1]]
        crossings = np.convolve(np.diff(np.sign(ring)) != 0, np.ones(160), mode="valid")
        spectrum = np.abs(np.fft.rfft((crossings - crossings.mean()) * np.hanning(crossings.size), 2**16))
        assert ring.size > 0.3 * RATE_HZ
        assert np.fft.rfftfreq(2**16, 1 / RATE_HZ)[spectrum.argmax()] > 400 / 60
