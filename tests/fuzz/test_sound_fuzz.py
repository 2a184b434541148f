"""Sound files from anybody: what they declare to hold, or one error that names them; in bounded memory."""

import os
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from threading import Event

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earwitness.opening import SoundOptions, open_sound
from producers.source import Source
from producers.sources.container import ContainerSource
from producers.sources.files import FileSource, files_in
from producers.sources.folder import open_file
from schemas.errors import CaptureError
from schemas.frame import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ
from tests.integration.harness import command

EXAMPLES = int(os.environ.get("EARWITNESS_FUZZ_EXAMPLES", "25"))
RATE_HZ, SAMPLES = 16_000, 6_000
HEADER_BYTES = 64
MOST_BYTES = 32 << 20
"""What reading a file may take, however much sound it holds or claims."""
BOUNDED = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sound(form: str, subtype: str | None = None, samples: int = SAMPLES, channels: int = 1) -> bytes:
    out = BytesIO()
    at = np.arange(samples * channels).reshape(-1, channels) / RATE_HZ
    soundfile.write(out, 0.4 * np.sin(2 * np.pi * 440 * at), RATE_HZ, format=form, subtype=subtype)
    return out.getvalue()


GOOD = {
    "wav": sound("WAV", "PCM_16"),
    "flac": sound("FLAC", "PCM_16"),
    "ogg": sound("OGG", "VORBIS"),
    "opus": sound("OGG", "OPUS"),
    "aiff": sound("AIFF", "PCM_24"),
    "mp3": sound("MP3"),
    "w64": sound("W64", "FLOAT"),
    "caf": sound("CAF", "ALAC_16"),
    "au": sound("AU", "ULAW"),
    "rf64": sound("RF64", "PCM_16"),
    "voc": sound("VOC", "PCM_16"),
}
kinds = st.sampled_from(sorted(GOOD))
extremes = st.sampled_from(
    [b"\x00", b"\xff", b"\x7f", b"\xff" * 4, b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x80" * 8]
)


def plays(file: Path, open_: Callable[[Path], Source] = open_file) -> bool:
    """Read a file to its end; say whether it is sound."""
    since_kib = getrusage(RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    refused: CaptureError | None = None
    try:
        _check(open_(file))
    except CaptureError as exc:
        refused = exc
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < MOST_BYTES
    assert getrusage(RUSAGE_SELF).ru_maxrss - since_kib < 8 * MOST_BYTES / 1024  # what libraries take in C
    if refused is not None:
        assert str(file) in str(refused)
    return refused is None


def _check(source: Source) -> None:
    assert MIN_SAMPLE_RATE_HZ <= source.sample_rate_hz <= MAX_SAMPLE_RATE_HZ
    assert 1 <= source.channels <= MAX_CHANNELS
    for block in source.blocks():
        assert block.dtype == np.int16
        assert block.shape[1] == source.channels


def as_file(directory: Path, kind: str, data: bytes) -> Path:
    file = directory / f"any.{kind}"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_what_the_others_are_made_of_plays(tmp_path: Path, kind: str) -> None:
    assert plays(as_file(tmp_path, kind, GOOD[kind]))


@BOUNDED
@given(kinds, st.lists(st.tuples(st.integers(0, HEADER_BYTES), st.binary(max_size=4) | extremes), max_size=4))
def test_a_file_with_any_header_plays_or_is_named(
    tmp_path: Path, kind: str, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(GOOD[kind])
    for at, put in changes:
        data[at : at + len(put)] = put
    plays(as_file(tmp_path, kind, bytes(data)))


@BOUNDED
@given(kinds, st.floats(0, 1), st.binary(max_size=20))
def test_a_file_that_is_cut_off_anywhere_plays_or_is_named(
    tmp_path: Path, kind: str, kept: float, more: bytes
) -> None:
    good = GOOD[kind]
    plays(as_file(tmp_path, kind, good[: int(kept * len(good))] + more))


@BOUNDED
@given(kinds, st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6))
def test_a_file_with_any_bytes_in_it_plays_or_is_named(
    tmp_path: Path, kind: str, changes: list[tuple[float, bytes]]
) -> None:
    data = bytearray(GOOD[kind])
    for where, put in changes:
        at = int(where * len(data))
        data[at : at + len(put)] = put
    plays(as_file(tmp_path, kind, bytes(data)))


@BOUNDED
@given(st.sampled_from(["wav", "flac", "ogg", "mp3", "mp4", "mkv", "aiff"]), st.binary(max_size=300))
def test_any_bytes_under_the_name_of_sound_are_named(tmp_path: Path, kind: str, data: bytes) -> None:
    plays(as_file(tmp_path, kind, data))


@BOUNDED
@given(
    kinds,
    st.sampled_from(sorted(GOOD)),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=4)), max_size=3),
)
def test_a_file_under_another_name_and_read_by_ffmpeg_plays_or_is_named(
    tmp_path: Path, kind: str, named: str, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(GOOD[kind])
    for at, put in changes:
        data[at : at + len(put)] = put
    plays(as_file(tmp_path, named, bytes(data)))
    plays(as_file(tmp_path, named, bytes(data)), ContainerSource)


def wav(channels: int = 1, rate_hz: int = RATE_HZ, bits: int = 16, size: int | None = None) -> bytes:
    """Return a WAV file that claims what it is told to."""
    data = bytes(2000)
    claimed = len(data) if size is None else size
    block = channels * bits // 8
    form = (1).to_bytes(2, "little") + channels.to_bytes(2, "little") + rate_hz.to_bytes(4, "little")
    form += (rate_hz * block % 2**32).to_bytes(4, "little") + (block % 2**16).to_bytes(2, "little")
    form += bits.to_bytes(2, "little")
    chunks = b"WAVEfmt " + len(form).to_bytes(4, "little") + form
    chunks += b"data" + claimed.to_bytes(4, "little") + data
    return b"RIFF" + (len(chunks) + claimed - len(data)).to_bytes(4, "little", signed=False) + chunks


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        wav(channels=0),
        wav(channels=17),
        wav(channels=65_535),
        wav(rate_hz=0),
        wav(rate_hz=1),
        wav(rate_hz=2**32 - 1),
        wav(bits=0),
        wav(bits=65_535),
        wav(size=0),
        wav(size=10**9),
    ],
    ids=[
        "empty",
        "magic",
        "0 ch",
        "17 ch",
        "65535 ch",
        "0 Hz",
        "1 Hz",
        "4 GHz",
        "0 bit",
        "65535 bit",
        "0 B",
        "1 GB",
    ],
)
def test_a_wav_file_that_claims_what_cannot_be_is_named(tmp_path: Path, data: bytes) -> None:
    assert not plays(as_file(tmp_path, "wav", data))


@pytest.mark.parametrize("claimed", [2**36 - 1, 2**35, SAMPLES + 1])
def test_a_flac_file_that_claims_more_than_it_holds_is_named(tmp_path: Path, claimed: int) -> None:
    data = GOOD["flac"]
    field = int.from_bytes(data[18:26])
    lying = data[:18] + (field >> 36 << 36 | claimed).to_bytes(8) + data[26:]
    assert not plays(as_file(tmp_path, "flac", lying))


def test_a_flac_bomb_is_read_in_bounded_memory(tmp_path: Path) -> None:
    out = BytesIO()
    soundfile.write(out, np.zeros(10_000_000, np.int16), RATE_HZ, format="FLAC", subtype="PCM_16")
    assert len(out.getvalue()) < 200_000
    assert plays(as_file(tmp_path, "flac", out.getvalue()))


def test_a_packed_bomb_is_no_sound(tmp_path: Path) -> None:
    assert not plays(as_file(tmp_path, "flac", zlib.compress(bytes(50_000_000))))


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder with what is no file: a pipe, a loop, a way to endless zeros, a folder with a file's name."""
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "zeros.wav").symlink_to("/dev/zero")
    (tmp_path / "folder.wav").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ["zeros.wav", "loop.wav", "folder.wav", "missing.wav", ".", "x" * 5000])
def test_what_is_no_file_is_named_and_not_read(odd: Path, name: str) -> None:
    for open_ in (
        lambda path: files_in(path),
        lambda path: open_sound(str(path), SoundOptions(), Event()),
        lambda path: FileSource(path),
    ):
        with pytest.raises(CaptureError) as refused:
            open_(odd / name)
        assert str(odd / name) in str(refused.value)


@pytest.mark.parametrize("open_", [files_in, FileSource], ids=["scan", "file"])
def test_a_pipe_is_no_recording(odd: Path, open_: Callable[[Path], object]) -> None:
    with pytest.raises(CaptureError, match=r"pipe\.wav"):
        open_(odd / "pipe.wav")


@pytest.mark.timeout(120)
def test_scan_names_every_file_that_is_no_sound_and_says_so_by_its_exit_code(tmp_path: Path) -> None:
    broken = {"empty.wav": b"", "lies.wav": wav(size=10**9), "noise.flac": bytes(range(256)) * 10}
    broken |= {f"cut.{kind}": GOOD[kind][: len(GOOD[kind]) // 3] for kind in ("flac", "wav", "aiff")}
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(command("scan", str(tmp_path)), capture_output=True, timeout=100, text=True)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == len(broken), done.stderr
    assert all(any(str(tmp_path / name) in line for line in lines) for name in broken)


@pytest.mark.timeout(120)
def test_capture_names_a_file_that_is_no_sound(tmp_path: Path) -> None:
    (tmp_path / "noise.flac").write_bytes(bytes(range(256)) * 10)
    told = [
        "capture",
        str(tmp_path / "noise.flac"),
        "--sensor",
        "s",
        "-s",
        "kafka.bootstrap_servers=127.0.0.1:9",
    ]
    done = subprocess.run(command(*told), capture_output=True, timeout=100, text=True)
    assert done.returncode == 1, done.stderr
    assert f"cannot capture from {tmp_path / 'noise.flac'}" in done.stderr
    assert "Traceback" not in done.stderr
