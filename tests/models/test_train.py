"""A run trains what is asked for, goes on where it was, and leaves models that can be used and measured."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.fit import FitSettings
from models.recordings import Sources
from models.session import open_session, score
from models.train import Job, train
from models.train_settings import TrainSettings, folder_digest
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, read_spec
from tests.models.test_fit import SMALL
from tests.models.test_recordings import sources

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "esc10" / "labels.csv").is_file(), reason=f"no recordings at {DATA}"
)


def quick(tmp_path: Path) -> TrainSettings:
    """Return settings for a run of seconds."""
    fit = FitSettings(steps=30, batch=12, layers=SMALL, save_every=10, learning_rate=0.01)
    run = tmp_path / "run"
    return TrainSettings(sources(tmp_path), run, fit=fit, speeds=(1.0,), windows=40, generated=6)


def nothing(_name: str, _done: int, _total: int, _loss: float) -> None:
    """Listen to nothing that is said."""


def test_a_network_is_trained_without_each_fold_and_one_with_all(tmp_path: Path) -> None:
    trained = train(quick(tmp_path), nothing)
    assert [one.job.name for one in trained] == ["seed-0/without-1", "seed-0/without-2", "seed-0/all"]
    assert all(read_spec(one.directory).labels == ("hiss", "tone", "smoke_alarm", "siren") for one in trained)
    assert trained[2].accuracy != trained[2].accuracy
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_there_already_is_not_trained_again(tmp_path: Path) -> None:
    settings = replace(quick(tmp_path), folds=(1,), final=False)
    (first,) = train(settings, nothing)
    written = (first.directory / MODEL_FILE).stat().st_mtime_ns
    said: list[str] = []
    again = train(replace(settings, folds=(1, 2)), lambda name, *_: said.append(name))
    assert [one.job for one in again] == [Job(0, 1), Job(0, 2)]
    assert (first.directory / MODEL_FILE).stat().st_mtime_ns == written
    assert set(said) == {"seed-0/without-2"}
    told = json.loads((tmp_path / "run" / "settings.json").read_text(encoding="utf-8"))
    assert told["folds"] == [1, 2]


def test_two_processes_train_the_same_networks_as_one(tmp_path: Path) -> None:
    settings = replace(quick(tmp_path), final=False)
    alone = [read_spec(one.directory).digest for one in train(settings, nothing)]
    both = replace(settings, run=tmp_path / "other", processes=2)
    assert [read_spec(one.directory).digest for one in train(both, nothing)] == alone


def test_a_run_is_not_gone_on_with_under_other_settings(tmp_path: Path) -> None:
    settings = replace(quick(tmp_path), folds=(1,), final=False)
    train(settings, nothing)
    with pytest.raises(ConfigurationError, match="other now: windows"):
        train(replace(settings, windows=41), nothing)


def test_a_run_is_not_gone_on_with_when_the_data_has_changed(tmp_path: Path) -> None:
    settings = replace(quick(tmp_path), folds=(1,), final=False)
    train(settings, nothing)
    before = folder_digest(settings.sources.data)
    data = settings.sources.data
    (data / "hiss-1-0.wav").write_bytes((data / "hiss-1-1.wav").read_bytes())
    assert folder_digest(settings.sources.data) != before
    with pytest.raises(ConfigurationError, match="digests"):
        train(settings, nothing)


def test_the_run_says_what_it_was_made_with(tmp_path: Path) -> None:
    settings = replace(quick(tmp_path), folds=(1,), final=False)
    train(settings, nothing)
    told = json.loads((tmp_path / "run" / "settings.json").read_text(encoding="utf-8"))
    assert told["fit"]["steps"] == 30
    assert set(told["digests"]) == {"data", "ambience", "variety"}


@pytest.mark.parametrize(("folds", "said"), [((3,), "folds of the data"), ((1, 9), "9")])
def test_a_fold_that_does_not_exist_is_refused(tmp_path: Path, folds: tuple[int, ...], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        train(replace(quick(tmp_path), folds=folds), nothing)


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="speeds"):
        TrainSettings(Sources(tmp_path), tmp_path / "run", speeds=(0.9,))
    with pytest.raises(ConfigurationError, match="seeds"):
        TrainSettings(Sources(tmp_path), tmp_path / "run", seeds=())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": (-1,)}, "seeds"),
        ({"folds": (1, 1)}, "folds"),
        ({"name": "a/b"}, "name"),
        ({"version": ""}, "version"),
    ],
)
def test_settings_that_would_fail_later_are_refused_at_once(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        TrainSettings(Sources(tmp_path), tmp_path / "run", **change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folds": (1,), "validation_fold": 1, "final": False}, "a fold to hold out"),
        ({"validation_fold": 0}, "folds of the data"),
        ({"folds": (1,), "validation_fold": 2}, "left to train on"),
        ({"classes": ("tone", "tone")}, "each label once"),
    ],
)
def test_a_run_that_cannot_be_trained_leaves_nothing_behind(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        train(replace(quick(tmp_path), **change), nothing)
    assert not (tmp_path / "run").exists()


def test_only_files_that_the_table_names_are_data(tmp_path: Path) -> None:
    folder = sources(tmp_path).data
    before = folder_digest(folder)
    (folder / "notes.txt").write_text("of no matter")
    assert folder_digest(folder) == before
    (folder / "hiss-1-0.wav").write_bytes((folder / "tone-1-0.wav").read_bytes())
    assert folder_digest(folder) != before


@needs_data
def test_a_minute_of_training_learns_to_tell_recordings_of_a_held_out_fold_apart(tmp_path: Path) -> None:
    settings = TrainSettings(
        Sources(DATA / "esc10", (DATA / "ambience",)),
        tmp_path / "run",
        folds=(4,),
        final=False,
        fit=FitSettings(steps=120),
        speeds=(1.0,),
        windows=1500,
        generated=60,
    )
    (trained,) = train(settings, nothing)
    first, last = np.mean(trained.course.losses[:10]), np.mean(trained.course.losses[-10:])
    assert last < 0.8 * first
    assert trained.accuracy > 0.6
    silence = np.zeros((2, 16_000), np.int16)
    assert score(open_session(trained.directory / MODEL_FILE), silence).shape == (2, 12)
