"""Which files are written, what they are called, and that none is half of one."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earwitness.analysis.export import Exporter, Form, Target, check_file
from earwitness.analysis.piece import WholeFrames
from earwitness.analysis.sound import Place, SoundReader
from schemas.errors import ConfigurationError
from tests.earwitness.analysis.said import detected
from tests.earwitness.analysis.sounds import BASE_MS, CODEC, TOPIC, LogInMemory, Sensor, noise

ENDINGS = [
    ("a.selections.txt", Form.RAVEN),
    ("a.txt", Form.AUDACITY),
    ("a.WAV", Form.WAV),
    ("a.b.flac", Form.FLAC),
    ("a.parquet", Form.PARQUET),
    ("a.csv", Form.CSV),
    ("a.jsonl", Form.JSONL),
]


def two_epochs(rate_hz: int = 16_000) -> LogInMemory:
    log = LogInMemory()
    sensor = Sensor(log, rate_hz=rate_hz)
    sensor.play(noise(rate_hz, seed=1))
    sensor.restart()
    sensor.play(noise(rate_hz, seed=2))
    return log


def export(log: LogInMemory, *files: Path, force: bool = False) -> list[Path]:
    exporter = Exporter(SoundReader(log, CODEC), [Target.named(file) for file in files], force=force)
    place = Place(TOPIC, 0, "kitchen", 0, len(log.records) - 1, 2000)
    return [written.file for written in exporter.sound([(place, WholeFrames())], [])]


@pytest.mark.parametrize(("name", "form"), ENDINGS)
def test_the_ending_of_a_name_decides_what_is_written(name: str, form: Form) -> None:
    target = Target.named(Path("/tmp") / name)  # noqa: S108 - nothing is written there
    assert target.form is form
    assert target.file(2).name == f"{target.stem}-2{form}"


@pytest.mark.parametrize("name", ["a.mp3", "a", ".wav", ""])
def test_other_names_are_refused_with_those_that_are_accepted(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\.wav"):
        Target.named(Path(name))


def test_every_stretch_has_a_file_and_the_second_is_numbered(tmp_path: Path) -> None:
    files = export(two_epochs(), tmp_path / "a.wav", tmp_path / "a.flac")
    assert [file.name for file in files] == ["a.wav", "a.flac", "a-2.wav", "a-2.flac"]
    for file, seed in zip(files, (1, 1, 2, 2), strict=True):
        np.testing.assert_array_equal(
            soundfile.read(file, dtype="int16", always_2d=True)[0], noise(16_000, seed=seed)
        )


def test_a_file_that_is_there_is_left_alone_unless_told_otherwise(tmp_path: Path) -> None:
    there = tmp_path / "a-2.wav"
    there.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match=r"a-2\.wav.*--force"):
        export(two_epochs(), tmp_path / "a.wav")
    assert there.read_bytes() == b"mine"
    (tmp_path / "a.wav").unlink()
    export(two_epochs(), tmp_path / "a.wav", force=True)
    assert there.read_bytes()[:4] == b"RIFF"


def test_what_flac_cannot_hold_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="FLAC for 1 channels at 70001 Hz"):
        export(two_epochs(70_001), tmp_path / "a.flac")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    log = two_epochs()
    with pytest.raises(ConfigurationError, match="a folder that exists"):
        export(log, tmp_path / "none" / "a.wav")
    assert not log.reads
    with pytest.raises(ConfigurationError, match=r"\.png"):
        check_file(tmp_path / "a.jpg", (".png",), force=False)


def test_a_detection_whose_sound_begins_before_the_epoch_does_is_cut_to_it(tmp_path: Path) -> None:
    log, sound = LogInMemory(), noise(48_000)
    sensor = Sensor(log)
    offsets = [sensor.play(part) for part in np.split(sound, 3)]
    found = detected(0, 1, epoch=sensor.epoch)
    exporter = Exporter(SoundReader(log, CODEC), [Target.named(tmp_path / "a.wav")])
    (written,) = exporter.around(found, 1.5, [found])
    told = json.loads(json.dumps(written.content))
    assert (told["first_sample"], told["end_sample"]) == (0, 40_000)
    assert (told["first_offset"], told["last_offset"]) == (offsets[0], offsets[2])
    assert told["detection"]["id"] == found.id
    assert "2.500 s at 16000 Hz, whole" in written.as_line()
    assert told["start_utc"].startswith(str(np.datetime64(BASE_MS, "ms"))[:19])
