"""Fields -> bytes of a frame, whatever the fields claim: what broken and hostile sensors can write.

Written from README and `audio_frame.1.avsc`, not by way of the codec that reads it.
"""

import json
import os
import random
import time
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import soundfile
from fastavro.schema import fingerprint, to_parsing_canonical_form
from numpy.typing import NDArray

SCHEMAS = Path(__file__).parents[2] / "schemas" / "avro"
RATES_HZ = (1_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000, 384_000)
ENCODINGS = ("PCM_S16LE", "PCM_F32LE", "FLAC")
MAX_FLAC_CHANNELS = 8
FLAC_HEADER_BYTES = 42
"""`fLaC`, and a STREAMINFO with its four bytes of header."""

Fields = dict[str, Any]


@cache
def schema(name: str) -> Any:
    """Return a released schema, parsed: `audio_frame`."""
    return fastavro.parse_schema(json.loads((SCHEMAS / f"{name}.1.avsc").read_text("utf-8")))


@cache
def header(name: str) -> bytes:
    """Return how a record begins in Avro's single-object encoding."""
    text = to_parsing_canonical_form(json.loads((SCHEMAS / f"{name}.1.avsc").read_text("utf-8")))
    return b"\xc3\x01" + bytes.fromhex(fingerprint(text, "CRC-64-AVRO"))


def avro(name: str, fields: Fields) -> bytes:
    """Return a record in Avro, framing included, unchecked."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema(name), fields)
    return header(name) + out.getvalue()


def long(value: int) -> bytes:
    """Return one of Avro's whole numbers, of any size: zigzag, seven bits a byte, the lowest first."""
    rest, out = value << 1 if value >= 0 else (-value << 1) - 1, bytearray()
    while rest > 0x7F:
        out.append(0x80 | rest & 0x7F)
        rest >>= 7
    return bytes(out) + bytes([rest])


def numbers(fields: Fields, claimed_bytes: int | None = None) -> bytes:
    """Return a frame whose numbers may be too large for their types, and its data shorter than it claims."""
    names = ("first_sample", "samples", "captured_at_us", "sample_rate_hz", "channels")
    size = len(fields["data"]) if claimed_bytes is None else claimed_bytes
    epoch, data = bytes(fields["epoch"]), bytes(fields["data"])
    body = b"".join(long(fields[name]) for name in names) + long(ENCODINGS.index(fields["encoding"]))
    return header("audio_frame") + epoch + body + long(size) + data


def epoch_at(at_ms: int, r: random.Random) -> bytes:
    """Return a UUIDv7 of a time: 48 bits of milliseconds, version 7, variant 0b10, chance."""
    number = at_ms << 80 | 7 << 76 | r.getrandbits(12) << 64 | 0b10 << 62 | r.getrandbits(62)
    return number.to_bytes(16)


def noise(r: random.Random, samples: int, channels: int) -> NDArray[np.int16]:
    """Return int16[samples, channels]."""
    chance = np.random.default_rng(r.getrandbits(32))
    return chance.integers(-9000, 9000, (samples, channels)).astype(np.int16)


def flac(pcm: NDArray[np.int16], rate_hz: int) -> bytes:
    """Encode int16[samples, channels] as one complete FLAC stream."""
    out = BytesIO()
    soundfile.write(out, pcm, rate_hz, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def streaminfo(stream: bytes, **claimed: int) -> bytes:
    """Write other `rate_hz`, `channels` (less one) or `samples` into a stream's header: 20, 3 and 36 bits."""
    field = int.from_bytes(stream[18:26])
    for name, bits, at in (("rate_hz", 20, 44), ("channels", 3, 41), ("samples", 36, 0)):
        if name in claimed:
            mask = ((1 << bits) - 1) << at
            field = field & ~mask | claimed[name] << at & mask
    return stream[:18] + field.to_bytes(8) + stream[26:]


_DATA: dict[str, Callable[[NDArray[np.int16], int], bytes]] = {
    "PCM_S16LE": lambda pcm, _: bytes(pcm.astype("<i2").tobytes()),
    "PCM_F32LE": lambda pcm, _: bytes((pcm / np.float32(32768)).astype("<f4").tobytes()),
    "FLAC": flac,
}


def good_fields(r: random.Random) -> Fields:
    """Return the fields of a frame that is good in every respect, of any encoding, rate and size."""
    encoding, rate_hz = r.choice(ENCODINGS), r.choice(RATES_HZ)
    channels = r.choice((1, 1, 1, 2, 2, 3, 8, 8 if encoding == "FLAC" else 16))
    samples = r.choice((1, 16, 160, 320, 320, 1000, 1600, 4096))
    now_us = time.time_ns() // 1000
    return {
        "epoch": epoch_at(now_us // 1000, r),
        "first_sample": r.choice((0, 0, 320, 8_000, r.getrandbits(40))),
        "samples": samples,
        "captured_at_us": now_us,
        "sample_rate_hz": rate_hz,
        "channels": channels,
        "encoding": encoding,
        "data": _DATA[encoding](noise(r, samples, channels), rate_hz),
    }


def seed_of(name: str, default: int) -> int:
    """Return a number that the environment may set."""
    return int(os.environ.get(name, default))
