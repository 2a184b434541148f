"""Folders become recordings with a fold, a class, or neither."""

from pathlib import Path

import numpy as np
import pytest

from models.recordings import Sources, read_heap, with_generated, without_folds
from schemas.errors import ConfigurationError
from tests.models.sounds import Rows, two_folds, write_folder


def sources(tmp_path: Path) -> Sources:
    """Write data of two folds, three ambiences, and a variety."""
    ambience: Rows = [
        ("wind.wav", "wind", None),
        ("storm.wav", "thunderstorm", None),
        ("hum.wav", "hiss", None),
    ]
    variety: Rows = [("word.wav", "speech", None), ("bark.wav", "ambiguous", None)]
    return Sources(
        two_folds(tmp_path / "data"),
        (write_folder(tmp_path / "ambience", ambience),),
        (write_folder(tmp_path / "variety", variety),),
    )


def test_every_label_of_the_data_is_a_class_and_anything_else_is_background(tmp_path: Path) -> None:
    heap = read_heap(sources(tmp_path))
    assert (heap.classes, heap.folds) == (("hiss", "tone"), (1, 2))
    assert [r.path for r in heap.backgrounds] == ["ambience/wind.wav"]
    assert sum(r.label == "hiss" for r in heap.labelled) == 5
    assert {r.fold for r in heap.variety} == {None}


def test_ambience_is_dealt_out_to_the_folds(tmp_path: Path) -> None:
    heap = read_heap(sources(tmp_path))
    dealt = {r.path: r.fold for r in heap.all if r.path.startswith("ambience/")}
    assert dealt == {"ambience/wind.wav": 1, "ambience/hum.wav": 2}


def test_a_label_that_is_not_asked_for_becomes_background(tmp_path: Path) -> None:
    heap = read_heap(sources(tmp_path), ["tone"])
    assert heap.classes == ("tone",)
    assert all(r.label == "tone" for r in heap.labelled)
    assert sum(r.label == "hiss" for r in heap.backgrounds) == 5


def test_a_class_that_the_data_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="gunshot"):
        read_heap(sources(tmp_path), ["gunshot", "tone"])


def test_a_held_out_fold_takes_nothing_else_with_it(tmp_path: Path) -> None:
    heap = read_heap(sources(tmp_path))
    kept = without_folds(heap.all, (1,))
    assert {r.fold for r in kept} == {2, None}
    assert len(kept) + sum(r.fold == 1 for r in heap.all) == len(heap.all)


def test_generated_sounds_are_written_once_and_in_turn(tmp_path: Path) -> None:
    heap = with_generated(read_heap(sources(tmp_path)), 5, tmp_path / "generated")
    assert [r.label for r in heap.alerts] == ["smoke_alarm", "siren", "smoke_alarm"]
    assert len(heap.generated) == 2
    assert heap.labels == ("hiss", "tone", "smoke_alarm", "siren")
    written = (tmp_path / "generated" / "0.flac").stat().st_mtime_ns
    again = with_generated(heap, 5, tmp_path / "generated")
    assert (tmp_path / "generated" / "0.flac").stat().st_mtime_ns == written
    assert np.array_equal(again.alerts[0].read(), heap.alerts[0].read())


def test_without_generated_sounds_there_are_no_alerts(tmp_path: Path) -> None:
    heap = with_generated(read_heap(sources(tmp_path)), 0, tmp_path / "generated")
    assert heap.labels == heap.classes


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    given = sources(tmp_path)
    other = write_folder(tmp_path / "deeper" / "variety", [("word.wav", "speech", None)])
    with pytest.raises(ConfigurationError, match="different names"):
        read_heap(Sources(given.data, given.ambience, (*given.variety, other)))


def test_the_folder_where_we_are_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two_folds(tmp_path / "data"))
    assert {r.path.split("/")[0] for r in read_heap(Sources(Path())).labelled} == {"data"}


def test_a_source_in_two_folds_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", [("a.wav", "tone", 1), ("b.wav", "tone", 2)])
    (folder / "labels.csv").write_text("path,label,fold,source_id\na.wav,tone,1,7\nb.wav,tone,2,7\n")
    with pytest.raises(ConfigurationError, match="source"):
        read_heap(Sources(folder))


def test_what_is_ambiguous_and_not_asked_for_is_no_background(tmp_path: Path) -> None:
    rows: Rows = [("a.wav", "tone", 1), ("b.wav", "thunderstorm", 1), ("c.wav", "hiss", 1)]
    heap = read_heap(Sources(write_folder(tmp_path / "data", rows)), ["tone"])
    assert [r.path for r in heap.all] == ["data/a.wav", "data/c.wav"]


def test_a_class_of_the_data_stays_one_whatever_it_is_called(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", [("a.wav", "tone", 1), ("b.wav", "thunderstorm", 1)])
    heap = read_heap(Sources(folder))
    assert heap.classes == ("thunderstorm", "tone")
    assert len(heap.labelled) == 2
