"""A FLAC stream -> what it holds, if it is whole: its samples have the length and the MD5 of its header.

A damaged one may be decoded or not: that is the decoder's to say, and nothing is said of it here.
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO

import soundfile

from tests.fuzz import forge

_MOST_SAMPLES, _BITS = 1 << 20, 16
_STREAMINFO = b"\0\0\x22"
"""How the length of a STREAMINFO begins the stream, after `fLaC` and the kind of block."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What a stream holds."""

    samples: int
    channels: int
    rate_hz: int


def whole(stream: bytes) -> Sound | None:
    """Return what an undamaged stream of 16 bits holds, or None where it is damaged or of another kind."""
    if len(stream) <= forge.FLAC_HEADER_BYTES or stream[5:8] != _STREAMINFO or stream[4] & 0x7F:
        return None
    field = int.from_bytes(stream[18:26])
    samples, channels = field & (1 << 36) - 1, (field >> 41 & 7) + 1
    if (field >> 36 & 31) + 1 != _BITS or not 0 < samples * channels <= _MOST_SAMPLES:
        return None
    try:
        pcm, _ = soundfile.read(BytesIO(stream), dtype="int16", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError):
        return None
    as_told = hashlib.md5(pcm.astype("<i2").tobytes(), usedforsecurity=False).digest() == stream[26:42]
    return Sound(samples, channels, field >> 44) if as_told and pcm.shape == (samples, channels) else None
