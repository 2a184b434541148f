"""A room decays as it was asked to, images are where geometry puts them, places keep time and level."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from models.scenes.rooms import (
    LARGEST_M,
    REACH,
    RT60_S,
    SMALLEST_M,
    SPEED_OF_SOUND_M_S,
    Room,
    draw_room,
    images,
    loudspeaker,
    outdoor,
    place,
    room_response,
    shoebox,
)
from schemas.errors import ConfigurationError

RATE_HZ = 16_000
STUDY = Room((4.1, 3.3, 2.5), (1.0, 0.8, 1.3), (2.7, 2.0, 1.5), 0.4)


def decay_s(response: NDArray[np.float64]) -> float:
    """Return RT60 from the backward integral (Schroeder, 1965) between -5 and -25 dB."""
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    level_db = 10 * np.log10(energy / energy[0] + 1e-12)
    first, last = int(np.argmax(level_db < -5)), int(np.argmax(level_db < -25))
    slope = np.polyfit(np.arange(first, last) / RATE_HZ, level_db[first:last], 1)[0]
    return float(-60 / slope)


def test_rooms_decay_in_the_time_they_were_given() -> None:
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(60):
        room = draw_room(rng)
        ratios.append(decay_s(shoebox(rng, room, RATE_HZ)) / room.rt60_s)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)
    assert np.quantile(np.abs(np.array(ratios) - 1), 0.9) < 0.15


def test_rooms_are_drawn_within_their_bounds() -> None:
    rng = np.random.default_rng(6)
    for _ in range(200):
        room = draw_room(rng)
        assert RT60_S[0] <= room.rt60_s <= RT60_S[1]
        for axis in range(3):
            assert SMALLEST_M[axis] <= room.size_m[axis] <= LARGEST_M[axis] + 1e-9
            assert 0 < room.source_m[axis] < room.size_m[axis]
            assert 0 < room.microphone_m[axis] < room.size_m[axis]
        assert np.linalg.norm(np.subtract(room.source_m, room.microphone_m)) > 0.5


def test_the_first_images_are_mirrored_in_the_six_walls() -> None:
    walls = np.array([[0.9, 0.8], [0.7, 0.6], [0.5, 0.4]])
    delays_s, heights = images(STUDY, walls, 0.1)
    source, microphone = np.array(STUDY.source_m), np.array(STUDY.microphone_m)
    expected = [(np.linalg.norm(source - microphone), 1.0)]
    for axis in range(3):
        for side, wall_m in enumerate((0.0, STUDY.size_m[axis])):
            mirrored = source.copy()
            mirrored[axis] = 2 * wall_m - source[axis]
            expected.append((np.linalg.norm(mirrored - microphone), walls[axis, side]))
    for distance_m, loss in expected:
        found = int(np.abs(delays_s - distance_m / SPEED_OF_SOUND_M_S).argmin())
        assert delays_s[found] * SPEED_OF_SOUND_M_S == pytest.approx(distance_m)
        assert heights[found] * delays_s[found] == pytest.approx(loss)


def test_images_fill_space_as_densely_as_rooms_do() -> None:
    delays_s, _ = images(STUDY, np.ones((3, 2)), 0.1)
    sphere = 4 / 3 * np.pi * (0.1 * SPEED_OF_SOUND_M_S) ** 3
    assert delays_s.size == pytest.approx(sphere / np.prod(STUDY.size_m), rel=0.05)


def test_the_direct_path_comes_first_and_is_among_the_highest() -> None:
    rng = np.random.default_rng(7)
    for _ in range(40):
        heights = np.abs(shoebox(rng, draw_room(rng), RATE_HZ))
        assert int(np.argmax(heights >= 0.5 * heights.max())) == REACH


def test_a_street_is_drier_than_a_room_and_has_a_direct_path() -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        heights = np.abs(outdoor(rng, RATE_HZ))
        assert int(np.argmax(heights >= 0.5 * heights.max())) - REACH <= 2
        late = np.sum(heights[RATE_HZ // 2 :] ** 2)
        assert late < 0.02 * np.sum(heights**2)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_responses_are_finite_at_every_rate(rate_hz: int) -> None:
    rng = np.random.default_rng(9)
    for draw in (room_response, loudspeaker):
        for _ in range(10):
            response = draw(rng, rate_hz)
            assert response.dtype == np.float64
            assert np.isfinite(response).all()
            assert 0.01 < np.abs(response).max() < 20


def test_a_loudspeaker_lets_alarms_through_and_stops_the_bass() -> None:
    rng = np.random.default_rng(10)
    for _ in range(30):
        level_db = 20 * np.log10(np.abs(np.fft.rfft(loudspeaker(rng, RATE_HZ), RATE_HZ)) + 1e-9)
        assert level_db[500:3400].min() > -40
        assert level_db[500:3400].mean() > -12
        assert level_db[30] < level_db[500:3400].mean() - 10


def test_a_response_takes_less_than_50_ms_on_average() -> None:
    rng = np.random.default_rng(11)
    room_response(rng, RATE_HZ)
    began_s = time.process_time()
    for _ in range(30):
        room_response(rng, RATE_HZ)
    assert (time.process_time() - began_s) / 30 < 0.05


@pytest.mark.parametrize("draw", [room_response, loudspeaker])
def test_placing_keeps_length_level_and_time(draw: object) -> None:
    assert callable(draw)
    rng = np.random.default_rng(12)
    sound = np.zeros(2 * RATE_HZ)
    sound[RATE_HZ : RATE_HZ + 1600] = rng.normal(size=1600)
    sound /= np.sqrt(np.mean(sound**2))
    for _ in range(10):
        heard = place(sound, draw(rng, RATE_HZ))
        assert heard.shape == sound.shape
        assert np.sqrt(np.mean(heard**2)) == pytest.approx(1.0)
        before, after = np.abs(heard[: RATE_HZ - 40]).max(), np.abs(heard[RATE_HZ : RATE_HZ + 400]).max()
        assert before < 1e-6 * after


def test_placing_silence_leaves_silence() -> None:
    assert not place(np.zeros(1000), np.array([1.0, 0.5])).any()


def test_a_single_tap_changes_nothing() -> None:
    sound = np.random.default_rng(13).normal(size=1000)
    assert place(sound, np.array([0.0, 0.0, 3.0])) == pytest.approx(sound)


def test_the_same_seed_draws_the_same_response_and_another_seed_another() -> None:
    for draw in (room_response, loudspeaker):
        first, again, other = (draw(np.random.default_rng(seed), RATE_HZ) for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert not np.array_equal(first[:200], other[:200])


@pytest.mark.parametrize("response", [np.zeros(0), np.zeros(9), np.array([1.0, np.nan])])
def test_a_response_that_carries_nothing_is_refused(response: NDArray[np.float64]) -> None:
    with pytest.raises(ConfigurationError, match="response"):
        place(np.ones(10), response)


@pytest.mark.parametrize("draw", [room_response, loudspeaker])
def test_a_rate_that_is_none_is_refused(draw: object) -> None:
    assert callable(draw)
    with pytest.raises(ConfigurationError, match="rate_hz is 100;"):
        draw(np.random.default_rng(0), 100)
