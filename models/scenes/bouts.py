"""recording -> where it sounds, and its sound alone, to be laid into a stream.

What of a recording is its sound: frames of 20 ms within 30 dB of its loudest; pauses of under 4 s belong to
the bout, longer ones part two bouts. ESC-50's clips are padded with digital silence, which is in no bout. A
texture (rain, the sea) is active from end to end and so is taken whole.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.scenes.stream_settings import StreamSettings

Pcm = NDArray[np.int16]
Sound = NDArray[np.float64]
Span = tuple[int, int]

FRAME_S = 0.02
FULL_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """A sound to lay into streams, mono `int16[samples]`, and what it is."""

    pcm: Pcm
    label: str
    whole: bool = False
    """All of it is one event, also what is quiet: an alarm's pattern."""


@dataclass(frozen=True, slots=True)
class Event:
    """A recording's sound from its first to its last bout, faded; `bouts` are in its samples."""

    sound: Sound
    bouts: tuple[Span, ...]
    active: NDArray[np.bool_]
    """Of every sample whether its frame is loud enough to count for the SNR."""
    label: str


def bouts(pcm: Pcm, settings: StreamSettings) -> tuple[Span, ...]:
    """Return where a recording sounds, as `[start, end)` in samples; nothing for digital silence."""
    loud, size = np.flatnonzero(_loud(pcm, settings)), _frame_samples(settings)
    if not loud.size:
        return ()
    parted = np.flatnonzero(np.diff(loud) - 1 >= settings.bridge_s / FRAME_S)
    firsts, lasts = loud[np.r_[0, parted + 1]], loud[np.r_[parted, loud.size - 1]]
    return tuple(
        (int(first * size), int(min((last + 1) * size, pcm.size)))
        for first, last in zip(firsts, lasts, strict=True)
    )


def cut_out(recorded: Recorded, settings: StreamSettings) -> Event | None:
    """Cut a recording's sound out, with up to `fade_s` on either side to fade in; None for silence."""
    pcm, fade = recorded.pcm, round(settings.fade_s * settings.rate_hz)
    spans = bouts(pcm, settings)
    if not spans:
        return None
    if recorded.whole:
        spans = ((0, pcm.size),)
    start, most = max(0, spans[0][0] - fade), int(settings.longest_event_s * settings.rate_hz)
    end = min(spans[-1][1] + fade, pcm.size, start + most)
    active = np.repeat(_loud(pcm, settings), _frame_samples(settings))[start:end]
    within = tuple((a - start, min(b, end) - start) for a, b in spans if a < end)
    return Event(_faded(pcm[start:end] / FULL_SCALE, fade), within, active, recorded.label)


def _faded(sound: Sound, fade: int) -> Sound:
    ramp = np.linspace(0.0, 1.0, min(fade, sound.size // 2))
    sound[: ramp.size] *= ramp
    sound[sound.size - ramp.size :] *= ramp[::-1]
    return sound


def _loud(pcm: Pcm, settings: StreamSettings) -> NDArray[np.bool_]:
    """Tell of every frame of 20 ms whether it is within `active_db` of the loudest."""
    size = _frame_samples(settings)
    framed = np.pad(pcm, (0, -pcm.size % size)).reshape(-1, size).astype(np.float64)
    power = np.mean(framed**2, axis=1)
    least = power.max(initial=0.0) * 10 ** (-settings.active_db / 10)
    return np.asarray((power > 0) & (power >= least))


def _frame_samples(settings: StreamSettings) -> int:
    return round(FRAME_S * settings.rate_hz)
