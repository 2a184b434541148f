"""Folders of recordings: made of files that the tests write, and of one small package that is fetched."""

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from infra.local.debian import fetch_packages
from infra.local.errors import MissingToolError, ServerStartError
from infra.local.sound_packages import (
    AMBIGUOUS,
    SOUND,
    SPEECH,
    TRAINING,
    Collection,
    SoundPackage,
)
from infra.local.sounds import RATE_HZ, TABLE, collect, make, read_excerpts, stretches

PACKAGE = SoundPackage("a-game", "GPL-2+", "games/a-game")
needs_debian = pytest.mark.skipif(
    not Path("/var/lib/dpkg/status").exists(), reason="not a Debian, so it has no packages of Debian's"
)


def write_tone(file: Path, seconds: float = 1.0, pitch_hz: float = 440.0, rate_hz: int = 44_100) -> Path:
    """Write a stereo recording: the tone on the left, silence on the right."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(int(seconds * rate_hz)) / rate_hz)
    soundfile.write(file, np.stack([tone, np.zeros_like(tone)], axis=1), rate_hz)
    return file


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def game(tmp_path: Path) -> Path:
    """Where a-game lies, in what was unpacked."""
    return tmp_path / "unpacked" / "usr" / "share" / "games" / "a-game"


def made(tmp_path: Path, *packages: SoundPackage) -> tuple[Path, str]:
    tally = make(packages or (PACKAGE,), tmp_path / "unpacked", tmp_path / "made")
    return tmp_path / "made", str(tally)


def test_a_recording_becomes_mono_16_khz_flac_with_its_licence_and_where_it_comes_from(
    tmp_path: Path, game: Path
) -> None:
    write_tone(game / "sounds" / "door.wav", seconds=0.5)
    folder, _ = made(tmp_path)
    assert rows_of(folder) == [
        {
            "path": "a-game/00000.flac",
            "label": SOUND,
            "licence": "GPL-2+",
            "source_id": "debian:a-game:usr/share/games/a-game/sounds/door.wav",
        }
    ]
    info = soundfile.info(folder / "a-game" / "00000.flac")
    assert (info.format, info.subtype, info.channels, info.samplerate) == ("FLAC", "PCM_16", 1, RATE_HZ)
    assert info.frames == 0.5 * RATE_HZ


def test_channels_are_averaged(tmp_path: Path) -> None:
    (pcm,) = read_excerpts(write_tone(tmp_path / "tone.wav"))
    middle = pcm[RATE_HZ // 4 : -RATE_HZ // 4].astype(float)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(32768 * 0.25 / np.sqrt(2), rel=0.01)


def test_what_cannot_be_read_is_passed_over_and_counted(tmp_path: Path, game: Path) -> None:
    write_tone(game / "good.wav")
    (game / "broken.ogg").write_bytes(b"not a recording")
    (game / "readme.txt").write_text("not one either")
    folder, told = made(tmp_path)
    assert len(rows_of(folder)) == 1
    assert "1 unreadable" in told


def test_what_is_short_silent_or_there_already_is_left_out_and_counted(tmp_path: Path, game: Path) -> None:
    first = write_tone(game / "a.wav")
    shutil.copy(first, game / "b.wav")
    write_tone(game / "click.wav", seconds=0.2)
    soundfile.write(game / "empty.wav", np.zeros(0), RATE_HZ)
    soundfile.write(game / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    folder, told = made(tmp_path)
    assert [row["source_id"].rpartition("/")[2] for row in rows_of(folder)] == ["a.wav"]
    assert "3 shorter than 0.3 s or silent, 1 that were there already" in told


def test_links_are_not_followed(tmp_path: Path, game: Path) -> None:
    write_tone(game / "a.wav")
    elsewhere = write_tone(tmp_path / "elsewhere.wav", pitch_hz=300.0)
    (game / "b.wav").symlink_to(elsewhere)
    folder, _ = made(tmp_path)
    assert len(rows_of(folder)) == 1


def test_what_is_long_is_cut_to_three_excerpts_of_one_source(tmp_path: Path, game: Path) -> None:
    write_tone(game / "music" / "theme.wav", seconds=100.0, rate_hz=8_000)
    sweep = np.linspace(-0.5, 0.5, 100 * 8_000)
    soundfile.write(game / "music" / "theme.wav", sweep, 8_000)
    folder, told = made(tmp_path)
    rows = rows_of(folder)
    assert len({row["path"] for row in rows}) == 3
    assert len({row["source_id"] for row in rows}) == 1
    assert {soundfile.info(folder / row["path"]).duration for row in rows} == {20.0}
    assert told.startswith("3 music (0.02 h)")


#        0    20        40   60        80   100 s
#        |     [ 20…40 ) [ 40…60 ) [ 60…80 ) |
def test_excerpts_lie_evenly_apart() -> None:
    assert stretches(100 * 8_000, 8_000) == [
        (20 * 8_000, 160_000),
        (40 * 8_000, 160_000),
        (60 * 8_000, 160_000),
    ]
    assert stretches(60 * 8_000, 8_000) == [(0, 480_000)]
    assert stretches(100 * 8_000, 8_000, whole=True) == [(0, 800_000)]


def test_a_package_of_spoken_words_is_speech_whatever_they_say(tmp_path: Path, game: Path) -> None:
    write_tone(game / "dog.wav")
    folder, _ = made(tmp_path, SoundPackage("a-game", "GPL-2+", "games/a-game", SPEECH))
    assert [row["label"] for row in rows_of(folder)] == [SPEECH]


def test_files_of_doubtful_name_are_ambiguous(tmp_path: Path, game: Path) -> None:
    write_tone(game / "sound001.wav")
    folder, _ = made(tmp_path, SoundPackage("a-game", "GPL-2+", "games/a-game", SPEECH, doubtful=r"sound\d"))
    assert [row["label"] for row in rows_of(folder)] == [AMBIGUOUS]


def test_a_pattern_and_a_stride_choose_the_files(tmp_path: Path, game: Path) -> None:
    for number in range(5):
        write_tone(game / "cs" / f"{number}.wav", pitch_hz=300.0 + number)
        write_tone(game / "nl" / f"{number}.wav", pitch_hz=400.0 + number)
    folder, _ = made(tmp_path, SoundPackage("a-game", "GPL-2+", "games/a-game", SPEECH, "^cs/", every=2))
    assert [row["source_id"].split("a-game/")[1] for row in rows_of(folder)] == [
        "cs/0.wav",
        "cs/2.wav",
        "cs/4.wav",
    ]


def test_a_folder_that_is_made_again_is_replaced(tmp_path: Path, game: Path) -> None:
    write_tone(game / "a.wav")
    made(tmp_path)
    (game / "a.wav").unlink()
    write_tone(game / "b.wav", pitch_hz=300.0)
    folder, _ = made(tmp_path)
    assert [row["source_id"].rpartition("/")[2] for row in rows_of(folder)] == ["b.wav"]
    assert [file.name for file in (folder / "a-game").iterdir()] == ["00000.flac"]


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "letter.txt").write_text("dear")
    with pytest.raises(ServerStartError, match="theirs is there already"):
        collect(Collection.HELD_OUT, tmp_path / "theirs")
    assert (tmp_path / "theirs" / "letter.txt").read_text() == "dear"


def test_a_machine_without_apt_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARWITNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"apt-get install .*sonic-pi-samples.*apt-get is not on this"):
        collect(Collection.HELD_OUT)
    assert not (tmp_path / "sounds" / "held-out").exists()


@pytest.fixture(scope="module")
def theme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a small real package was unpacked."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EARWITNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield fetch_packages("theme", "sound-theme-freedesktop")


@needs_debian
def test_a_real_package_yields_sounds_and_keeps_its_alarms_apart(theme: Path, tmp_path: Path) -> None:
    package = next(package for package in TRAINING if package.name == "sound-theme-freedesktop")
    tally = make([package], theme, tmp_path / "made")
    labels = {Path(row["source_id"]).name: row["label"] for row in rows_of(tmp_path / "made")}
    assert labels["alarm-clock-elapsed.oga"] == AMBIGUOUS
    assert labels["phone-incoming-call.oga"] == SOUND
    assert tally.unreadable == 0
    assert os.listdir(tmp_path) == ["made"]
