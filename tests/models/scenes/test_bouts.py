"""A recording sounds where it is loud, and a pause of two seconds parts one bout from the next."""

import pytest

from models.scenes.bouts import bouts
from models.scenes.stream_settings import StreamSettings
from tests.models.scenes.pcm import RATE_HZ, noise, sequence, silence

SETTINGS = StreamSettings()


def test_digital_silence_round_a_sound_is_in_no_event() -> None:
    spans = bouts(sequence(silence(1.0), noise(0.5), silence(3.5)), SETTINGS)
    assert spans == ((RATE_HZ, round(1.5 * RATE_HZ)),)
    assert bouts(silence(5.0), SETTINGS) == ()
    assert bouts(silence(0.0), SETTINGS) == ()


def test_what_is_thirty_decibels_below_the_loudest_is_in_no_event() -> None:
    for quieter_db, seconds in ((25, 2.0), (35, 1.0)):
        spans = bouts(sequence(noise(1.0), noise(1.0, 0.1 * 10 ** (-quieter_db / 20))), SETTINGS)
        assert spans == ((0, round(seconds * RATE_HZ)),)


@pytest.mark.parametrize(("pause_s", "expected"), [(3.9, 1), (4.1, 2)])
def test_pauses_of_four_seconds_part_two_bouts(pause_s: float, expected: int) -> None:
    assert len(bouts(sequence(noise(0.5), silence(pause_s), noise(0.5)), SETTINGS)) == expected


def test_a_texture_is_one_event_from_end_to_end() -> None:
    assert bouts(noise(5.0), SETTINGS) == ((0, 5 * RATE_HZ),)
