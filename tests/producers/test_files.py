"""Files are read whole or not at all, in bounded blocks."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from producers.source import Block
from producers.sources.files import FileSource, audio_extensions, files_in
from schemas.errors import CaptureError
from tests.producers.conftest import counting

RATE_HZ = 16_000


def write(path: Path, sound: Block, subtype: str | None = None) -> Path:
    soundfile.write(path, sound, RATE_HZ, subtype=subtype)
    return path


def cut_in_half(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.au", "a.w64", "a.rf64", "a.caf"])
def test_sixteen_bit_files_give_exactly_their_samples_in_blocks_no_larger_than_asked(
    tmp_path: Path, name: str
) -> None:
    sound = counting(5000, channels=2)
    source = FileSource(write(tmp_path / name, sound, "PCM_16"), block_samples=999)
    blocks = list(source.blocks())
    assert max(map(len, blocks)) == 999
    assert np.array_equal(np.concatenate(blocks), sound)
    assert (source.sample_rate_hz, source.channels, source.samples) == (RATE_HZ, 2, 5000)


def test_a_source_can_be_played_again_from_its_beginning(tmp_path: Path) -> None:
    source = FileSource(write(tmp_path / "a.wav", counting(100)))
    assert np.array_equal(next(source.blocks()), next(source.blocks()))


def test_float_sound_beyond_full_scale_is_clipped_and_does_not_wrap(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", np.array([1.5, -1.5, 0.25]), RATE_HZ, subtype="FLOAT")
    assert next(FileSource(tmp_path / "loud.wav").blocks())[:, 0].tolist() == [32767, -32768, 8192]


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg"])
def test_lossy_files_give_as_many_samples_as_they_declare(tmp_path: Path, name: str) -> None:
    source = FileSource(write(tmp_path / name, counting(8000)))
    assert sum(map(len, source.blocks())) == source.samples


@pytest.mark.parametrize(
    "name", ["a.wav", "a.flac", "a.aiff", "a.au", "a.w64", "a.rf64", "a.caf", "a.ogg", "a.mp3"]
)
def test_a_file_that_was_cut_off_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    path = cut_in_half(write(tmp_path / name, counting(48_000)))
    with pytest.raises(CaptureError, match=name):
        list(FileSource(path).blocks())


def test_a_recording_that_was_piped_out_with_no_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "piped.wav", counting(100))
    header = bytearray(path.read_bytes())
    header[4:8] = header[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(header)
    assert sum(map(len, FileSource(path).blocks())) == 100


def test_text_named_wav_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("this is not sound\n" * 20)
    with pytest.raises(CaptureError, match=r"notes\.wav: Format not recognised"):
        FileSource(tmp_path / "notes.wav")


def test_a_file_without_samples_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no samples"):
        FileSource(write(tmp_path / "empty.wav", counting(0)))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no such file"):
        FileSource(tmp_path / "missing.wav")


def test_more_channels_or_another_rate_than_a_frame_carries_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="17 channels"):
        FileSource(write(tmp_path / "wide.wav", counting(10, channels=17)))
    soundfile.write(tmp_path / "slow.wav", counting(10), 500)
    with pytest.raises(CaptureError, match="500 Hz"):
        FileSource(tmp_path / "slow.wav")


def test_a_folder_lists_its_sound_in_order_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    wanted = [write(tmp_path / name, counting(1)) for name in ("a.WAV", "b/one.flac", "b/two.ogg", "c.wav")]
    for other in ("notes.txt", ".hidden.wav", "b/readme", "noise.raw"):
        (tmp_path / other).write_text("no sound")
    assert files_in(tmp_path) == wanted
    assert files_in(wanted[0]) == [wanted[0]]


def test_a_folder_without_sound_and_a_missing_path_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="no sound"):
        files_in(tmp_path)
    with pytest.raises(CaptureError, match="no such file or folder"):
        files_in(tmp_path / "nowhere")


def test_the_extensions_are_those_that_libsndfile_can_open() -> None:
    assert {"wav", "flac", "ogg", "mp3", "aiff", "aif"} <= audio_extensions()
    assert "raw" not in audio_extensions()
