"""Recordings -> a pool of mono int16 clips at one rate, and the endless sequence that one sensor plays."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from producers.source import FULL_SCALE, Source, to_int16
from producers.sources.files import FileSource
from schemas.errors import CaptureError, ConfigurationError
from schemas.frame import MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording: `samples` is int16[n]; `label` says what sounds in it, None where nothing does."""

    name: str
    label: str | None
    samples: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Placement:
    """A clip plays during `[first_sample, end_sample)` of a sensor's epoch."""

    first_sample: int
    end_sample: int
    clip: str
    label: str | None


class ClipPool:
    """Clips of one rate, decoded once.

    Raises:
        ConfigurationError: there is no clip.

    """

    def __init__(self, clips: Sequence[Clip], sample_rate_hz: int) -> None:
        _check_rate(sample_rate_hz)
        playable = [clip for clip in clips if len(clip.samples)]
        if not playable:
            raise ConfigurationError("clips", [clip.name for clip in clips], "at least one clip with sound")
        self.clips, self.sample_rate_hz = tuple(playable), sample_rate_hz
        self._data = tuple(clip.samples.astype("<i2", copy=False).tobytes() for clip in self.clips)

    @classmethod
    def read(
        cls, paths: Iterable[Path], sample_rate_hz: int, labels: Mapping[Path, str] | None = None
    ) -> "ClipPool":
        """Decode files, average their channels, resample them to the pool's rate.

        Raises:
            CaptureError: a file cannot be read.
            ConfigurationError: there is no file.

        """
        named = labels or {}
        clips = [Clip(path.name, named.get(path), mono(FileSource(path), sample_rate_hz)) for path in paths]
        return cls(clips, sample_rate_hz)

    def draw(self, rng: np.random.Generator) -> int:
        """Draw the index of a clip."""
        return int(rng.integers(len(self.clips)))

    def data(self, index: int) -> bytes:
        """Return a clip as PCM_S16LE."""
        return self._data[index]


def _check_rate(sample_rate_hz: int) -> None:
    if not MIN_SAMPLE_RATE_HZ <= sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
        accepted = f"{MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ}"
        raise ConfigurationError("sample_rate_hz", sample_rate_hz, accepted)


def mono(source: Source, sample_rate_hz: int) -> NDArray[np.int16]:
    """Read a whole source as `int16[n]` at another rate; what the channels differ by is averaged away.

    Raises:
        CaptureError: the source cannot be read, or is too short to be heard at this rate.
        ConfigurationError: no frame can have such a rate.

    """
    _check_rate(sample_rate_hz)
    blocks = [block.mean(axis=1) / FULL_SCALE for block in source.blocks()]
    sound = np.concatenate(blocks) if blocks else np.empty(0)
    resampled = soxr.resample(sound, source.sample_rate_hz, sample_rate_hz)
    if not len(resampled):
        raise CaptureError(source.name, f"nothing is left of it at {sample_rate_hz} Hz")
    return to_int16(resampled)


def drawn(pool: ClipPool, seed: int, sensor_index: int) -> Iterator[int]:
    """Draw the clips that a sensor plays, one after another, without end."""
    rng = np.random.default_rng((seed, sensor_index))
    while True:
        yield pool.draw(rng)


def plan(pool: ClipPool, seed: int, sensor_index: int, samples: int) -> Iterator[Placement]:
    """Say which clip plays at which of a sensor's first samples; the last one is cut where they end."""
    first_sample = 0
    for index in drawn(pool, seed, sensor_index):
        if first_sample >= samples:
            return
        clip = pool.clips[index]
        end_sample = min(first_sample + len(clip.samples), samples)
        yield Placement(first_sample, end_sample, clip.name, clip.label)
        first_sample += len(clip.samples)


class Playlist:
    """What one sensor plays: drawn clips, joined without a gap, as PCM_S16LE."""

    def __init__(self, pool: ClipPool, seed: int, sensor_index: int) -> None:
        self._pool, self._drawn = pool, drawn(pool, seed, sensor_index)
        self._data, self._at = b"", 0

    def read(self, samples: int) -> bytes:
        """Return the next samples."""
        start, end = self._at, self._at + 2 * samples
        self._at = end
        if end <= len(self._data):
            return self._data[start:end]
        return self._read_across(start, end)

    def _read_across(self, start: int, end: int) -> bytes:
        parts = []
        while end > len(self._data):
            parts.append(self._data[start:])
            start, end = 0, end - len(self._data)
            self._data = self._pool.data(next(self._drawn))
        self._at = end
        return b"".join((*parts, self._data[:end]))
