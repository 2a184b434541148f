"""A frames topic -> which of its records are frames and which are dead letters, by README's rules alone.

None of the worker's code: values are read with fastavro against the released schema, and who is live is kept
in the plainest way. A FLAC stream with the length and the MD5 that it claims is whole, and a frame if it is
what its frame says. Whether a damaged one can still be decoded is the decoder's to say: of those either is
right, and what was said of one decides what follows it.
"""

import struct
from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from math import isfinite
from typing import Any

import fastavro

from tests.fuzz import forge
from tests.fuzz.streams import Sound, whole
from tests.integration.harness import Appended

IDLE_MS, MAX_GAP_S, MAX_FRAME_S = 5_000, 10, 66
MAX_SAMPLE, MAX_VALUES, MAX_TIME_US = 1 << 62, 1 << 20, 253_402_300_799_999_999
_BYTES = {"PCM_S16LE": 2, "PCM_F32LE": 4}

Place = tuple[int, int]
"""A partition and an offset."""


class Verdict(StrEnum):
    """What a record of the frames topic is."""

    FRAME = "frame"
    LETTER = "dead letter"
    EITHER = "as its damaged FLAC stream is"
    TICK = "tick"


@dataclass(slots=True)
class _Sensor:
    last_ms: int
    epoch: bytes
    rate_hz: int
    channels: int
    expected: int


def judge(log: Iterable[Appended], letters: Set[Place]) -> dict[Place, Verdict]:
    """Judge every record of a frames topic, in order; `letters` tells how EITHER was taken."""
    verdicts: dict[Place, Verdict] = {}
    sensors: dict[tuple[int, bytes], _Sensor] = {}
    for record in log:
        place = record.partition, record.offset
        frame, verdict = _alone(record)
        refused = verdict is Verdict.EITHER and place in letters
        if frame is not None and not refused and not _in_its_place(sensors, record, frame):
            verdict = Verdict.LETTER
        verdicts[place] = verdict
    return verdicts


def _alone(record: Appended) -> tuple[dict[str, Any] | None, Verdict]:
    """Judge a record without those before it."""
    if record.key is None and record.value is None and any(n == "earwitness-tick" for n, _ in record.headers):
        return None, Verdict.TICK
    frame = _decoded(record.value or b"")
    if frame is None or not _within_limits(frame) or not _names_a_sensor(record.key):
        return None, Verdict.LETTER
    data, values = frame["data"], frame["samples"] * frame["channels"]
    if frame["encoding"] == "FLAC":
        verdict = _stream(frame)
        return (None if verdict is Verdict.LETTER else frame), verdict
    good = len(data) == values * _BYTES[frame["encoding"]]
    if good and frame["encoding"] == "PCM_F32LE":
        good = all(map(isfinite, struct.unpack(f"<{values}f", data)))
    return (frame, Verdict.FRAME) if good else (None, Verdict.LETTER)


def _stream(frame: dict[str, Any]) -> Verdict:
    data, claimed = frame["data"], Sound(frame["samples"], frame["channels"], frame["sample_rate_hz"])
    if not data.startswith(b"fLaC") or len(data) <= forge.FLAC_HEADER_BYTES:
        return Verdict.LETTER
    sound = whole(data)
    if sound is None:
        return Verdict.EITHER
    return Verdict.FRAME if sound == claimed else Verdict.LETTER


def _decoded(value: bytes) -> dict[str, Any] | None:
    if not value.startswith(forge.header("audio_frame")):
        return None
    body = BytesIO(value[len(forge.header("audio_frame")) :])
    try:
        frame: Any = fastavro.schemaless_reader(body, forge.schema("audio_frame"), None)
    except (EOFError, ValueError, IndexError, OverflowError):
        return None
    return frame if not body.read(1) else None


def _within_limits(frame: dict[str, Any]) -> bool:
    epoch = frame["epoch"]
    return (
        1_000 <= frame["sample_rate_hz"] <= 384_000
        and 1 <= frame["channels"] <= 16
        and 1 <= frame["samples"] * frame["channels"] <= MAX_VALUES
        and frame["samples"] <= MAX_FRAME_S * frame["sample_rate_hz"]
        and 0 <= frame["first_sample"] <= MAX_SAMPLE
        and 0 <= frame["captured_at_us"] <= MAX_TIME_US
        and (epoch[6] >> 4, epoch[8] >> 6) == (7, 2)
    )


def _names_a_sensor(key: bytes | None) -> bool:
    try:
        return key is not None and 1 <= len(key) <= 256 and key.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _in_its_place(sensors: dict[tuple[int, bytes], _Sensor], record: Appended, frame: dict[str, Any]) -> bool:
    """Say whether a frame may follow what its sensor sent before (the first rule), and note it if so."""
    of = record.partition, record.key or b""
    first, end = frame["first_sample"], frame["first_sample"] + frame["samples"]
    rate_hz, channels = frame["sample_rate_hz"], frame["channels"]
    sensor = sensors.get(of)
    live = sensor is not None and record.appended_ms - sensor.last_ms <= IDLE_MS
    if sensor is not None and live and frame["epoch"] <= sensor.epoch:
        if frame["epoch"] < sensor.epoch or (rate_hz, channels) != (sensor.rate_hz, sensor.channels):
            return False
        if -MAX_GAP_S * rate_hz <= first - sensor.expected < 0:
            return True  # late: it changes nothing
    sensors[of] = _Sensor(record.appended_ms, frame["epoch"], rate_hz, channels, end)
    return True
