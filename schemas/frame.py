"""AudioFrame: one message of the frames topic, a run of samples of one sensor.

The sensor's id is the Kafka key; everything else is in the value. All limits on what may come from outside
stand here and are checked before anything is allocated in proportion to what a record claims.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from schemas.errors import InvalidFrameError

EPOCH_BYTES = 16
UUID_VERSION, UUID_VARIANT = 7, 0b10
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 1_000, 384_000
MAX_CHANNELS = 16
MAX_VALUES = 1 << 20
"""Samples times channels in one frame: 65 s at 16 kHz mono, 2 MiB once decoded to int16."""
MAX_FRAME_S = 66
"""As long as so many values last at 16 kHz: FLAC of silence could hold hours in a few bytes, and every window
of them would be cut and scored."""
MAX_DATA_BYTES = 4 * MAX_VALUES
MAX_SAMPLE = 1 << 62
MAX_TIME_US = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z, the last microsecond that calendars agree to print."""
MAX_SENSOR_BYTES = 256


class Encoding(StrEnum):
    """How `data` holds the samples; interleaved by channel."""

    PCM_S16LE = "PCM_S16LE"
    PCM_F32LE = "PCM_F32LE"
    FLAC = "FLAC"
    """One complete FLAC stream per frame."""


_BYTES_PER_VALUE = {Encoding.PCM_S16LE: 2, Encoding.PCM_F32LE: 4}
_ENCODINGS = {encoding.value: encoding for encoding in Encoding}


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """A run of `samples` samples per channel that starts at `first_sample` of an epoch.

    `captured_at_us` is the sensor's clock (UTC, microseconds since 1970) when its last sample was read.

    Raises:
        InvalidFrameError: a field is outside what is accepted.

    """

    NAME: ClassVar[str] = "audio_frame"

    epoch: bytes
    first_sample: int
    samples: int
    captured_at_us: int
    sample_rate_hz: int
    channels: int
    encoding: Encoding
    data: bytes

    def __post_init__(self) -> None:
        # One test for the good frames, which most are; `_refuse_if_wrong` finds the reason for the others.
        if not (
            len(self.epoch) == EPOCH_BYTES
            and self.epoch[6] >> 4 == UUID_VERSION
            and self.epoch[8] >> 6 == UUID_VARIANT
            and self.encoding is Encoding.PCM_S16LE
            and len(self.data) == 2 * self.samples * self.channels
            and 0 < self.samples * self.channels <= MAX_VALUES
            and 0 < self.channels <= MAX_CHANNELS
            and MIN_SAMPLE_RATE_HZ <= self.sample_rate_hz <= MAX_SAMPLE_RATE_HZ
            and self.samples <= MAX_FRAME_S * self.sample_rate_hz
            and 0 <= self.first_sample <= MAX_SAMPLE
            and 0 <= self.captured_at_us <= MAX_TIME_US
        ):
            self._refuse_if_wrong()

    def _refuse_if_wrong(self) -> None:
        _check_epoch(self.epoch)
        _check_range("sample_rate_hz", self.sample_rate_hz, MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ)
        _check_range("channels", self.channels, 1, MAX_CHANNELS)
        most = min(MAX_VALUES // self.channels, MAX_FRAME_S * self.sample_rate_hz)
        _check_range("samples", self.samples, 1, most)
        _check_range("first_sample", self.first_sample, 0, MAX_SAMPLE)
        _check_range("captured_at_us", self.captured_at_us, 0, MAX_TIME_US)
        self._check_data()

    def _check_data(self) -> None:
        size, width = len(self.data), _BYTES_PER_VALUE.get(self.encoding)
        if width is None:
            _check_range("data", size, 1, MAX_DATA_BYTES, " bytes")
        elif size != self.samples * self.channels * width:
            raise InvalidFrameError(
                "data",
                f"{size} bytes",
                f"{self.samples * self.channels * width} bytes, for {self.samples} samples of "
                f"{self.channels} channels in {self.encoding}",
            )

    @property
    def end_sample(self) -> int:
        """The sample after this frame's last one."""
        return self.first_sample + self.samples

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        """Build a frame from decoded Avro fields."""
        encoding = _ENCODINGS.get(fields["encoding"])
        if encoding is None:
            raise InvalidFrameError("encoding", fields["encoding"], ", ".join(_ENCODINGS))
        fields["encoding"] = encoding
        return cls(**fields)


def sensor_of(key: bytes | None) -> str:
    """Read a sensor's id from a record's key.

    Raises:
        InvalidFrameError: the key is missing, too long, not UTF-8, or holds characters that do not print.

    """
    accepted = f"1 to {MAX_SENSOR_BYTES} bytes of printable UTF-8"
    if not key or len(key) > MAX_SENSOR_BYTES:
        raise InvalidFrameError("key", key, accepted)
    try:
        sensor = key.decode()
    except UnicodeDecodeError as exc:
        raise InvalidFrameError("key", key, accepted) from exc
    if not sensor.isprintable():
        raise InvalidFrameError("key", key, accepted)
    return sensor


def _check_epoch(epoch: bytes) -> None:
    if len(epoch) != EPOCH_BYTES or epoch[6] >> 4 != UUID_VERSION or epoch[8] >> 6 != UUID_VARIANT:
        raise InvalidFrameError("epoch", epoch.hex(), "the 16 bytes of a UUID of version 7")


def _check_range(field: str, value: int, lowest: int, highest: int, unit: str = "") -> None:
    if not lowest <= value <= highest:
        raise InvalidFrameError(field, f"{value}{unit}", f"{lowest} to {highest}{unit}")
