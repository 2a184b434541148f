"""What is measured is what runs: the same windows, scores and detections as a scan of a file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from earwitness.evaluation.listener import Listener
from earwitness.scan import Scanner
from earwitness.settings import load_settings
from processors.score import OnnxScorer
from producers.sources.files import FileSource
from schemas.codec import Codec
from tests.processors.tiny_model import write_model

RATE_HZ, WINDOW, HOP = 16_000, 3200, 1600


def bursts(seed: int, steps: int = 120) -> NDArray[np.int16]:
    """A tenth of a second after the other, each loud or quiet, some of them also high."""
    rng = np.random.default_rng(seed)
    levels, offsets = rng.uniform(0, 0.9, steps), rng.choice([0.0, 0.6], steps)
    noise = rng.uniform(-0.2, 0.2, (steps, HOP))
    values = np.clip(noise * levels[:, None] + offsets[:, None] + levels[:, None] * 0.3, -1, 1)
    return np.asarray(values * 32767, np.int16).reshape(-1)


@pytest.fixture
def listener(tiny_model: Path) -> Listener:
    return Listener.of(tiny_model)


def test_scores_are_those_of_each_window(listener: Listener, tiny_model: Path) -> None:
    pcm = bursts(1)
    heard = listener.hear(pcm, RATE_HZ)
    windows = np.lib.stride_tricks.sliding_window_view(pcm, WINDOW)[::HOP]
    assert np.array_equal(heard.starts, np.arange(len(windows)) * HOP)
    assert np.array_equal(heard.scores, OnnxScorer(tiny_model, listener.spec).run(windows))
    assert heard.power == pytest.approx(np.mean((windows / 32768.0) ** 2, axis=1), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_detections_are_those_of_a_scan(
    listener: Listener, tiny_model: Path, tmp_path: Path, seed: int
) -> None:
    pcm = bursts(seed)
    soundfile.write(tmp_path / "a.wav", pcm, RATE_HZ)
    decision = load_settings(None, {"model.path": str(tiny_model)}).decision()
    scanner = Scanner(decision, OnnxScorer(tiny_model, decision.spec), Codec())
    scanned = list(scanner.scan(FileSource(tmp_path / "a.wav"), "a.wav"))
    heard = listener.hear(pcm, RATE_HZ)
    whole = {(s.label, s.start_s) for s in scanned if not s.continued}
    assert {(f.label, round(f.start_s, 6)) for f in heard.found} == whole
    assert sum(f.end_s - f.start_s for f in heard.found) == pytest.approx(
        sum(s.end_s - s.start_s for s in scanned)
    )


def test_a_long_detection_is_one_though_it_is_published_in_segments(listener: Listener) -> None:
    loud = np.full(RATE_HZ * 30, 30_000, np.int16)
    found = listener.hear(loud, RATE_HZ).found
    assert [(f.label, f.start_s, f.end_s) for f in found] == [("high", 0.1, 30.0), ("loud", 0.1, 30.0)]


def test_the_length_of_frames_changes_nothing(listener: Listener) -> None:
    pcm, none_lost = bursts(4), np.zeros(1, bool)
    one, other = listener.hear(pcm, RATE_HZ), listener.hear(pcm, RATE_HZ, none_lost)
    assert np.array_equal(one.scores, other.scores)
    assert one.found == other.found


def test_windows_of_which_too_much_is_lost_are_not_scored(listener: Listener) -> None:
    lost = np.zeros(600, bool)
    lost[100:110] = True  # 2.0 to 2.2 s
    heard = listener.hear(bursts(5), RATE_HZ, lost)
    starts_s = heard.starts / RATE_HZ
    missing = np.minimum(starts_s + 0.2, 2.2) - np.maximum(starts_s, 2.0)
    assert np.array_equal(heard.scored, missing < 0.1 + 1e-9)
    assert np.isnan(heard.scores[~heard.scored]).all()


def test_a_recording_shorter_than_a_window_is_heard_only_if_silence_may_follow(listener: Listener) -> None:
    short = np.full(100, 30_000, np.int16)
    assert listener.hear(short, RATE_HZ).scores.shape == (0, 2)
    assert listener.hear(short, RATE_HZ).guess(("loud",)) is None
    assert listener.hear_whole(short, RATE_HZ).scores.shape == (1, 2)


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 44_100])
def test_a_sound_of_another_rate_has_the_same_windows(listener: Listener, rate_hz: int) -> None:
    pcm = np.full(3 * rate_hz, 30_000, np.int16)
    heard = listener.hear(pcm, rate_hz)
    assert heard.starts / rate_hz == pytest.approx(np.arange(29) * 0.1, abs=1e-3)
    assert {f.label for f in heard.found} == {"loud", "high"}


def test_a_listener_hears_one_recording_after_another_as_if_each_were_the_first(listener: Listener) -> None:
    alone = listener.hear(bursts(7), RATE_HZ)
    listener.hear(bursts(8), RATE_HZ)
    again = listener.hear(bursts(7), RATE_HZ)
    assert np.array_equal(alone.scores, again.scores)
    assert alone.found == again.found


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3), (3, 5)])
def test_deciding_again_by_the_same_rule_finds_what_the_pipeline_found(
    tmp_path: Path, seed: int, m: int, n: int
) -> None:
    spec = write_model(tmp_path, m=m, n=n)
    heard = Listener.of(tmp_path).hear(bursts(seed), RATE_HZ)
    again = heard.decided_by(spec)
    for label in spec.labels:
        assert list(again.spans(label)) == list(heard.spans(label))
    assert any(list(heard.spans(label)) for label in spec.labels)
