"""A log in memory, made of real records, for tests of what reads it; and sound to put into it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from processors.log import Only, Record
from schemas.codec import Codec
from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch

CODEC = Codec()
TOPIC, RATE_HZ = "audio.frames", 16_000
BASE_MS = 1_800_000_000_000
FRAME_SAMPLES = RATE_HZ // 50


def noise(samples: int, channels: int = 1, seed: int = 0) -> NDArray[np.int16]:
    """Return sound in which no two places are alike."""
    return np.random.default_rng(seed).integers(-20_000, 20_000, (samples, channels), dtype=np.int16)


@dataclass(slots=True)
class LogInMemory:
    """One partition; what lies before `low` is gone."""

    records: list[Record] = field(default_factory=list)
    low: int = 0
    reads: list[tuple[int, int]] = field(default_factory=list)

    def append(self, key: str, value: bytes, appended_ms: int) -> int:
        """Append a record; return its offset."""
        offset = len(self.records)
        self.records.append(Record(TOPIC, 0, offset, appended_ms, key.encode(), value, ()))
        return offset

    def read(
        self, topic: str, stretches: Mapping[int, tuple[int, int]] | None = None, only: Only | None = None
    ) -> Iterator[Record]:
        """Read as a `LogReader` does."""
        assert topic == TOPIC
        first, end = (stretches or {0: (0, len(self.records))})[0]
        self.reads.append((max(first, self.low), end))
        for record in self.records[max(first, self.low) : max(end, self.low)]:
            if only is None or only(record.key, record.value):
                yield record

    def offsets_at(self, topic: str, time_ms: int) -> dict[int, int]:
        """Return the first offset appended at or after a time."""
        later = (record.offset for record in self.records if record.timestamp >= time_ms)
        return {0: next(later, len(self.records))}

    def limits(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return the first offset that is still there and the one after the last."""
        return {0: (self.low, len(self.records))}


@dataclass(slots=True)
class Sensor:
    """A sensor that numbers its samples; `drift` is how much too fast its clock runs."""

    log: LogInMemory
    name: str = "kitchen"
    rate_hz: int = RATE_HZ
    channels: int = 1
    encoding: Encoding = Encoding.PCM_S16LE
    drift: float = 0.0
    clock_offset_us: int = 0
    epoch: bytes = field(default_factory=new_epoch)
    at: int = 0

    def play(self, sound: NDArray[Any], appended_ms: int | None = None) -> int:
        """Append a frame; return its offset. It is appended when its last sample was heard, or when said."""
        first, self.at = self.at, self.at + len(sound)
        time_us = BASE_MS * 1000 + round(self.at * 1e6 / self.rate_hz)
        captured_us = time_us + self.clock_offset_us + round(self.at * 1e6 / self.rate_hz * self.drift)
        frame = AudioFrame(
            self.epoch,
            first,
            len(sound),
            captured_us,
            self.rate_hz,
            self.channels,
            self.encoding,
            self._data(sound),
        )
        return self.log.append(self.name, CODEC.encode(frame), appended_ms or time_us // 1000)

    def pause(self, samples: int) -> None:
        """Number samples that never arrive."""
        self.at += samples

    def restart(self) -> None:
        """Begin a new epoch."""
        self.epoch, self.at = new_epoch(self.epoch), 0

    def _data(self, sound: NDArray[Any]) -> bytes:
        if self.encoding is not Encoding.FLAC:
            return sound.tobytes()
        out = BytesIO()
        soundfile.write(out, sound, self.rate_hz, format="FLAC", subtype="PCM_16")
        return out.getvalue()
