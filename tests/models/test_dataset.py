"""labels.csv is read as it stands, or refused with the line and what would do."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from models.dataset import MOST_SAMPLES, cut_windows, read_labels, read_pcm
from schemas.errors import ConfigurationError


def folder(tmp_path: Path, table: str, *recordings: str) -> Path:
    """Write a table, and a tenth of a second of noise for each recording."""
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 1600)
    for name in recordings:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, noise, 16_000)
    return tmp_path


def write_sparse(file: Path, channels: int, frames: int) -> None:
    """Write a header of 8-bit samples at 48 kHz, and a hole in the file where they would be."""
    size, rate_hz = channels * frames, 48_000
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, rate_hz * channels, channels, 8)
    header = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)
    file.write_bytes(header)
    os.truncate(file, len(header) + size)


def test_a_row_tells_path_label_fold_licence_and_source(tmp_path: Path) -> None:
    table = (
        "path,label,fold,licence,url,seconds\na/1.wav,drill,3,CC0,https://example.org/1,0.1\nb.wav,saw,,,,\n"
    )
    one, two = read_labels(folder(tmp_path, table, "a/1.wav", "b.wav"))
    assert (one.path, one.label, one.fold, one.licence) == ("a/1.wav", "drill", 3, "CC0")
    assert (one.source, one.file) == ("https://example.org/1", tmp_path / "a/1.wav")
    assert (two.fold, two.licence, two.source) == (None, "", "b.wav")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("path,fold\na.wav,1\n", "label is missing"),
        ("path,label\n", "a table with a recording in it"),
        ("path,label\na.wav,\n", "a label for every recording"),
        ("path,label\n../a.wav,saw\n", "a path inside the folder"),
        ("path,label\n/etc/passwd,saw\n", "a path inside the folder"),
        ("path,label\nnone.wav,saw\n", "a file in"),
        ("path,label,fold\na.wav,saw,first\n", "a fold that is a whole number"),
        ("path,label,fold\na.wav,saw,1.5\n", "a fold that is a whole number"),
        ("path,label,fold\na.wav,saw,inf\n", "a fold that is a whole number"),
        ("path,label,fold\na.wav,saw,nan\n", "a fold that is a whole number"),
        ("path,label,fold\na.wav,saw,-1\n", "a fold from 0 up"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_labels(folder(tmp_path, table, "a.wav"))


def test_folds_as_pandas_writes_them_beside_rows_without_one_are_whole_numbers(tmp_path: Path) -> None:
    one, two = read_labels(folder(tmp_path, "path,label,fold\na.wav,saw,2.0\nb.wav,saw,\n", "a.wav", "b.wav"))
    assert (one.fold, two.fold) == (2, None)


def test_a_recording_of_which_resampling_leaves_nothing_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", np.array([0.5]), 48_000)
    with pytest.raises(ConfigurationError, match="at least one sample at 16000 Hz"):
        read_pcm(tmp_path / "click.wav")


def test_the_line_of_a_wrong_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="line 3"):
        read_labels(folder(tmp_path, "path,label\na.wav,saw\nb.wav,\n", "a.wav"))


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"labels\.csv"):
        read_labels(tmp_path)


def test_a_recording_is_mixed_down_and_resampled(tmp_path: Path) -> None:
    time_s = np.arange(48_000) / 48_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone, np.zeros_like(tone)], axis=1), 48_000)
    pcm = read_pcm(tmp_path / "stereo.wav")
    assert pcm.dtype == np.int16
    assert pcm.size == 16_000
    spectrum = np.abs(np.fft.rfft(pcm))
    assert spectrum.argmax() == 440
    assert np.abs(pcm[1000:-1000]).max() == pytest.approx(0.25 * 32767, rel=0.01)


def test_played_faster_it_is_shorter_and_higher(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000), 16_000)
    pcm = read_pcm(tmp_path / "tone.wav", speed=1.25)
    assert pcm.size == 12_800
    assert np.abs(np.fft.rfft(pcm)).argmax() * 16_000 / pcm.size == pytest.approx(550, abs=2)


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF, and then nothing")
    with pytest.raises(ConfigurationError, match="a recording that can be read"):
        read_pcm(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("length", "starts"), [(3, [0]), (10, [0]), (14, [0]), (15, [0, 5]), (25, [0, 5, 10, 15])]
)
def test_windows_start_every_hop_and_a_short_recording_is_padded(length: int, starts: list[int]) -> None:
    windows = cut_windows(np.arange(1, length + 1, dtype=np.int16), 10, 5)
    assert windows[:, 0].tolist() == [start + 1 for start in starts]
    assert windows.shape[1] == 10
    assert windows[0, min(length, 10) :].tolist() == [0] * max(0, 10 - length)


def test_a_recording_that_is_in_the_table_twice_is_refused_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"line 4 is \W*\./a\.wav.*every recording once"):
        read_labels(folder(tmp_path, "path,label\na.wav,saw\nb.wav,saw\n./a.wav,drill\n", "a.wav", "b.wav"))


@pytest.mark.parametrize("sound", [np.zeros(0), np.array([0.1, np.nan]), np.array([0.1, -np.inf])])
def test_a_recording_without_finite_samples_is_refused(tmp_path: Path, sound: NDArray[np.float64]) -> None:
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    with pytest.raises(ConfigurationError, match=r"a\.wav.*finite samples, at least one"):
        read_pcm(tmp_path / "a.wav")


def test_a_recording_that_says_it_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    write_sparse(tmp_path / "wide.wav", channels=200, frames=MOST_SAMPLES // 200 + 1)
    with pytest.raises(ConfigurationError, match=rf"wide\.wav.*at most {MOST_SAMPLES} samples"):
        read_pcm(tmp_path / "wide.wav")
