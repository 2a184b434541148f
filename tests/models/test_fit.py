"""A training learns, repeats itself, goes on where it was stopped, and hears nothing of a held-out fold."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.bank import takes_of
from models.fit import FitSettings, Lesson, fit, repeat_exactly
from models.network import Network
from models.opinions import only_fold, opinions_without
from models.pool import Pool, make_pool
from models.recordings import Heap, read_heap, with_generated
from models.stage import Stage, StageSettings
from tests.models.test_recordings import sources

SMALL = ((8, 3, (2, 2)), (16, 3, (2, 2)), (16, 1, (2, 2)))


@pytest.fixture(name="heap")
def _heap(tmp_path: Path) -> Heap:
    return with_generated(read_heap(sources(tmp_path)), 6, tmp_path / "generated")


@pytest.fixture(name="pool")
def _pool(heap: Heap, tmp_path: Path) -> Pool:
    return make_pool(Stage(heap, StageSettings()), None, 300, 0, tmp_path / "pool", lambda _: None)


def lesson(heap: Heap, pool: Pool, held_out: tuple[int, ...] = ()) -> Lesson:
    """Return a lesson without some folds."""
    takes = takes_of(heap, (1.0,), 10, 0)
    return Lesson(
        takes.bank(held_out), opinions_without(pool, len(heap.classes), held_out), len(heap.classes)
    )


def quick(steps: int, save_every: int = 1000) -> FitSettings:
    """Return settings for a training of a moment, which looks for hard negatives between two savings."""
    return FitSettings(steps=steps, batch=18, layers=SMALL, save_every=save_every, mine_every=3)


def weights(network: Network) -> torch.Tensor:
    """Return all weights of a network in one vector."""
    return torch.cat([value.float().flatten() for value in network.state_dict().values()])


def test_the_loss_falls(heap: Heap, pool: Pool) -> None:
    repeat_exactly()
    _, course = fit(lesson(heap, pool), quick(80), 0, lambda *_: None)
    assert np.mean(course.losses[-10:]) < 0.85 * np.mean(course.losses[:10])


def test_silence_is_nothing_before_anything_else_is_learned(heap: Heap, pool: Pool) -> None:
    repeat_exactly()
    network, _ = fit(lesson(heap, pool), quick(30), 0, lambda *_: None)
    with torch.inference_mode():
        assert (network(torch.zeros(1, 1, 49, 64)) < 0).all()


def test_training_twice_gives_the_same_weights(heap: Heap, pool: Pool) -> None:
    repeat_exactly()
    one, two = (fit(lesson(heap, pool), quick(4), 1, lambda *_: None)[0] for _ in range(2))
    assert torch.equal(weights(one), weights(two))
    assert not torch.equal(weights(one), weights(fit(lesson(heap, pool), quick(4), 2, lambda *_: None)[0]))


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    heap: Heap, pool: Pool, tmp_path: Path
) -> None:
    repeat_exactly()
    whole, course = fit(lesson(heap, pool), quick(6), 1, lambda *_: None)

    def stop(done: int, _: float) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(lesson(heap, pool), quick(6, save_every=2), 1, stop, tmp_path / "saved")
    steps: list[int] = []
    again, gone_on = fit(
        lesson(heap, pool), quick(6, save_every=2), 1, lambda done, _: steps.append(done), tmp_path / "saved"
    )
    assert steps == [3, 4, 5, 6]
    assert torch.equal(weights(whole), weights(again))
    assert gone_on.losses == course.losses


def test_it_ends_early_when_the_validation_fold_is_understood_no_better(heap: Heap, pool: Pool) -> None:
    repeat_exactly()
    taught = lesson(heap, pool, (2,))
    watched = Lesson(taught.bank, taught.opinions, taught.classes, only_fold(pool, 2))
    impatient = FitSettings(steps=400, batch=16, layers=SMALL, save_every=2, patience=2, learning_rate=0.5)
    _, course = fit(watched, impatient, 0, lambda *_: None)
    assert len(course.losses) < 400
    assert len(course.validation) == len(course.losses) // 2
    assert len(course.validation) - 1 - int(np.argmin(course.validation)) == 2


def test_nothing_of_a_held_out_fold_is_drawn(heap: Heap, pool: Pool) -> None:
    kept_from = lesson(heap, pool, (1,))
    assert set(pool.fold[kept_from.opinions.usable].tolist()) == {-1, 2}
    assert kept_from.bank is not None
    everything = lesson(heap, pool).bank
    assert everything is not None
    assert len(kept_from.bank.labelled) < len(everything.labelled)


def test_a_pool_is_the_same_again_and_is_made_once(heap: Heap, pool: Pool, tmp_path: Path) -> None:
    stage = Stage(heap, StageSettings())
    told: list[int] = []
    again = make_pool(stage, None, 300, 0, tmp_path / "pool", told.append)
    assert told == []
    other = make_pool(stage, None, 300, 0, tmp_path / "other", told.append)
    assert sum(told) == 300
    assert np.array_equal(again.power, pool.power)
    assert np.array_equal(other.power, pool.power)
    assert np.array_equal(other.targets, pool.targets)
