"""AudioFrame -> samples as sent or int16 mono, and their level: rules that the decision digest names."""

from io import BytesIO
from math import log10
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from schemas.coverage import Level
from schemas.errors import InvalidFrameError, MalformedRecordError
from schemas.frame import AudioFrame, Encoding

Pcm = NDArray[np.int16]

FULL_SCALE = 32768
FLAC_MARK = b"fLaC"
_LOWEST, _HIGHEST = -32768, 32767


def mono(frame: AudioFrame) -> Pcm:
    """Decode a frame to int16[samples]: channels averaged, float rounded half to even and clipped.

    Raises:
        InvalidFrameError: a float is not finite, or a FLAC stream is not what the frame says it is.
        MalformedRecordError: the data are not a FLAC stream.

    """
    if frame.channels == 1 and frame.encoding is Encoding.PCM_S16LE:  # most frames: as quickly as can be
        return np.frombuffer(frame.data, "<i2")  # int16 on every machine that we run on
    values = samples(frame)
    if frame.encoding is Encoding.PCM_F32LE:
        with np.errstate(over="ignore"):  # far beyond full scale is infinite here, and clipped
            values = _round(values * np.float32(FULL_SCALE))
    if frame.channels > 1:
        values = np.rint(values.mean(axis=1, dtype=np.float64)).astype(np.int16)
    pcm: Pcm = values.reshape(-1)
    return pcm


def samples(frame: AudioFrame) -> NDArray[Any]:
    """Decode a frame to what was sent, `[samples, channels]`: int16, or float32 where it came as floats.

    Raises:
        InvalidFrameError: a float is not finite, or a FLAC stream is not what the frame says it is.
        MalformedRecordError: the data are not a FLAC stream.

    """
    if frame.encoding is Encoding.FLAC:
        return _from_flac(frame)
    if frame.encoding is Encoding.PCM_S16LE:
        return np.frombuffer(frame.data, "<i2").reshape(-1, frame.channels)
    values = np.frombuffer(frame.data, "<f4")
    if not np.isfinite(values).all():
        raise InvalidFrameError("data", "a float that is not finite", "finite floats, full scale 1.0")
    return values.reshape(-1, frame.channels)


def resample(pcm: Pcm, rate_hz: int, model_rate_hz: int, length: int) -> Pcm:
    """Bring one window to the model's rate, alone, cropped or zero-padded to int16[length]."""
    if rate_hz != model_rate_hz:
        # Through float: soxr dithers its int16 output, and a window must not depend on chance.
        pcm = _round(soxr.resample(pcm.astype(np.float32), rate_hz, model_rate_hz, quality="HQ"))
    if len(pcm) < length:
        return np.pad(pcm, (0, length - len(pcm)))
    return pcm[:length]


def _round(values: NDArray[np.float32]) -> Pcm:
    return np.clip(np.rint(values), _LOWEST, _HIGHEST).astype(np.int16)


def _from_flac(frame: AudioFrame) -> Pcm:
    if not frame.data.startswith(FLAC_MARK):  # libsndfile would try all that it reads
        raise MalformedRecordError("data are not a FLAC stream: it does not begin with fLaC")
    try:
        with soundfile.SoundFile(BytesIO(frame.data)) as stream:
            _check_flac(frame, stream)  # before reading: what a stream claims decides what is allocated
            values: Pcm = stream.read(frame.samples, dtype="int16", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as exc:
        reason = getattr(exc, "error_string", exc)  # the whole text has a memory address in it
        raise MalformedRecordError(f"data are not a FLAC stream: {reason}") from exc
    if len(values) != frame.samples:
        raise InvalidFrameError("data", f"{len(values)} FLAC samples", f"{frame.samples} samples")
    return values


def _check_flac(frame: AudioFrame, stream: soundfile.SoundFile) -> None:
    found = stream.format, stream.frames, stream.channels, stream.samplerate
    claimed = "FLAC", frame.samples, frame.channels, frame.sample_rate_hz
    if found != claimed:
        raise InvalidFrameError("data", _format(*found), _format(*claimed))


def _format(container: str, samples: int, channels: int, rate_hz: int) -> str:
    return f"{container}, {samples} samples of {channels} channels at {rate_hz} Hz"


class Tally(NamedTuple):
    """What a level is computed from; tallies of neighbouring stretches add up."""

    samples: int
    zeros: int
    clipped: int
    peak: int
    total: int
    square_total: int

    def __add__(self, other: "Tally") -> "Tally":  # type: ignore[override]  # sums fields, does not chain
        return Tally(
            self.samples + other.samples,
            self.zeros + other.zeros,
            self.clipped + other.clipped,
            max(self.peak, other.peak),
            self.total + other.total,
            self.square_total + other.square_total,
        )


def tally(pcm: Pcm, missing: int = 0) -> Tally:
    """Tally int16[n], `missing` of which were filled in with zeros and do not count."""
    if not len(pcm):
        return Tally(0, 0, 0, 0, 0, 0)
    lowest, highest = int(pcm.min()), int(pcm.max())
    # Exact, and not through BLAS: its threads wait for one another where the cores are busy, 1 ms a time.
    values = pcm.astype(np.int64)
    clipped = 0
    if highest == _HIGHEST or lowest == _LOWEST:
        clipped = int(np.count_nonzero((pcm == _HIGHEST) | (pcm == _LOWEST)))
    return Tally(
        samples=len(pcm) - missing,
        zeros=len(pcm) - int(np.count_nonzero(pcm)) - missing,
        clipped=clipped,
        peak=max(highest, -lowest),
        total=int(values.sum()),
        square_total=int(values @ values),
    )


def level(tallied: Tally) -> Level | None:
    """Return the level of a tallied stretch, or None where nothing arrived."""
    count = tallied.samples
    if not count:
        return None
    mean_square = tallied.square_total / count / FULL_SCALE**2
    return Level(
        rms_dbfs=10 * log10(mean_square) if mean_square else None,
        peak_dbfs=20 * log10(tallied.peak / FULL_SCALE) if tallied.peak else None,
        clipped_fraction=tallied.clipped / count,
        zero_fraction=tallied.zeros / count,
        dc_fraction=tallied.total / count / FULL_SCALE,
    )
