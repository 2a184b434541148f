"""Recordings and backgrounds -> streams with known events: what a model is measured on, or taught by.

    background  ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~     one recording, from a random place, looped
    events         [dog)       [siren====)      [sneeze)       each at its own SNR, faded in and out
                                    [dog)                      a share of them over the one before
    truth          (start_s, end_s, label) of each bout

Each bout of a recording (`bouts.py`) is an event of the truth. SNR is the event's mean power in its loud
frames (pauses left out) over the background's in the same places.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.scenes.alarms import draw_alarm
from models.scenes.bouts import FULL_SCALE, Event, Pcm, Sound, Span, cut_out
from models.scenes.bouts import Recorded as Recorded
from models.scenes.rooms import loudspeaker, place, room_response
from models.scenes.stream_settings import StreamSettings as StreamSettings
from schemas.errors import ConfigurationError

PEAK = 0.95
LOUDSPEAKER_SHARE = 0.5
LOWEST_POWER = 1e-12
"""Of a background, so that an SNR over digital silence has a meaning: -120 dBFS."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A scene, mono `int16[samples]`, and what sounds when: `(start_s, end_s, label)`, by start."""

    pcm: Pcm
    rate_hz: int
    truth: tuple[tuple[float, float, str], ...]


def draw_stream(
    rng: np.random.Generator,
    events: Sequence[Recorded],
    backgrounds: Sequence[Recorded],
    settings: StreamSettings | None = None,
) -> Stream:
    """Draw one stream: some of the events, in a random order, over one background.

    Raises:
        ConfigurationError: there is no background with a sound in it.

    """
    return _lay(rng, _dealt(rng, events), backgrounds, settings or StreamSettings())[0]


def draw_streams(
    rng: np.random.Generator,
    events: Sequence[Recorded],
    backgrounds: Sequence[Recorded],
    settings: StreamSettings | None = None,
    passes: int = 1,
) -> Iterator[Stream]:
    """Draw streams until every event has been in one, `passes` times; labels are dealt out evenly.

    Raises:
        ConfigurationError: there is no background with a sound in it.

    """
    for _ in range(passes):
        waiting = _dealt(rng, events)
        while waiting:
            stream, laid = _lay(rng, waiting, backgrounds, settings or StreamSettings())
            waiting = waiting[laid:]
            yield stream


def draw_alarms(
    rng: np.random.Generator, labels: Sequence[str], count: int, rate_hz: int
) -> Iterator[Recorded]:
    """Draw alarms, each from a loudspeaker or a sounder in a room of its own; `count` of each label.

    Raises:
        ConfigurationError: no generator knows a label.

    """
    for _ in range(count):
        for label in labels:
            yield draw_placed_alarm(rng, label, rate_hz)


def draw_placed_alarm(
    rng: np.random.Generator, label: str, rate_hz: int, pattern: str | None = None
) -> Recorded:
    """Draw an alarm, of any pattern or of the one given, from a loudspeaker or a sounder in a room.

    Raises:
        ConfigurationError: no generator knows the label or the pattern.

    """
    sound = draw_alarm(rng, label, rate_hz, pattern).sound
    if rng.random() < LOUDSPEAKER_SHARE:
        sound = place(sound, loudspeaker(rng, rate_hz))
    return Recorded(_to_pcm(place(sound, room_response(rng, rate_hz))), label, whole=True)


def _lay(
    rng: np.random.Generator,
    events: Sequence[Recorded],
    backgrounds: Sequence[Recorded],
    settings: StreamSettings,
) -> tuple[Stream, int]:
    """Lay as many of the first events as are drawn, and fit; return how many were taken, too."""
    background = _background(rng, backgrounds, settings)
    scene, places = background.copy(), _Places(rng, settings)
    wanted, truth, laid = int(rng.integers(settings.events[0], settings.events[1] + 1)), [], 0
    for recorded in events:
        event = cut_out(recorded, settings)
        start = None if event is None else places.find(event)
        if event is not None and (start is None or places.taken > wanted):
            break
        laid += 1
        if event is not None and start is not None:
            _add(scene, background, event, start, rng.uniform(*settings.snr_db))
            truth += _truth(event, start, settings.rate_hz)
    return Stream(_to_pcm(scene), settings.rate_hz, tuple(sorted(truth))), laid


@dataclass(slots=True)
class _Places:
    """Finds where the next event begins; knows where those before it ended, in samples."""

    rng: np.random.Generator
    settings: StreamSettings
    taken: int = 0
    _last: Span = (0, 0)
    _end: int = 0
    _ends: dict[str, int] = field(default_factory=dict)
    """Where the last event of each label ended."""

    def find(self, event: Event) -> int | None:
        """Return the sample at which an event begins, or None where it has no room."""
        start, size = self._start(event), event.sound.size
        if start + size > self.settings.length_s * self.settings.rate_hz:
            return None
        self.taken += 1
        self._last = start, start + size
        self._ends[event.label] = start + size
        self._end = max(self._end, start + size)
        return start

    def _start(self, event: Event) -> int:
        settings, rate_hz = self.settings, self.settings.rate_hz
        overlaps, part = self.rng.random() < settings.overlapping, self.rng.uniform(0.2, 0.8)
        pause = int(self.rng.uniform(*settings.pause_s) * rate_hz)
        if not self.taken:
            return min(pause, int(settings.length_s * rate_hz) - event.sound.size)
        first, end = self._last
        start = int(first + part * (end - first)) if overlaps else self._end + pause
        if event.label not in self._ends:
            return start
        return max(start, self._ends[event.label] + int(settings.apart_s * rate_hz))


def _add(scene: Sound, background: Sound, event: Event, start: int, snr_db: float) -> None:
    """Add an event to a scene at its SNR over the background alone, whatever else sounds there."""
    there, active = slice(start, start + event.sound.size), event.active
    noise = max(float(np.mean(background[there][active] ** 2)), LOWEST_POWER)
    power = max(float(np.mean(event.sound[active] ** 2)), LOWEST_POWER)
    scene[there] += event.sound * np.sqrt(noise / power * 10 ** (snr_db / 10))


def _truth(event: Event, start: int, rate_hz: int) -> list[tuple[float, float, str]]:
    return [((start + a) / rate_hz, (start + b) / rate_hz, event.label) for a, b in event.bouts]


def _background(rng: np.random.Generator, backgrounds: Sequence[Recorded], settings: StreamSettings) -> Sound:
    """Return a background of the stream's length, at a level that is drawn."""
    sounding = [recorded for recorded in backgrounds if np.any(recorded.pcm)]
    if not sounding:
        raise ConfigurationError("backgrounds", len(backgrounds), "at least one recording with a sound in it")
    pcm = sounding[int(rng.integers(len(sounding)))].pcm
    size, fade = round(settings.length_s * settings.rate_hz), round(settings.fade_s * settings.rate_hz)
    around = pcm.size - fade if pcm.size > 2 * fade else pcm.size
    sound = _round(pcm, (np.arange(size) + int(rng.integers(around))) % around, around)
    level = 10 ** (rng.uniform(*settings.background_dbfs) / 20)
    return np.asarray(sound * level / max(float(np.sqrt(np.mean(sound**2))), np.sqrt(LOWEST_POWER)))


def _round(pcm: Pcm, at: NDArray[np.int64], around: int) -> Sound:
    """Return a sound that goes round without a click: its end fades into its beginning.

    `at` are places in the round, which is `around` samples long; the rest of the sound is what fades.
    """
    sound, fade = pcm[at] / FULL_SCALE, pcm.size - around
    ramp, first = np.linspace(0.0, 1.0, fade), at < fade
    ending = pcm[around + at[first]] / FULL_SCALE
    sound[first] = sound[first] * ramp[at[first]] + ending * ramp[::-1][at[first]]
    return np.asarray(sound)


def _dealt(rng: np.random.Generator, events: Sequence[Recorded]) -> list[Recorded]:
    """Put events into an order that is random, but goes round the labels."""
    order = [events[at] for at in rng.permutation(len(events))]
    turns: Counter[str] = Counter()
    keyed = []
    for recorded in order:
        keyed.append((turns[recorded.label], float(rng.random()), recorded))
        turns[recorded.label] += 1
    return [recorded for _, _, recorded in sorted(keyed, key=lambda k: k[:2])]


def _to_pcm(sound: Sound) -> Pcm:
    """Round to `int16`; a scene that is too loud is made quieter as a whole."""
    scaled = sound * (PEAK / max(PEAK, float(np.abs(sound).max(initial=0.0))))
    return np.asarray(np.rint(scaled * (FULL_SCALE - 1)), dtype=np.int16)
