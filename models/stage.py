"""Recordings and generated sounds -> windows of mixed streams, with the truth about each.

    background  ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~     of the same fold, of none, or generated
    events          ▐dog_bark▌   ▐▐▐smoke_alarm▐▐▐▐     at -8 to 30 dB of SNR where they sound, in any order
    window              ├───────┤                       dog_bark 0.4 s, smoke_alarm 0.3 s: both are true

A stream is made of recordings of one fold only, and of what belongs to no fold, so that a network that is
tested on a fold can be kept from all that was made of it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import soxr
from numpy.typing import NDArray

from models.dataset import PCM
from models.disturb import Chances, disturb, in_room
from models.features import FULL_SCALE, RATE_HZ
from models.recordings import AMBIGUOUS, Heap, Recording

Sound = NDArray[np.float32]
Rng = np.random.Generator

WINDOW_SAMPLES = RATE_HZ
BLOCK_SAMPLES = RATE_HZ // 50
SOUNDING = 1e-3
"""A block of 20 ms sounds within 30 dB of the recording's loudest."""
ENOUGH_S = 0.25
"""So much of a sound in a window makes the window wholly its; less makes it so in part. An event of a
stream that is shorter is whole where all of it is heard; an alert alone is longer, and a window with less
cuts it."""
PULL = 0.3
"""Windows of a recording are drawn in proportion to their power to this exponent."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How the windows are made up; they sum to 1."""

    alone: float = 0.22
    pair: float = 0.09
    stream: float = 0.37
    nothing: float = 0.09
    variety: float = 0.13
    generated: float = 0.10

    def draw(self, rng: Rng) -> str:
        """Draw a kind of window."""
        names = self.__slots__
        return str(rng.choice(names, p=[getattr(self, name) for name in names]))


@dataclass(frozen=True, slots=True)
class StageSettings:
    """How hard the windows are."""

    shares: Shares = field(default_factory=Shares)
    chances: Chances = field(default_factory=Chances)
    speeds: tuple[float, float] = (0.8, 1.25)
    snr_db: tuple[float, float] = (-3.0, 22.0)
    alert_snr_db: tuple[float, float] = (-8.0, 30.0)
    alert_share: float = 0.4
    """Of the events of a stream."""
    alert_alone: float = 0.45
    """Share of alerts in what is heard alone: one third without any background, the others far above one."""
    above_db: tuple[float, float] = (20.0, 70.0)
    """SNR of those alerts. What is generated to be nothing lies, by mean power, 0 dB to the upper end above
    its background: how clear a sound is must not tell what it is."""
    alert_room: float = 0.7
    """Share of alerts that sound in a room of their own, which the background is not in."""
    level_dbfs: tuple[float, float] = (-45.0, -3.0)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is in a window: `targets float32[labels]`, whether that is known, and of which fold it is made."""

    targets: NDArray[np.float32]
    known: bool
    fold: int | None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A recording, its sound, and the cumulative chance of a window to begin at each of its blocks."""

    recording: Recording
    audio: PCM
    chance: NDArray[np.float64]


class Stage:
    """Draws windows."""

    def __init__(self, heap: Heap, settings: StageSettings) -> None:
        self._labels, self._settings = heap.labels, settings
        self._labelled = [_load(r) for r in heap.labelled]
        self._backgrounds = [_load(r) for r in heap.backgrounds]
        self._alerts = [_load(r) for r in heap.alerts]
        self._generated_sounds = [_load(r) for r in heap.generated]
        self._any = [_load(r) for r in heap.variety]
        self._plain = [one for one in self._any if one.recording.label not in AMBIGUOUS]
        self._by_label = _by_label(self._any)
        self._kinds: dict[str, Callable[[Rng], tuple[Sound, Truth]]] = {
            "alone": self._alone,
            "pair": self._pair,
            "stream": self._stream,
            "nothing": self._nothing,
            "variety": self._variety if self._any else self._stream,
            "generated": self._generated if self._generated_sounds else self._stream,
        }

    def draw(self, rng: Rng) -> tuple[Sound, Truth]:
        """Draw a window `float32[16000]` in [-1, 1], and the truth about it."""
        sound, truth = self._kinds[self._settings.shares.draw(rng)](rng)
        sound = disturb(rng, _at_rms(sound, 0.1), self._settings.chances)
        return _at_level(rng, sound, self._settings.level_dbfs), truth

    def _alone(self, rng: Rng) -> tuple[Sound, Truth]:
        if self._alerts and rng.random() < self._settings.alert_alone:
            return self._alert_alone(rng)
        chosen = _pick(rng, self._labelled)
        return self._excerpt(rng, chosen), self._truth({chosen.recording.label: 1.0}, chosen.recording.fold)

    def _alert_alone(self, rng: Rng) -> tuple[Sound, Truth]:
        label, sound = self._alert(rng, WINDOW_SAMPLES)
        share = min(1.0, int(_sounding(sound).sum()) / (ENOUGH_S * RATE_HZ))
        if rng.random() < 1 / 3:
            return sound, self._truth({label: share}, None)
        fold = _pick(rng, self._labelled).recording.fold
        above = _gain(rng.uniform(*self._settings.above_db)) / max(_sounding_rms(sound), 1e-9)
        return _at_rms(self._background(rng, fold)) + above * sound, self._truth({label: share}, fold)

    def _pair(self, rng: Rng) -> tuple[Sound, Truth]:
        one = _pick(rng, self._labelled)
        two = _pick(rng, _of_fold(self._labelled, one.recording.fold))
        louder = _gain(rng.uniform(-8.0, 8.0))
        sound = _at_rms(self._excerpt(rng, one)) * louder + _at_rms(self._excerpt(rng, two))
        inside = {one.recording.label: 1.0, two.recording.label: 1.0}
        return sound, self._truth(inside, one.recording.fold)

    def _stream(self, rng: Rng) -> tuple[Sound, Truth]:
        """Cut a window out of a background with one to three events, which begin and end in it or not."""
        fold = _pick(rng, self._labelled).recording.fold
        sound, inside = _at_rms(self._background(rng, fold)), dict[str, float]()
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            label, event, snr_db = self._event(rng, fold)
            laid, share = _laid(rng, event)
            sound = sound + laid * (_gain(snr_db) / max(_sounding_rms(event), 1e-9))
            inside[label] = max(inside.get(label, 0.0), share)
        return sound, self._truth(inside, fold)

    def _nothing(self, rng: Rng) -> tuple[Sound, Truth]:
        fold = _pick(rng, self._labelled).recording.fold
        sound = self._background(rng, fold)
        if rng.random() < 0.4:
            sound = _over(rng, sound, self._background(rng, fold), -15.0)
        return sound, self._truth({}, fold)

    def _variety(self, rng: Rng) -> tuple[Sound, Truth]:
        chosen = self._pick_any(rng)
        sound, known = self._excerpt(rng, chosen), chosen.recording.label not in AMBIGUOUS
        if rng.random() < 0.3:
            other = self._pick_any(rng)
            known = known and other.recording.label not in AMBIGUOUS
            sound = _over(rng, sound, self._excerpt(rng, other), -15.0)
        return sound, replace(self._truth({}, None), known=known)

    def _generated(self, rng: Rng) -> tuple[Sound, Truth]:
        """Cut a window out of a generated sound that is nothing, of no fold: every network may mine it.

        Half of them lie over a background, so that what is clear is not nothing for that.
        """
        sound = self._excerpt(rng, _pick(rng, self._generated_sounds))
        if rng.random() < 0.5:
            sound = _over(rng, sound, self._background(rng, None), -self._settings.above_db[1])
        return sound, self._truth({}, None)

    def _pick_any(self, rng: Rng) -> _Loaded:
        """Pick a label first: there are more spoken words than anything else."""
        kinds = list(self._by_label.values())
        return _pick(rng, kinds[int(rng.integers(len(kinds)))])

    def _event(self, rng: Rng, fold: int | None) -> tuple[str, Sound, float]:
        """Draw an event, up to three seconds long, and its SNR."""
        settings = self._settings
        if self._alerts and rng.random() < settings.alert_share:
            return *self._alert(rng, 3 * WINDOW_SAMPLES), rng.uniform(*settings.alert_snr_db)
        chosen = _pick(rng, _of_fold(self._labelled, fold))
        sound = self._excerpt(rng, chosen, 3 * WINDOW_SAMPLES)
        return chosen.recording.label, sound, rng.uniform(*settings.snr_db)

    def _alert(self, rng: Rng, samples: int) -> tuple[str, Sound]:
        """Draw an alert, in a room of its own or in none."""
        chosen = _pick(rng, self._alerts)
        sound = self._excerpt(rng, chosen, samples)
        if rng.random() < self._settings.alert_room:
            sound = in_room(rng, sound)
        return chosen.recording.label, sound

    def _background(self, rng: Rng, fold: int | None) -> Sound:
        kind = rng.random()
        if kind < 0.4 and (here := _of_fold(self._backgrounds, fold)):
            return self._excerpt(rng, _pick(rng, here))
        if kind < 0.75 and self._plain:
            return self._excerpt(rng, _pick(rng, self._plain))
        if self._generated_sounds:
            return self._excerpt(rng, _pick(rng, self._generated_sounds))
        return np.zeros(WINDOW_SAMPLES, np.float32)

    def _excerpt(self, rng: Rng, chosen: _Loaded, samples: int = WINDOW_SAMPLES) -> Sound:
        """Cut a piece out of a recording at a random speed: loud places more often than quiet ones."""
        low, high = self._settings.speeds
        speed = 1.0 if rng.random() < 0.4 else rng.uniform(low, high)
        block = int(np.searchsorted(chosen.chance, rng.random() * chosen.chance[-1]))
        start = min(block, chosen.chance.size - 1) * BLOCK_SAMPLES
        piece = chosen.audio[start : start + math.ceil(samples * speed) + 8] / np.float32(FULL_SCALE)
        if speed != 1.0:
            piece = soxr.resample(piece, RATE_HZ * speed, RATE_HZ, quality="LQ")
        return np.pad(piece[:samples], (0, max(0, samples - piece.size))).astype(np.float32)

    def _truth(self, inside: Mapping[str, float], fold: int | None) -> Truth:
        targets = np.array([inside.get(label, 0.0) for label in self._labels], np.float32)
        return Truth(targets, True, fold)


def _load(recording: Recording) -> _Loaded:
    audio = recording.read()
    blocks = audio[: audio.size // BLOCK_SAMPLES * BLOCK_SAMPLES].astype(np.float64)
    power = np.mean(np.square(blocks.reshape(-1, BLOCK_SAMPLES)), axis=1)
    total = np.concatenate([[0.0], np.cumsum(power)])
    length = WINDOW_SAMPLES // BLOCK_SAMPLES
    last = max(1, power.size - length + 1)
    window = total[np.minimum(np.arange(last) + length, power.size)] - total[:last]
    relative = window / max(float(window.max()), 1e-12)
    return _Loaded(recording, audio, np.cumsum(np.where(relative >= SOUNDING, relative, 0.0) ** PULL + 1e-12))


def _laid(rng: Rng, event: Sound) -> tuple[Sound, float]:
    """Lay an event over a window from a random moment on, and say how much of it is heard there, 0 to 1."""
    sounding = _sounding(event)
    enough = min(int(ENOUGH_S * RATE_HZ), int(sounding.sum()))
    first = int(rng.integers(-event.size + WINDOW_SAMPLES // 4, WINDOW_SAMPLES * 3 // 4))
    window, heard = np.zeros(WINDOW_SAMPLES, np.float32), 0
    here = slice(max(first, 0), min(first + event.size, WINDOW_SAMPLES))
    there = slice(here.start - first, here.stop - first)
    window[here], heard = event[there], int(sounding[there].sum())
    return window, min(1.0, heard / max(enough, 1))


def _sounding(sound: Sound) -> NDArray[np.bool_]:
    """Tell at every sample whether its block is within 30 dB of the loudest."""
    padded = np.pad(sound, (0, -sound.size % BLOCK_SAMPLES)).reshape(-1, BLOCK_SAMPLES)
    power = np.mean(np.square(padded, dtype=np.float64), axis=1)
    return np.asarray(np.repeat(power >= SOUNDING * max(power.max(), 1e-12), BLOCK_SAMPLES)[: sound.size])


def _sounding_rms(sound: Sound) -> float:
    on = _sounding(sound)
    return float(np.sqrt(np.mean(np.square(sound[on], dtype=np.float64)))) if on.any() else 0.0


def _by_label(loaded: Sequence[_Loaded]) -> dict[str, list[_Loaded]]:
    kinds: dict[str, list[_Loaded]] = {}
    for one in loaded:
        kinds.setdefault(one.recording.label, []).append(one)
    return kinds


def _of_fold(loaded: Sequence[_Loaded], fold: int | None) -> list[_Loaded]:
    return [one for one in loaded if one.recording.fold == fold]


def _pick(rng: Rng, items: Sequence[_Loaded]) -> _Loaded:
    return items[int(rng.integers(len(items)))]


def _over(rng: Rng, sound: Sound, other: Sound, lowest_db: float) -> Sound:
    """Lay a sound over another, whose power is `lowest_db` to 0 dB relative to the sound's."""
    return np.asarray(_at_rms(sound) + _at_rms(other) * _gain(rng.uniform(lowest_db, 0.0)), np.float32)


def _at_rms(sound: Sound, rms: float = 1.0) -> Sound:
    now = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    return np.asarray(sound * (rms / max(now, 1e-9)), np.float32)


def _at_level(rng: Rng, sound: Sound, level_dbfs: tuple[float, float]) -> Sound:
    """Give a sound's peak a random level."""
    peak = max(float(np.abs(sound).max()), 1e-9)
    return np.asarray(sound * (_gain(rng.uniform(*level_dbfs)) / peak), np.float32)


def _gain(decibels: float) -> float:
    return float(10 ** (decibels / 20))
