"""A pool is decoded once; what a sensor plays is a function of the seed."""

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from producers.clips import Clip, ClipPool, Playlist, drawn, plan
from schemas.errors import CaptureError, ConfigurationError
from tests.producers.conftest import counting

POOL = ClipPool(
    [Clip(name, label, counting(size)[:, 0]) for name, label, size in [("a", "siren", 50), ("b", None, 7)]],
    16_000,
)


def test_files_are_averaged_to_mono_and_resampled(tmp_path: Path) -> None:
    time_s = np.arange(44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * 1000 * time_s)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, np.zeros_like(tone)], axis=1), 44_100)
    path = tmp_path / "a.wav"
    (clip,) = ClipPool.read([path], 16_000, {path: "siren"}).clips
    assert (clip.name, clip.label, len(clip.samples)) == ("a.wav", "siren", 16_000)
    middle = clip.samples[1000:-1000] / 32768
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.25, rel=0.01)
    assert np.abs(np.fft.rfft(clip.samples)).argmax() == 1000


def test_a_file_of_the_pools_rate_is_taken_as_it_is(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", counting(5000), 16_000)
    (clip,) = ClipPool.read([tmp_path / "a.wav"], 16_000).clips
    assert np.array_equal(clip.samples, counting(5000)[:, 0])
    assert clip.label is None


def test_a_pool_without_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="clips"):
        ClipPool([], 16_000)
    with pytest.raises(ConfigurationError, match="silence"):
        ClipPool([Clip("silence", None, np.empty(0, np.int16))], 16_000)
    with pytest.raises(CaptureError, match="missing"):
        ClipPool.read([tmp_path / "missing.wav"], 16_000)


@given(st.lists(st.integers(1, 130), min_size=1, max_size=30), st.integers(0, 5))
def test_a_playlist_is_its_clips_joined_however_it_is_read(sizes: list[int], seed: int) -> None:
    playlist = Playlist(POOL, seed, 3)
    read = b"".join(playlist.read(size) for size in sizes)
    whole = b"".join(POOL.data(index) for index in islice(drawn(POOL, seed, 3), sum(sizes)))
    assert read == whole[: 2 * sum(sizes)]


@given(st.integers(0, 2000), st.integers(0, 5), st.integers(0, 5))
def test_the_plan_says_what_the_playlist_plays(samples: int, seed: int, sensor_index: int) -> None:
    played = np.frombuffer(Playlist(POOL, seed, sensor_index).read(samples), "<i2")
    clips = {clip.name: clip for clip in POOL.clips}
    placements = list(plan(POOL, seed, sensor_index, samples))
    assert all(later.first_sample == placement.end_sample for placement, later in pairwise(placements))
    assert sum(p.end_sample - p.first_sample for p in placements) == samples
    for p in placements:
        clip = clips[p.clip]
        assert p.label == clip.label
        assert np.array_equal(
            played[p.first_sample : p.end_sample], clip.samples[: p.end_sample - p.first_sample]
        )


def test_sensors_play_different_things_and_a_seed_repeats_them() -> None:
    assert list(islice(drawn(POOL, 1, 2), 50)) == list(islice(drawn(POOL, 1, 2), 50))
    assert list(islice(drawn(POOL, 1, 2), 50)) != list(islice(drawn(POOL, 1, 3), 50))
    assert list(islice(drawn(POOL, 1, 2), 50)) != list(islice(drawn(POOL, 2, 2), 50))
