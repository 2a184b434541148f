"""Lists of labels, groups and thresholds say which columns a label has, or are refused with their line."""

from pathlib import Path

import pytest

from models.foreign_labels import read_groups, read_labels, read_thresholds, reported
from schemas.errors import ConfigurationError

NAMES = ("Siren", "Ambulance (siren)", "Rain", "Dog")


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "Siren\nAmbulance (siren)\nRain\nDog\n"),
        ("l.txt", "\ufeffSiren\r\nAmbulance (siren)\r\nRain\r\nDog"),
        ("l.csv", "label\nSiren\nAmbulance (siren)\nRain\nDog\n"),
        ("l.csv", "index,mid,display_name\n0,/a,Siren\n1,/b,Ambulance (siren)\n2,/c,Rain\n3,/d,Dog\n"),
        ("l.csv", "index,name\n3,Dog\n2,Rain\n1,Ambulance (siren)\n0,Siren\n"),
    ],
)
def test_labels_are_read_in_the_order_of_their_columns(tmp_path: Path, name: str, text: str) -> None:
    assert read_labels(written(tmp_path / name, text)) == NAMES


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.txt", "", "0 labels'; accepted: 1 to 4096"),
        ("l.txt", "a\n" * 5000, "5000 labels'; accepted: 1 to 4096"),
        ("l.txt", "a\nb\na\n", "'a'\"; accepted: names that are not empty, each once"),
        ("l.txt", "a\n\nb\n", "names that are not empty, each once"),
        ("l.csv", "mid\n/a\n", "accepted: a first line that names a column display_name, label, name"),
        ("l.csv", "index,name\n0,a\n2,b\n", "index'; accepted: 0 to 1, each once"),
        ("l.csv", "index,name\n0,a\n0,b\n", "index'; accepted: 0 to 1, each once"),
        ("l.csv", "label,mid\na\n", "and every line complete"),
        ("l.csv", 'label\n"a\n', "accepted: a CSV file"),
    ],
)
def test_labels_that_do_not_name_columns_are_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_labels(written(tmp_path / name, text))


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a file that can be read: No such file"):
        read_labels(tmp_path / "l.txt")
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="text in UTF-8"):
        read_labels(tmp_path / "l.txt")
    (tmp_path / "l.txt").write_bytes(b"a" * (5 << 20))
    with pytest.raises(ConfigurationError, match="a file of at most 4194304 bytes"):
        read_labels(tmp_path / "l.txt")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("g.csv", "label,member\nsiren,Siren\nrain,Rain\nsiren,Ambulance (siren)\n"),
        ("g.toml", 'siren = ["Siren", "Ambulance (siren)"]\nrain = ["Rain"]\n'),
    ],
)
def test_groups_are_the_same_from_either_file(tmp_path: Path, name: str, text: str) -> None:
    groups = read_groups(written(tmp_path / name, text))
    assert groups == {"siren": ("Siren", "Ambulance (siren)"), "rain": ("Rain",)}
    assert reported(NAMES, groups, ()) == {"siren": (0, 1), "rain": (2,)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("g.csv", "label,member\n", "a CSV file with the columns label, member"),
        ("g.csv", "label,class\na,b\n", "a CSV file with the columns label, member"),
        ("g.csv", "label,member\na,Rain\na,Rain\n", "both, and every pair once"),
        ("g.csv", "label,member\n,Rain\n", "both, and every pair once"),
        ("g.toml", "", "at least one group"),
        ("g.toml", 'siren = "Siren"', "lines like siren ="),
        ("g.toml", "siren = [1]", "lines like siren ="),
        ("g.toml", "siren = [", "lines like siren ="),
    ],
)
def test_groups_that_say_nothing_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_groups(written(tmp_path / name, text))


def test_without_groups_everything_is_reported_or_what_is_wanted() -> None:
    assert reported(NAMES, None, ()) == {name: (at,) for at, name in enumerate(NAMES)}
    assert reported(NAMES, None, ("Dog", "Siren")) == {"Dog": (3,), "Siren": (0,)}


def test_what_is_wanted_may_be_a_group_or_a_label_of_the_model_and_groups_go_first() -> None:
    groups = {"Siren": ("Siren", "Ambulance (siren)"), "wet": ("Rain",)}
    assert reported(NAMES, groups, ("Siren", "Dog")) == {"Siren": (0, 1), "Dog": (3,)}


@pytest.mark.parametrize(
    ("groups", "wanted", "message"),
    [
        ({"siren": ("Sirene",)}, (), "members of siren is 'Sirene'; .* perhaps 'Siren'"),
        (None, ("rain",), "--report is 'rain'; .* perhaps 'Rain'"),
        (None, ("qqqqqq",), "--report is 'qqqqqq'; accepted: what the model or a group is called$"),
    ],
)
def test_what_the_model_does_not_have_is_refused_with_what_is_near(
    groups: dict[str, tuple[str, ...]] | None, wanted: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        reported(NAMES, groups, wanted)


def test_thresholds_are_read_by_label(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "label,threshold\nsiren,0.3\nrain,1\n")
    assert read_thresholds(path) == {"siren": 0.3, "rain": 1.0}


@pytest.mark.parametrize("line", ["siren,0", "siren,1.1", "siren,nan", "siren,high", "rain,0.5"])
def test_a_threshold_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "t.csv", f"label,threshold\nrain,0.4\n{line}\n")
    with pytest.raises(ConfigurationError, match="more than 0, at most 1, and every label once"):
        read_thresholds(path)
