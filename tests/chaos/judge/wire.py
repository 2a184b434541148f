"""Bytes -> what they say, by the schema files: frames with their samples, detections, coverage, dead letters.

Only Avro's single-object encoding is read: `c3 01`, the schema's CRC-64-AVRO fingerprint, the record.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import soundfile
from fastavro.schema import fingerprint, to_parsing_canonical_form
from numpy.typing import NDArray

from tests.chaos.judge.topic import Logged, Place

Pcm = NDArray[np.int16]
Fields = Mapping[str, Any]

SCHEMAS = Path(__file__).parents[3] / "schemas" / "avro"
TICK = "earwitness-tick"
ERRORS = "__streams.errors."
HEADER_BYTES, FULL_SCALE = 10, 32_768
RATES_HZ, MAX_CHANNELS, MAX_VALUES, MAX_KEY_BYTES = (1_000, 384_000), 16, 1 << 20, 256
MAX_SAMPLE, MAX_TIME_US = 1 << 62, 253_402_300_799_999_999
_UNREADABLE = (EOFError, LookupError, TypeError, ValueError, OverflowError, struct.error, RuntimeError)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame that can be read: samples `[first, end)` of an epoch, int16 mono."""

    partition: int
    offset: int
    appended_ms: int
    sensor: str
    epoch: bytes
    first: int
    end: int
    captured_us: int
    rate_hz: int
    channels: int
    pcm: Pcm

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.partition, self.offset


def is_tick(record: Logged) -> bool:
    """Say whether a record only brings the broker's clock into the log."""
    return record.key is None and record.value is None and any(name == TICK for name, _ in record.headers)


def frame_of(record: Logged) -> Frame | None:
    """Read a frame; None where it cannot be read, or says what no frame may say."""
    try:
        fields = fields_of("audio_frame", record.value)
        sensor = (record.key or b"").decode()
        pcm = _mono(fields) if _is_sound(fields) and _is_sensor(sensor) else None
    except _UNREADABLE:
        return None
    if pcm is None:
        return None
    return Frame(
        partition=record.partition,
        offset=record.offset,
        appended_ms=record.appended_ms,
        sensor=sensor,
        epoch=fields["epoch"],
        first=fields["first_sample"],
        end=fields["first_sample"] + fields["samples"],
        captured_us=fields["captured_at_us"],
        rate_hz=fields["sample_rate_hz"],
        channels=fields["channels"],
        pcm=pcm,
    )


def fields_of(name: str, value: bytes | None) -> dict[str, Any]:
    """Return the fields of a record of one kind.

    Raises:
        ValueError, and what fastavro raises: it is no such record.

    """
    header, schema = _schema(name)
    if value is None or value[:HEADER_BYTES] != header:
        raise ValueError(f"it is no {name}")
    body = BytesIO(value[HEADER_BYTES:])
    fields = fastavro.schemaless_reader(body, schema, None)
    if body.read(1) or not isinstance(fields, dict):
        raise ValueError(f"more than a {name}")
    return fields


def letter_place(record: Logged) -> tuple[str, int, int]:
    """Return topic, partition and offset of the record that a dead letter is.

    Raises:
        ValueError, KeyError: its headers do not say so.

    """
    said = {name.removeprefix(ERRORS): x or b"" for name, x in record.headers if name.startswith(ERRORS)}
    return said["topic"].decode(), int(said["partition"]), int(said["offset"])


@cache
def _schema(name: str) -> tuple[bytes, Any]:
    """Return the header and the parsed form of the one released version of a schema."""
    (file,) = SCHEMAS.glob(f"{name}.*.avsc")
    schema = json.loads(file.read_text("utf-8"))
    crc = bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
    return b"\xc3\x01" + crc, fastavro.parse_schema(schema)


def _is_sensor(sensor: str) -> bool:
    return 0 < len(sensor.encode()) <= MAX_KEY_BYTES and sensor.isprintable()


def _is_sound(fields: Fields) -> bool:
    """Say whether the numbers of a frame are within what is accepted."""
    epoch, values = fields["epoch"], fields["samples"] * fields["channels"]
    return bool(
        epoch[6] >> 4 == 7
        and epoch[8] >> 6 == 0b10
        and RATES_HZ[0] <= fields["sample_rate_hz"] <= RATES_HZ[1]
        and 1 <= fields["channels"] <= MAX_CHANNELS
        and fields["samples"] > 0
        and values <= MAX_VALUES
        and 0 <= fields["first_sample"] <= MAX_SAMPLE
        and 0 <= fields["captured_at_us"] <= MAX_TIME_US
    )


def _mono(fields: Fields) -> Pcm | None:
    """Return int16[samples]: floats rounded half to even and clipped, then channels averaged likewise."""
    shape = fields["samples"], fields["channels"]
    if fields["encoding"] == "FLAC":
        values = _from_flac(fields)
    elif fields["encoding"] == "PCM_S16LE":
        values = np.frombuffer(fields["data"], "<i2")
    else:
        floats = np.frombuffer(fields["data"], "<f4")
        if not np.isfinite(floats).all():
            return None
        with np.errstate(over="ignore"):
            scaled = np.rint(floats * np.float32(FULL_SCALE))
        values = scaled.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    values = values.reshape(shape)
    return values[:, 0] if shape[1] == 1 else np.rint(values.mean(axis=1)).astype(np.int16)


def _from_flac(fields: Fields) -> Pcm:
    """Return int16[samples, channels] of a whole FLAC stream that is what its frame says."""
    data, claimed = fields["data"], (fields["samples"], fields["channels"], fields["sample_rate_hz"])
    if not data.startswith(b"fLaC") or len(data) > 4 * MAX_VALUES:
        raise ValueError("no FLAC stream")
    with soundfile.SoundFile(BytesIO(data)) as stream:
        if (stream.format, stream.frames, stream.channels, stream.samplerate) != ("FLAC", *claimed):
            raise ValueError("not the stream that the frame says")
        values: Pcm = stream.read(fields["samples"], dtype="int16", always_2d=True)
    return values
