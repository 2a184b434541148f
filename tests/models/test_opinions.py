"""A teacher's opinion comes from other folds, counts only where there is one, and tells nothing held out."""

from pathlib import Path

import numpy as np
import torch

from models.bank import takes_of
from models.fit import Lesson, fit, repeat_exactly
from models.opinions import opinions_without
from models.pool import Pool, make_pool
from models.recordings import Heap, Sources, read_heap
from models.stage import Stage, StageSettings
from tests.models.sounds import Rows, write_folder
from tests.models.test_fit import quick, weights
from tests.models.test_teacher import write_teacher


def pool_of(fold: list[int], label: list[int]) -> Pool:
    """Return a pool with one class in each window, which the embedding tells."""
    here = np.eye(3, dtype=np.float32)[label]
    nothing = np.zeros((len(fold), 98, 64), np.float16)
    half = here.astype(np.float16)
    return Pool(nothing, here, np.ones(len(fold), np.bool_), np.array(fold, np.int16), half, half)


def test_a_class_that_other_folds_do_not_have_gets_no_opinion() -> None:
    opinion = opinions_without(pool_of([1, 1, 1, 2, 2, 3, 3], [0, 1, 2, 0, 1, 0, 1]), 3, ()).opinion
    assert opinion is not None
    assert np.isnan(opinion).all(axis=1).tolist() == [False, False, True] + [False] * 4


def test_one_fold_that_is_left_gets_no_opinion() -> None:
    opinion = opinions_without(pool_of([1, 1, 2, 2], [0, 1, 0, 1]), 3, (2,)).opinion
    assert opinion is not None
    assert np.isnan(opinion[:2]).all()


def test_without_folds_there_is_no_opinion() -> None:
    opinion = opinions_without(pool_of([-1, -1], [0, 1]), 3, ()).opinion
    assert opinion is not None
    assert np.isnan(opinion).all()


def test_other_folds_of_one_class_give_no_opinion() -> None:
    opinion = opinions_without(pool_of([1, 1, 2, 2], [0, 1, 0, 0]), 3, ()).opinion
    assert opinion is not None
    assert np.isnan(opinion[:2]).all()


def taught_without_fold_3(heap: Heap, folder: Path) -> torch.Tensor:
    """Return the weights of a network that learns from a teacher, and has not heard fold 3."""
    teacher = write_teacher(folder / "teacher.onnx")
    pool = make_pool(Stage(heap, StageSettings()), teacher, 80, 0, folder / "pool", lambda _: None)
    opinions = opinions_without(pool, 2, (3,))
    assert opinions.opinion is not None
    assert opinions.opinion.shape == (80, 2)
    assert np.isfinite(opinions.opinion[opinions.usable]).any()
    lesson = Lesson(takes_of(heap, (1.0,), 0, 0).bank((3,)), opinions, 2)
    return weights(fit(lesson, quick(3), 0, lambda *_: None)[0])


def test_what_is_held_out_changes_no_weight_of_a_network_that_is_taught(tmp_path: Path) -> None:
    repeat_exactly()
    rows: Rows = [(f"{label}-{fold}.wav", label, fold) for label in ("hiss", "tone") for fold in (1, 2, 3)]
    folder = write_folder(tmp_path / "data", rows)
    heap = read_heap(Sources(folder))
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    before = taught_without_fold_3(heap, tmp_path / "one")
    other = write_folder(tmp_path / "elsewhere", rows, seed=1)
    for name in ("hiss-3.wav", "tone-3.wav"):
        (folder / name).write_bytes((other / name).read_bytes())
    assert torch.equal(before, taught_without_fold_3(heap, tmp_path / "other"))
    (folder / "hiss-1.wav").write_bytes((other / "hiss-1.wav").read_bytes())
    (tmp_path / "third").mkdir()
    assert not torch.equal(before, taught_without_fold_3(heap, tmp_path / "third"))


def test_without_any_background_a_network_is_trained_over_digital_silence(tmp_path: Path) -> None:
    heap = read_heap(Sources(write_folder(tmp_path / "data", [("a.wav", "tone", 1), ("b.wav", "hiss", 1)])))
    pool = make_pool(Stage(heap, StageSettings()), None, 40, 0, tmp_path / "pool", lambda _: None)
    lesson = Lesson(takes_of(heap, (1.0,), 0, 0).bank(()), opinions_without(pool, 2, ()), 2)
    _, course = fit(lesson, quick(2), 0, lambda *_: None)
    assert np.isfinite(course.losses).all()
