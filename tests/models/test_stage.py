"""Windows of mixed streams hold what their truth says, and nothing of two folds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models.disturb import Chances
from models.recordings import Heap, read_heap, with_generated
from models.stage import Shares, Stage, StageSettings
from tests.models.test_recordings import sources


@pytest.fixture(name="heap")
def _heap(tmp_path: Path) -> Heap:
    return with_generated(read_heap(sources(tmp_path)), 6, tmp_path / "generated")


def only(kind: str) -> StageSettings:
    """Return settings under which one kind of window is drawn."""
    none = dict.fromkeys(Shares.__slots__, 0.0)
    return StageSettings(shares=Shares(**(none | {kind: 1.0})))


def test_the_same_seed_gives_the_same_windows(heap: Heap) -> None:
    stage = Stage(heap, StageSettings())
    one, again = ([stage.draw(rng)[0] for _ in range(5)] for rng in map(np.random.default_rng, (1, 1)))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))


@pytest.mark.parametrize("kind", Shares.__slots__)
def test_windows_are_a_second_long_and_within_full_scale(heap: Heap, kind: str) -> None:
    stage, rng = Stage(heap, only(kind)), np.random.default_rng(2)
    for _ in range(10):
        sound, truth = stage.draw(rng)
        assert sound.shape == (16_000,)
        assert sound.dtype == np.float32
        assert np.abs(sound).max() <= 1.0
        assert truth.targets.shape == (4,)


def test_alerts_are_heard_alone_too(heap: Heap) -> None:
    stage, rng = Stage(heap, only("alone")), np.random.default_rng(10)
    truths = [stage.draw(rng)[1] for _ in range(60)]
    alerts = [truth for truth in truths if truth.targets[2:].any()]
    assert 15 < len(alerts) < 40
    assert {truth.fold for truth in alerts} == {None, 1, 2}
    heard = [float(truth.targets.sum()) for truth in alerts]
    assert min(heard) < 1.0
    assert max(heard) == 1.0


def beeps(heap: Heap, folder: Path, seconds: float) -> Heap:
    """Return a heap whose only alert is a smoke alarm's one beep, so long, in 3 s of silence."""
    sound = np.zeros(3 * 16_000)
    sound[16_000 : 16_000 + round(seconds * 16_000)] = 0.5
    soundfile.write(folder / "beep.flac", sound, 16_000)
    return replace(heap, alerts=(replace(heap.alerts[0], file=folder / "beep.flac", label="smoke_alarm"),))


@pytest.mark.parametrize(("seconds", "share"), [(0.04, 0.16), (0.2, 0.8), (0.4, 1.0)])
def test_of_an_alert_alone_it_counts_how_much_is_heard(
    heap: Heap, tmp_path: Path, seconds: float, share: float
) -> None:
    settings = replace(only("alone"), alert_alone=1.0, alert_room=0.0, speeds=(1.0, 1.0))
    stage, rng = Stage(beeps(heap, tmp_path, seconds), settings), np.random.default_rng(11)
    heard = [float(stage.draw(rng)[1].targets.sum()) for _ in range(40)]
    assert max(heard) == pytest.approx(share)
    assert min(heard) < 0.9 * share  # a window cuts it off


def test_two_in_three_alerts_alone_are_far_above_a_background(heap: Heap, tmp_path: Path) -> None:
    settings = replace(only("alone"), alert_alone=1.0, alert_room=0.0, above_db=(40.0, 40.0))
    undisturbed = replace(settings, chances=Chances(*[0.0] * 5), speeds=(1.0, 1.0))
    hiss = tuple(r for r in heap.labelled if r.label == "hiss")
    hissing = replace(beeps(heap, tmp_path, 0.2), backgrounds=hiss, variety=hiss, generated=hiss)
    stage, rng = Stage(hissing, undisturbed), np.random.default_rng(12)
    drawn = [stage.draw(rng) for _ in range(60)]
    assert 30 < sum(truth.fold is not None for _, truth in drawn) < 50
    for window, truth in drawn:
        beneath = float(np.median(np.abs(window)) / np.abs(window).max())
        assert (0.005 < beneath < 0.01) if truth.fold is not None else beneath == 0.0


def test_a_recording_alone_is_its_class_and_of_its_fold(heap: Heap) -> None:
    stage, rng = Stage(replace(heap, alerts=()), only("alone")), np.random.default_rng(3)
    for _ in range(10):
        _, truth = stage.draw(rng)
        assert truth.targets.sum() == 1.0
        assert truth.fold in (1, 2)


@pytest.mark.parametrize("kind", ["nothing", "generated"])
def test_what_is_in_nothing_is_known_to_be_nothing(heap: Heap, kind: str) -> None:
    stage, rng = Stage(heap, only(kind)), np.random.default_rng(4)
    truths = [stage.draw(rng)[1] for _ in range(10)]
    assert all(truth.known and not truth.targets.any() for truth in truths)


def test_what_is_generated_to_be_nothing_belongs_to_no_fold(heap: Heap) -> None:
    stage, rng = Stage(heap, only("generated")), np.random.default_rng(8)
    assert {stage.draw(rng)[1].fold for _ in range(5)} == {None}


def test_without_generated_sounds_streams_take_their_place(heap: Heap) -> None:
    stage, rng = Stage(replace(heap, generated=()), only("generated")), np.random.default_rng(9)
    assert any(stage.draw(rng)[1].targets.any() for _ in range(20))


def test_ambiguous_sounds_are_not_known_to_be_nothing(heap: Heap) -> None:
    ambiguous = tuple(r for r in heap.variety if r.label == "ambiguous")
    stage, rng = Stage(replace(heap, variety=ambiguous), only("variety")), np.random.default_rng(5)
    assert not any(stage.draw(rng)[1].known for _ in range(5))


def test_streams_hold_events_in_part_and_in_full(heap: Heap) -> None:
    stage, rng = Stage(heap, only("stream")), np.random.default_rng(6)
    most = np.array([stage.draw(rng)[1].targets.max() for _ in range(80)])
    assert np.count_nonzero(most == 1.0) > 30
    assert np.count_nonzero((most > 0.0) & (most < 1.0)) > 0


def test_alerts_are_heard_in_streams_without_belonging_to_a_fold(heap: Heap) -> None:
    stage, rng = Stage(heap, only("stream")), np.random.default_rng(7)
    truths = [stage.draw(rng)[1] for _ in range(80)]
    assert any(truth.targets[2] for truth in truths)
    assert any(truth.targets[3] for truth in truths)
