"""Streams are what their truth says: when each event sounds, how loud, and over what."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.scenes.streams import (
    Recorded,
    Stream,
    StreamSettings,
    draw_alarms,
    draw_stream,
    draw_streams,
)
from schemas.errors import ConfigurationError
from tests.models.scenes.pcm import RATE_HZ, noise, sequence, silence

BACKGROUND = [Recorded(noise(7.0, 0.02, seed=9), "wind")]
EVENTS = [
    Recorded(sequence(silence(1.0), noise(0.5 + 0.5 * at, seed=at), silence(2.0)), label)
    for at in range(4)
    for label in ("bark", "sneeze", "rain")
]


def drawn(seed: int = 1, **settings: Any) -> Stream:
    return draw_stream(np.random.default_rng(seed), EVENTS, BACKGROUND, StreamSettings(**settings))


def power(pcm: NDArray[np.int16], start_s: float, end_s: float) -> float:
    part = pcm[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)] / 32768
    return float(np.mean(part**2))


def test_the_same_seed_draws_the_same_stream_and_another_one_another() -> None:
    one, again, other = drawn(1), drawn(1), drawn(2)
    assert np.array_equal(one.pcm, again.pcm)
    assert one.truth == again.truth
    assert one.truth != other.truth


def test_a_stream_is_as_long_as_asked_and_its_events_are_in_it_in_order() -> None:
    stream = drawn(length_s=30.0, longest_event_s=10.0)
    assert stream.pcm.size == 30 * RATE_HZ
    assert list(stream.truth) == sorted(stream.truth)
    assert all(0 <= start_s < end_s <= 30 for start_s, end_s, _ in stream.truth)


@pytest.mark.parametrize("seed", range(5))
def test_events_of_one_label_never_come_closer_than_asked(seed: int) -> None:
    truth = drawn(seed, overlapping=1.0, events=(8, 8)).truth
    for label in {label for *_, label in truth}:
        spans = [(start_s, end_s) for start_s, end_s, other in truth if other == label]
        assert all(b[0] - a[1] >= 3.0 for a, b in pairwise(spans))


def test_events_overlap_only_where_that_is_asked_for() -> None:
    apart = [drawn(seed, overlapping=0.0).truth for seed in range(5)]
    assert all(b[0] >= a[1] for truth in apart for a, b in pairwise(truth))
    laid_over = [drawn(seed, overlapping=1.0).truth for seed in range(5)]
    assert any(b[0] < a[1] for truth in laid_over for a, b in pairwise(truth))


@pytest.mark.parametrize("snr_db", [0.0, 12.0])
def test_an_event_is_as_loud_over_the_background_as_its_snr_says(snr_db: float) -> None:
    texture = [Recorded(noise(5.0, seed=3), "rain")]
    settings = StreamSettings(snr_db=(snr_db, snr_db), events=(1, 1))
    stream = draw_stream(np.random.default_rng(4), texture, BACKGROUND, settings)
    ((start_s, end_s, _),) = stream.truth
    inside, outside = power(stream.pcm, start_s + 0.1, end_s - 0.1), power(stream.pcm, end_s, 60.0)
    assert 10 * np.log10(inside / outside - 1) == pytest.approx(snr_db, abs=0.3)


def test_pauses_within_a_recording_do_not_make_its_sound_louder() -> None:
    calls = Recorded(sequence(noise(0.5, seed=1), silence(1.5), noise(0.5, seed=2)), "rooster")
    settings = StreamSettings(snr_db=(6.0, 6.0), events=(1, 1))
    stream = draw_stream(np.random.default_rng(4), [calls], BACKGROUND, settings)
    ((start_s, end_s, _),) = stream.truth
    assert end_s - start_s == pytest.approx(2.5, abs=0.03)
    call, pause = (
        power(stream.pcm, start_s + 0.1, start_s + 0.4),
        power(stream.pcm, start_s + 0.6, end_s - 0.6),
    )
    assert 10 * np.log10(call / pause - 1) == pytest.approx(6.0, abs=0.5)


def test_every_recording_is_laid_once_a_pass() -> None:
    streams = list(draw_streams(np.random.default_rng(1), EVENTS, BACKGROUND, passes=3))
    laid = Counter(label for stream in streams for *_, label in stream.truth)
    assert laid == {"bark": 12, "sneeze": 12, "rain": 12}


def test_silent_recordings_are_passed_over() -> None:
    events = [Recorded(silence(5.0), "rain"), *EVENTS[:3]]
    streams = list(draw_streams(np.random.default_rng(1), events, BACKGROUND))
    assert sum(len(stream.truth) for stream in streams) == 3


def test_a_recording_longer_than_a_stream_has_room_for_is_cut() -> None:
    stream = draw_stream(np.random.default_rng(1), [Recorded(noise(200.0), "rain")], BACKGROUND)
    ((start_s, end_s, _),) = stream.truth
    assert end_s - start_s == pytest.approx(20.0)


def test_a_stream_never_clips_however_loud_its_events() -> None:
    stream = drawn(snr_db=(60.0, 60.0))
    assert np.abs(stream.pcm.astype(np.int32)).max() < 32767


def test_without_a_background_that_sounds_there_is_no_stream() -> None:
    for backgrounds in ([], [Recorded(silence(1.0), "wind")]):
        with pytest.raises(ConfigurationError, match="at least one recording with a sound in it"):
            draw_stream(np.random.default_rng(1), EVENTS, backgrounds)


def test_an_alarm_is_one_event_pauses_included() -> None:
    alarms = list(draw_alarms(np.random.default_rng(1), ("smoke_alarm", "siren"), 2, RATE_HZ))
    assert [alarm.label for alarm in alarms] == ["smoke_alarm", "siren"] * 2
    for alarm in alarms:
        stream = draw_stream(np.random.default_rng(2), [alarm], BACKGROUND)
        ((start_s, end_s, _),) = stream.truth
        assert end_s - start_s == pytest.approx(alarm.pcm.size / RATE_HZ)
