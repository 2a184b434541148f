"""Broadcast Wave headers, read back by programs that know nothing of ours."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from wavinfo import WavInfoReader

from earwitness.analysis.wav import WavFormat, WavMetadata, time_reference, wav_header

START_US = 1_800_000_000_123_456
DAY_US = 86_400_000_000


def metadata(start_us: int = START_US) -> WavMetadata:
    info = {"INAM": "siren heard by kitchen", "ICRD": "2027-01-15T08:00:00.123456Z", "ICMT": '{"a": 1}'}
    return WavMetadata("siren, 厨房", "Earwitness", "0123456789abcdef" * 2, start_us, info)


def written(tmp_path: Path, values: np.ndarray, rate_hz: int, max_riff_bytes: int = 1 << 32) -> Path:
    file = tmp_path / "heard.wav"
    form = WavFormat(rate_hz, values.shape[1], values.dtype.name, len(values))
    file.write_bytes(wav_header(form, metadata(), max_riff_bytes) + values.tobytes())
    return file


def some(dtype: str, channels: int) -> np.ndarray:
    values = np.random.default_rng(0).integers(-32768, 32767, (1001, channels))
    return values.astype(np.int16) if dtype == "int16" else (values / 32768).astype(np.float32)


@pytest.mark.parametrize("max_riff_bytes", [1 << 32, 1000], ids=["RIFF", "RF64"])
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(("dtype", "subtype"), [("int16", "PCM_16"), ("float32", "FLOAT")])
def test_libsndfile_reads_the_same_samples(
    tmp_path: Path, dtype: str, subtype: str, channels: int, max_riff_bytes: int
) -> None:
    values = some(dtype, channels)
    file = written(tmp_path, values, 44_100, max_riff_bytes)
    info = soundfile.info(str(file))
    assert (info.subtype, info.samplerate, info.channels, info.frames) == (subtype, 44_100, channels, 1001)
    assert info.format in ("WAV", "RF64")
    assert (info.format == "RF64") == (max_riff_bytes == 1000)
    np.testing.assert_array_equal(soundfile.read(file, dtype=dtype, always_2d=True)[0], values)


@pytest.mark.parametrize("max_riff_bytes", [1 << 32, 1000], ids=["RIFF", "RF64"])
def test_wavinfo_reads_the_fields_of_bext_and_info(tmp_path: Path, max_riff_bytes: int) -> None:
    read = WavInfoReader(str(written(tmp_path, some("int16", 2), 48_000, max_riff_bytes)))
    assert read.bext.description == "siren, ??"
    assert (read.bext.originator, read.bext.originator_ref) == ("Earwitness", "0123456789abcdef" * 2)
    assert (read.bext.originator_date, read.bext.originator_time) == ("2027-01-15", "08:00:00")
    assert read.bext.time_reference == (8 * 3600 * 48_000) + 123_456 * 48_000 // 1_000_000
    assert read.bext.version == 1
    assert read.bext.coding_history.strip() == "A=PCM,F=48000,W=16,M=stereo,T=Earwitness"
    assert read.info.title == "siren heard by kitchen"
    assert read.info.created_date == "2027-01-15T08:00:00.123456Z"
    assert json.loads(read.info.comment) == {"a": 1}
    assert read.data.frame_count == 1001


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe on this machine")
@pytest.mark.parametrize("max_riff_bytes", [1 << 32, 1000], ids=["RIFF", "RF64"])
def test_ffprobe_reads_the_time_reference(tmp_path: Path, max_riff_bytes: int) -> None:
    file = written(tmp_path, some("float32", 1), 16_000, max_riff_bytes)
    asked = ["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", str(file)]
    told = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    tags = told["format"]["tags"]
    assert (tags["date"], tags["creation_time"]) == ("2027-01-15T08:00:00.123456Z", "08:00:00")
    assert int(tags["time_reference"]) == time_reference(START_US, 16_000)
    assert told["streams"][0]["codec_name"] == "pcm_f32le"


def test_sound_of_more_than_4_gib_is_rf64_without_being_asked_for() -> None:
    assert wav_header(WavFormat(48_000, 1, "int16", 1 << 30), metadata())[:4] == b"RIFF"
    assert wav_header(WavFormat(48_000, 1, "int16", 1 << 31), metadata())[:4] == b"RF64"


@given(st.integers(0, 4_000_000_000_000_000), st.integers(1000, 384_000))
def test_the_time_reference_is_less_than_a_sample_early_and_never_of_the_next_day(
    start_us: int, rate_hz: int
) -> None:
    reference = time_reference(start_us, rate_hz)
    assert 0 <= reference < 86_400 * rate_hz
    early = start_us % DAY_US * rate_hz - reference * 1_000_000
    assert 0 <= early < 1_000_000
