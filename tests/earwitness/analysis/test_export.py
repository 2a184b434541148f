"""Which files are written, what they are called, and that none is half of one."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from wavinfo import WavInfoReader

from earwitness.analysis.asked import AskedTime
from earwitness.analysis.export import Exporter, Request, Written
from earwitness.analysis.piece import TimeCut, WholeFrames
from earwitness.analysis.sound import SoundReader, Whereabouts
from earwitness.analysis.target import Form, Target, check_target, part_of
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
    where = Whereabouts(TOPIC, 0, "kitchen", 0, len(log.records) - 1, 2000)
    return [written.file for written in exporter.sound(Request([where], WholeFrames(), []))]


@pytest.mark.parametrize(("name", "form"), ENDINGS)
def test_the_ending_of_a_name_decides_what_is_written(name: str, form: Form) -> None:
    target = Target.named(Path("/tmp") / name)  # noqa: S108 - nothing is written there
    assert target.form is form
    assert target.file().name == name
    assert target.file(2).name == f"{target.stem}-2{name.removeprefix(target.stem)}"


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
        check_target("--out", tmp_path / "a.jpg", (".png",), force=False)


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


def four_seconds(tmp_path: Path, low: int, margin_s: float = 0.0, above: int = 0) -> Written:
    """Export a detection of seconds 1 to 5 of 6, of which the frames before `low` are gone."""
    log, sound = LogInMemory(), noise(6 * 16_000)
    sensor = Sensor(log)
    for part in np.split(sound, 6):
        sensor.play(part)
    log.low = low
    del log.records[above or 6 :]
    found = detected(1, 5, epoch=sensor.epoch)
    exporter = Exporter(SoundReader(log, CODEC), [Target.named(tmp_path / "a.wav")])
    (written,) = exporter.around(found, margin_s, [found])
    first, end = written.content["first_sample"], written.content["end_sample"]
    assert isinstance(first, int)
    np.testing.assert_array_equal(
        soundfile.read(written.file, dtype="int16", always_2d=True)[0], sound[first:end]
    )
    return written


@pytest.mark.parametrize("margin_s", [0.0, 1.0])
def test_a_detection_whose_first_half_retention_removed_is_not_whole_and_says_so(
    tmp_path: Path, margin_s: float
) -> None:
    # detection      1├───────┤5
    # in the log         3├──────┤6
    written = four_seconds(tmp_path, low=3, margin_s=margin_s)
    assert "NOT WHOLE: missing 2.000 s before it" in written.as_line()
    told = json.loads(WavInfoReader(str(written.file)).info.comment)
    assert (told["missing_before_samples"], told["missing_samples"], told["missing_after_samples"]) == (
        32_000,
        0,
        0,
    )


def test_a_detection_whose_end_is_not_in_the_log_is_not_whole(tmp_path: Path) -> None:
    written = four_seconds(tmp_path, low=0, above=4)
    assert "NOT WHOLE: missing 1.000 s after it" in written.as_line()
    assert written.content["missing_after_samples"] == 16_000


def test_a_margin_that_is_not_there_leaves_a_detection_whole(tmp_path: Path) -> None:
    written = four_seconds(tmp_path, low=1, margin_s=2.0)
    assert written.as_line().endswith("5.000 s at 16000 Hz, whole")


def test_a_detection_of_which_another_sensors_frames_are_left_is_refused(tmp_path: Path) -> None:
    log = LogInMemory()
    sensor = Sensor(log)
    sensor.play(noise(16_000))
    log.append("other", b"", BASE_MS + 1000)
    log.low = 1
    exporter = Exporter(SoundReader(log, CODEC), [Target.named(tmp_path / "a.wav")])
    with pytest.raises(ConfigurationError, match=r"audio\.frames\[0\]@0 to 1"):
        list(exporter.around(detected(0, 1, epoch=sensor.epoch), 1.0, []))
    assert not list(tmp_path.iterdir())


def test_a_time_that_has_no_sound_at_its_edges_and_between_two_epochs_says_so(tmp_path: Path) -> None:
    # asked     ├────────────────────────┤   from 1 s before the sound to 2 s after it
    # epochs       ├────┤   ├────┤           half a second apart
    log = LogInMemory()
    sensor = Sensor(log)
    sensor.play(noise(16_000, seed=1))
    sensor.restart()
    sensor.clock_offset_us = 1_500_000
    sensor.play(noise(16_000, seed=2))
    begin_us, end_us = BASE_MS * 1000 - 1_000_000, BASE_MS * 1000 + 4_500_000
    exporter = Exporter(SoundReader(log, CODEC), [Target.named(tmp_path / "a.wav")])
    where = Whereabouts(TOPIC, 0, "kitchen", 0, 1, 2000)
    asked = AskedTime(begin_us, end_us)
    first, second = exporter.sound(Request([where], TimeCut(begin_us, end_us), [], asked))
    assert edges(first) == pytest.approx((16_000, 0), abs=2)
    assert edges(second) == pytest.approx((8000, 32_000), abs=2)
    assert exporter.heard_us == pytest.approx(2_000_000, abs=200)


def edges(written: Written) -> tuple[object, object]:
    return written.content["missing_before_samples"], written.content["missing_after_samples"]


def test_where_nobody_can_say_what_is_missing_at_the_edges_nothing_is_called_whole(tmp_path: Path) -> None:
    log = two_epochs()
    exporter = Exporter(SoundReader(log, CODEC), [Target.named(tmp_path / "a.wav")])
    where = Whereabouts(TOPIC, 0, "kitchen", 0, 1, 2000)
    written, _ = exporter.sound(Request([where], WholeFrames(), []))
    assert edges(written) == (None, None)
    assert written.as_line().endswith("nothing missing in it")


def test_a_file_that_cannot_be_written_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigurationError, match="File name too long"),
        part_of(tmp_path / ("a" * 300)) as part,
    ):
        part.write_bytes(b"some")
    with pytest.raises(ConfigurationError, match="a file, which this is not"):
        check_target("--out", tmp_path, ("",), force=True)
    assert not list(tmp_path.iterdir())
