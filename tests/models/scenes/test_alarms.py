"""Every pattern of every alarm can be drawn, is as long and as loud as it says, and the same for a seed."""

import numpy as np
import pytest

from models.scenes.alarms import PATTERNS, WEIGHTS, draw_alarm
from schemas.errors import ConfigurationError
from tests.models.scenes.heard import RATE_HZ, SEEDS, drawn

EVERY_PATTERN = [(label, pattern) for label, patterns in PATTERNS.items() for pattern in patterns]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
@pytest.mark.parametrize(("label", "pattern"), EVERY_PATTERN)
def test_every_alarm_is_as_long_and_as_loud_as_it_says(label: str, pattern: str, rate_hz: int) -> None:
    for seed in range(2):
        alarm = drawn(label, pattern, seed, rate_hz)
        assert (alarm.label, alarm.pattern) == (label, pattern)
        assert alarm.sound.dtype == np.float64
        assert np.isfinite(alarm.sound).all()
        assert np.abs(alarm.sound).max() == pytest.approx(1.0)
        assert 4.0 <= alarm.sound.size / rate_hz <= 15.0


@pytest.mark.parametrize(("label", "pattern"), EVERY_PATTERN)
def test_the_event_sounds_from_its_first_to_its_last_sample(label: str, pattern: str) -> None:
    for seed in SEEDS:
        sound = drawn(label, pattern, seed).sound
        edge = round(0.15 * RATE_HZ)
        loud = 0.03 * np.sqrt(np.mean(sound**2))
        assert np.sqrt(np.mean(sound[:edge] ** 2)) > loud
        assert np.sqrt(np.mean(sound[-edge:] ** 2)) > loud


def test_the_same_seed_draws_the_same_alarm_and_another_seed_another() -> None:
    for label in PATTERNS:
        first, again, other = (draw_alarm(np.random.default_rng(seed), label, RATE_HZ) for seed in (3, 3, 4))
        assert first.pattern == again.pattern
        assert np.array_equal(first.sound, again.sound)
        assert not np.array_equal(first.sound[:1000], other.sound[:1000])


def test_every_pattern_has_a_weight() -> None:
    for label, patterns in PATTERNS.items():
        assert len(WEIGHTS[label]) == len(patterns)
        assert sum(WEIGHTS[label]) == pytest.approx(1.0)
        assert min(WEIGHTS[label]) > 0


@pytest.mark.parametrize(
    ("label", "rate_hz", "pattern", "names"),
    [
        ("dog", RATE_HZ, None, "smoke_alarm, siren"),
        ("siren", 4000, None, "8000 to 192000"),
        ("siren", RATE_HZ, "temporal_three", "wail"),
    ],
)
def test_what_cannot_be_drawn_is_refused(label: str, rate_hz: int, pattern: str | None, names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        draw_alarm(np.random.default_rng(0), label, rate_hz, pattern)
