"""Frames do not depend on how sound arrived; epochs begin where the sound breaks and nowhere else."""

from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from producers.framer import Framer, FramerSettings, duration_us, frame_end
from producers.source import Block
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame, Encoding
from tests.producers.conftest import CountedEpochs, counting, heard

START_US = 1_700_000_000_000_000
RATES_HZ = st.sampled_from([1000, 8000, 11_025, 16_000, 22_050, 44_100, 48_000])


def framed(
    sound: Block, cuts: list[int], rate_hz: int = 16_000, settings: FramerSettings | None = None
) -> list[AudioFrame]:
    """Feed a sound whose clock is exact, cut after the given samples, and flush."""
    framer = Framer(settings, CountedEpochs())
    frames = []
    for start, end in pairwise(sorted({0, len(sound), *cuts})):
        frames += framer.feed(sound[start:end], rate_hz, START_US + duration_us(end, rate_hz))
    return frames + framer.flush()


@st.composite
def cut_sounds(draw: st.DrawFn) -> tuple[Block, list[int]]:
    size, channels = draw(st.integers(1, 5000)), draw(st.integers(1, 3))
    cuts = draw(st.lists(st.integers(0, size), max_size=20))
    return counting(size, channels), cuts


@given(cut_sounds(), RATES_HZ, st.integers(1, 1000))
def test_frames_are_the_sound_whatever_the_blocks_were(
    cut_sound: tuple[Block, list[int]], rate_hz: int, frame_ms: int
) -> None:
    sound, cuts = cut_sound
    settings = FramerSettings(frame_ms=frame_ms)
    frames, whole = framed(sound, cuts, rate_hz, settings), framed(sound, [], rate_hz, settings)
    assert np.array_equal(heard(frames), sound)
    assert frames[0].first_sample == 0
    assert all(later.first_sample == frame.end_sample for frame, later in pairwise(frames))
    assert len({frame.epoch for frame in frames}) == 1
    assert [(f.first_sample, f.data) for f in frames] == [(f.first_sample, f.data) for f in whole]


@given(cut_sounds(), RATES_HZ, st.integers(1, 1000))
def test_captured_at_is_that_of_the_frames_own_last_sample(
    cut_sound: tuple[Block, list[int]], rate_hz: int, frame_ms: int
) -> None:
    sound, cuts = cut_sound
    frames = framed(sound, cuts, rate_hz, FramerSettings(frame_ms=frame_ms))
    for frame in frames:
        exact_us = START_US + frame.end_sample * 1_000_000 / rate_hz
        assert frame.captured_at_us == pytest.approx(exact_us, abs=1.01)
    assert all(later.captured_at_us > frame.captured_at_us for frame, later in pairwise(frames))


def test_an_hour_of_one_millisecond_frames_at_44100_hz_does_not_drift() -> None:
    ends = [0]
    for _ in range(3_600_000):
        ends.append(frame_end(ends[-1], 44_100, 1))
    assert ends[-1] == 3600 * 44_100
    assert {later - end for end, later in pairwise(ends)} == {44, 45}


@given(RATES_HZ, st.integers(1, 1000), st.integers(0, 10**12))
def test_a_frame_ends_after_the_sample_that_it_holds_and_on_the_grid(
    rate_hz: int, frame_ms: int, sample: int
) -> None:
    end = frame_end(sample, rate_hz, frame_ms)
    assert sample < end <= sample + rate_hz * frame_ms // 1000 + 1
    assert frame_end(end - 1, rate_hz, frame_ms) == end


def test_room_is_what_is_missing_to_the_end_of_the_frame() -> None:
    framer = Framer()
    assert framer.room(16_000) == 320
    assert framer.feed(counting(100), 16_000, START_US) == []
    assert (framer.room(16_000), framer.room(8000)) == (220, 160)
    assert len(framer.feed(counting(220), 16_000, START_US)) == 1


def test_a_short_frame_does_not_move_the_grid() -> None:
    framer = Framer()
    framer.feed(counting(100), 16_000, START_US)
    assert [frame.samples for frame in framer.flush()] == [100]
    frames = framer.feed(counting(540), 16_000, START_US)
    assert [(frame.first_sample, frame.samples) for frame in frames] == [(100, 220), (320, 320)]


def test_nothing_is_framed_without_sound() -> None:
    framer = Framer()
    assert framer.feed(counting(0), 16_000, START_US) == framer.flush() == framer.restart() == []
    assert framer.epoch is None


def test_a_framer_keeps_no_view_of_a_buffer_that_its_caller_uses_again() -> None:
    framer, buffer = Framer(), counting(100)
    framer.feed(buffer, 16_000, START_US)
    buffer[:] = 0
    assert np.array_equal(heard(framer.flush()), counting(100))


def test_a_restart_ends_the_frame_and_opens_an_epoch_that_counts_from_zero() -> None:
    epochs = CountedEpochs()
    framer = Framer(new_epoch=epochs)
    framer.feed(counting(100), 16_000, START_US)
    (short,) = framer.restart()
    (frame,) = framer.feed(counting(320), 16_000, START_US + 9)
    assert (short.samples, frame.first_sample) == (100, 0)
    assert [short.epoch, frame.epoch] == epochs.named


def test_restarts_without_sound_between_name_no_epoch() -> None:
    epochs = CountedEpochs()
    framer = Framer(new_epoch=epochs)
    framer.restart()
    framer.restart()
    framer.feed(counting(1), 16_000, START_US)
    assert len(epochs.named) == 1


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (16_000, 2)])
def test_another_rate_or_number_of_channels_opens_an_epoch(rate_hz: int, channels: int) -> None:
    epochs = CountedEpochs()
    framer = Framer(new_epoch=epochs)
    framer.feed(counting(100), 16_000, START_US)
    frames = framer.feed(counting(320, channels), rate_hz, START_US + 1000)
    assert frames[0].samples == 100
    assert (frames[0].sample_rate_hz, frames[0].channels) == (16_000, 1)
    assert (frames[1].sample_rate_hz, frames[1].channels) == (rate_hz, channels)
    assert len(epochs.named) == 2


@pytest.mark.parametrize(
    ("step_ms", "epochs_named"), [(0, 1), (250, 1), (-250, 1), (251, 2), (-251, 2), (10**9, 2)]
)
def test_a_step_of_the_clock_beyond_the_tolerance_opens_an_epoch(step_ms: int, epochs_named: int) -> None:
    epochs = CountedEpochs()
    framer = Framer(FramerSettings(clock_tolerance_ms=250), epochs)
    framer.feed(counting(320), 16_000, START_US)
    framer.feed(counting(320), 16_000, START_US + 20_000 + 1000 * step_ms)
    assert len(epochs.named) == epochs_named


def test_a_clock_that_drifts_slowly_never_opens_an_epoch_and_is_followed() -> None:
    epochs = CountedEpochs()
    framer, frames = Framer(FramerSettings(frame_ms=1000), epochs), []
    for second in range(1, 10_000):  # 100 ppm, 0.1 ms a second: one second in all
        frames += framer.feed(counting(1000), 1000, START_US + second * 1_000_100)
    assert len(epochs.named) == 1
    assert frames[-1].captured_at_us == START_US + 9999 * 1_000_100


@given(st.integers(1, 700), st.integers(1, 8), RATES_HZ)
def test_flac_frames_are_complete_streams_of_the_same_samples(
    samples: int, channels: int, rate_hz: int
) -> None:
    sound = counting(samples, channels)
    frames = framed(sound, [], rate_hz, FramerSettings(encoding=Encoding.FLAC))
    decoded = [soundfile.read(BytesIO(frame.data), dtype="int16", always_2d=True) for frame in frames]
    assert np.array_equal(np.concatenate([part for part, _ in decoded]), sound)
    assert {rate for _, rate in decoded} == {rate_hz}
    assert [len(part) for part, _ in decoded] == [frame.samples for frame in frames]


def test_float_frames_are_the_same_samples_over_full_scale() -> None:
    sound = np.array([[-32768], [0], [1], [32767]], np.int16)
    (frame,) = framed(sound, [], settings=FramerSettings(encoding=Encoding.PCM_F32LE))
    values = np.frombuffer(frame.data, "<f4")
    assert (values * 32768).tolist() == [-32768, 0, 1, 32767]


def test_sound_that_flac_cannot_hold_is_refused_with_what_it_can() -> None:
    with pytest.raises(ConfigurationError, match="up to 8 channels"):
        framed(counting(320, channels=9), [], settings=FramerSettings(encoding=Encoding.FLAC))


def test_frames_larger_than_readers_accept_are_refused_with_the_longest_that_fits() -> None:
    framer = Framer(FramerSettings(frame_ms=1000))
    with pytest.raises(ConfigurationError, match="up to 341 for 16 channels at 192000 Hz"):
        framer.feed(counting(1, channels=16), 192_000, START_US)


@pytest.mark.parametrize("frame_ms", [0, -20, 1001])
def test_frames_of_no_sensible_length_are_refused(frame_ms: int) -> None:
    with pytest.raises(ConfigurationError, match="frame_ms"):
        FramerSettings(frame_ms=frame_ms)


def test_a_tolerance_that_no_clock_could_keep_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="clock_tolerance_ms"):
        FramerSettings(clock_tolerance_ms=0)
