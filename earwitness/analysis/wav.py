"""Format and metadata -> the bytes that stand before the samples of a Broadcast Wave file.

    RIFF │ bext │ LIST INFO │ fmt │ (fact) │ data …        up to 4 GiB
    RF64 │ ds64 │ bext │ …                                 beyond

`bext` is version 1 of EBU Tech 3285 (Specification of the Broadcast Wave Format); RF64 and `ds64` are EBU
Tech 3306. Their fields are ASCII. How long the sound is must be known before the first byte is written; its
bytes are always even in number, so that nothing has to follow them.
"""

import struct
from dataclasses import dataclass

from earwitness.analysis.wanted import utc_time

MAX_RIFF_BYTES = (1 << 32) - 1
PCM, IEEE_FLOAT = 1, 3
_BEXT = struct.Struct("<256s32s32s10s8sQH64s190s")
_BEXT_VERSION = 1
_SAMPLES_IN_DS64, _NO_TABLE = 0xFFFF_FFFF, 0
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class WavFormat:
    """What the samples are; `dtype` is int16 or float32."""

    sample_rate_hz: int
    channels: int
    dtype: str
    samples: int

    @property
    def width(self) -> int:
        """Bytes of one value."""
        return 2 if self.dtype == "int16" else 4

    @property
    def data_bytes(self) -> int:
        """Bytes of all values."""
        return self.samples * self.channels * self.width


@dataclass(frozen=True, slots=True)
class WavMetadata:
    """What is said about the sound; `start_us` is the UTC of its first sample."""

    description: str
    originator: str
    reference: str
    start_us: int
    info: dict[str, str]
    """Of the LIST INFO chunk, by four-letter name, such as INAM, ICRD, ICMT."""


def wav_header(form: WavFormat, metadata: WavMetadata, max_riff_bytes: int = MAX_RIFF_BYTES) -> bytes:
    """Return all that stands before the samples; beyond `max_riff_bytes` as RF64."""
    chunks = (
        _chunk(b"bext", _bext(form, metadata))
        + _chunk(b"LIST", b"INFO" + b"".join(_info(n, text) for n, text in metadata.info.items()))
        + _chunk(b"fmt ", _fmt(form))
        + (_chunk(b"fact", struct.pack("<I", min(form.samples, MAX_RIFF_BYTES))) if form.width > 2 else b"")
    )
    riff = len(b"WAVE") + len(chunks) + 8 + form.data_bytes
    if riff <= max_riff_bytes:
        return (
            b"RIFF"
            + struct.pack("<I", riff)
            + b"WAVE"
            + chunks
            + b"data"
            + struct.pack("<I", form.data_bytes)
        )
    sizes = struct.pack("<QQQI", riff + 8 + 28, form.data_bytes, form.samples, _NO_TABLE)
    unknown = struct.pack("<I", _SAMPLES_IN_DS64)
    return b"RF64" + unknown + b"WAVE" + _chunk(b"ds64", sizes) + chunks + b"data" + unknown


def time_reference(start_us: int, sample_rate_hz: int) -> int:
    """Return how many whole samples lie between midnight UTC and the sound's first one."""
    return start_us % _DAY_US * sample_rate_hz // 1_000_000


def _bext(form: WavFormat, metadata: WavMetadata) -> bytes:
    start = utc_time(metadata.start_us)
    coding = "PCM" if form.dtype == "int16" else "PCM-FLOAT"
    mode = {1: "mono", 2: "stereo"}.get(form.channels, "multitrack")
    history = f"A={coding},F={form.sample_rate_hz},W={8 * form.width},M={mode},T={metadata.originator}\r\n"
    fixed = _BEXT.pack(
        _ascii(metadata.description),
        _ascii(metadata.originator),
        _ascii(metadata.reference),
        start.strftime("%Y-%m-%d").encode(),
        start.strftime("%H:%M:%S").encode(),
        time_reference(metadata.start_us, form.sample_rate_hz),
        _BEXT_VERSION,
        bytes(64),
        bytes(190),
    )
    return fixed + _ascii(history)


def _fmt(form: WavFormat) -> bytes:
    frame_bytes = form.channels * form.width
    kind = PCM if form.dtype == "int16" else IEEE_FLOAT
    packed = struct.pack(
        "<HHIIHH",
        kind,
        form.channels,
        form.sample_rate_hz,
        form.sample_rate_hz * frame_bytes,
        frame_bytes,
        8 * form.width,
    )
    return packed if kind == PCM else packed + struct.pack("<H", 0)  # of other kinds: nothing more is said


def _info(name: str, text: str) -> bytes:
    return _chunk(name.encode("ascii"), _ascii(text) + b"\0")


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")
