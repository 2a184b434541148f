"""The lists of packages keep apart what is measured on and what is trained on, and names tell labels."""

import itertools
import re
from pathlib import Path

import pytest

from infra.local.sound_packages import (
    AMBIGUOUS,
    HELD_OUT,
    MUSIC,
    PACKAGES,
    SOUND,
    SPEECH,
    TRAINING,
    suggested_label,
)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("animals/Dog2.wav", AMBIGUOUS),
        ("Sounds/WolfHowl.wav", AMBIGUOUS),
        ("sounds/BarkGrowl.ogg", AMBIGUOUS),
        ("wav/helicopter_engine.wav", AMBIGUOUS),
        ("Human/BabyCry.mp3", AMBIGUOUS),
        ("weather/rain.ogg", AMBIGUOUS),
        ("music/thunderstorm.ogg", AMBIGUOUS),
        ("alarm-clock-elapsed.oga", AMBIGUOUS),
        ("RailTrain1.wav", SOUND),
        ("brain.wav", SOUND),
        ("crowd/crowd03.wav", SOUND),
        ("remember.wav", SOUND),
        ("sticky.wav", SOUND),
        ("music/theme.ogg", MUSIC),
        ("Instruments/Trumpet1.wav", MUSIC),
        ("voices/yessir.ogg", SPEECH),
        ("DoorCreak.wav", SOUND),
    ],
)
def test_a_name_that_suggests_a_class_is_no_negative(path: str, label: str) -> None:
    assert suggested_label(path) == label


def test_what_is_measured_on_and_what_is_trained_on_share_no_package() -> None:
    measured, trained = ({package.name for package in packages} for packages in (HELD_OUT, TRAINING))
    assert measured
    assert trained
    assert not measured & trained


def test_no_file_is_taken_twice_from_a_package() -> None:
    for packages in PACKAGES.values():
        for one, other in itertools.combinations(packages, 2):
            if one.name == other.name:
                assert one.folder != other.folder or one.pattern != other.pattern


def test_what_lies_in_the_folder_of_another_package_is_not_taken_twice() -> None:
    for packages in PACKAGES.values():
        for outer, inner in itertools.permutations(packages, 2):
            if inner.folder.startswith(f"{outer.folder}/"):
                path = f"{inner.folder.removeprefix(f'{outer.folder}/')}/theme.ogg"
                assert not re.search(outer.pattern, path), (outer.name, inner.name)


@pytest.mark.parametrize(
    ("name", "label"), [("Beach.ogg", AMBIGUOUS), ("foxrun.ogg", AMBIGUOUS), ("a.ogg", MUSIC)]
)
def test_music_that_is_named_after_a_class_is_no_negative(tmp_path: Path, name: str, label: str) -> None:
    package = next(one for one in TRAINING if one.name == "extremetuxracer-data")
    assert package.label_of(tmp_path / "usr" / "share" / package.folder / name, tmp_path) == label


def test_every_licence_allows_changes_and_sale() -> None:
    licences = [package.licence for packages in PACKAGES.values() for package in packages]
    assert all(licences)
    assert not [licence for licence in licences if "NC" in licence or "ND" in licence]
