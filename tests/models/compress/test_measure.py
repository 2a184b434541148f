"""What compression gained and cost is measured on what was held out, by the rule of the model's own spec."""

from pathlib import Path

import numpy as np
import pytest

from models.compress.entry import Entry
from models.compress.measure import Clip, clip_accuracy, compare, noise_clip, read_clips
from schemas.errors import ConfigurationError


def test_a_model_compared_with_itself_is_the_same(entry: Entry, data: Path) -> None:
    comparison = compare(entry, entry, read_clips(data, entry.spec, 2), turns=5)
    assert comparison.clips == 12
    assert comparison.before.clip_accuracy == comparison.after.clip_accuracy == 1.0
    assert comparison.agreement == 1.0
    assert comparison.largest_difference == 0.0
    assert comparison.size_ratio == 1.0
    assert comparison.before.speed[32].least_ms > 0.0


def test_the_loudest_window_of_a_recording_weighs_most(entry: Entry) -> None:
    windows = np.zeros((2, 16_000), np.int16)
    windows[0], windows[1] = 100, 10_000
    scores = np.array([[0.1, 0.9, 0.1], [0.8, 0.2, 0.1]], np.float32)
    clips = [Clip("hiss", windows), Clip("hum", windows)]
    assert clip_accuracy(clips, [scores, scores], entry.spec) == 0.5


def test_only_the_fold_that_was_asked_for_is_read(entry: Entry, data: Path) -> None:
    assert len(read_clips(data, entry.spec)) == 24
    assert len(read_clips(data, entry.spec, 1)) == 12
    with pytest.raises(ConfigurationError, match="fold 3"):
        read_clips(data, entry.spec, 3)


def test_without_recordings_there_is_no_accuracy_but_all_else(entry: Entry) -> None:
    comparison = compare(entry, entry, [noise_clip(entry.spec)], turns=3)
    assert comparison.before.clip_accuracy is None
    assert comparison.clips == 0
    assert comparison.windows == 64
