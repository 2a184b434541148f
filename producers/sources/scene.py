"""Settings and a seed -> a synthetic scene and its ground truth: sirens and a smoke alarm over background.

s   0       3            9       12            19      22           27     30
    ├ quiet ┤ siren wail ┤ quiet ┤ smoke alarm ┤ quiet ┤ siren yelp ┤ quiet ┤
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from producers.source import Block, to_int16
from producers.sources.sounds import (
    WAIL,
    YELP,
    Background,
    Samples,
    ambience,
    siren,
    smoke_alarm,
    sounding_power,
)
from schemas.errors import ConfigurationError

FADE_S = 0.01
"""Rise and fall of an event, so that it does not click where it is laid in."""
BLOCK_S = 1


class Sound(StrEnum):
    """What can be placed in a scene."""

    WAIL = "wail"
    YELP = "yelp"
    SMOKE_ALARM = "smoke_alarm"


@dataclass(frozen=True, slots=True)
class Event:
    """The truth about a scene: `label` sounds during `[start_s, end_s)`."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Placed:
    """A sound and where in a scene it goes."""

    sound: Sound
    start_s: float
    end_s: float


_SOUNDS: dict[Sound, tuple[str, Callable[[float, int], Samples]]] = {
    Sound.WAIL: ("siren", lambda seconds, rate_hz: siren(seconds, rate_hz, WAIL)),
    Sound.YELP: ("siren", lambda seconds, rate_hz: siren(seconds, rate_hz, YELP)),
    Sound.SMOKE_ALARM: ("smoke_alarm", lambda seconds, rate_hz: smoke_alarm(seconds, rate_hz)),
}

DEMO = (
    Placed(Sound.WAIL, 3.0, 9.0),
    Placed(Sound.SMOKE_ALARM, 12.0, 19.0),
    Placed(Sound.YELP, 22.0, 27.0),
)


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """A scene. `snr_db`: power of an event where it sounds over that of the background beneath it."""

    duration_s: float = 30.0
    sample_rate_hz: int = 16_000
    snr_db: float = 15.0
    events: tuple[Placed, ...] = DEMO
    background: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        for event in self.events:
            if not 0.0 <= event.start_s < event.end_s <= self.duration_s:
                accepted = f"0 <= start_s < end_s <= {self.duration_s}: it would not be heard whole"
                raise ConfigurationError("scene.events", event, accepted)


class Scene:
    """A source of one channel, the same for the same settings and seed."""

    channels = 1

    def __init__(self, settings: SceneSettings | None = None, seed: int = 0) -> None:
        self._settings, self._seed = settings or SceneSettings(), seed

    @property
    def name(self) -> str:
        """The scene and its seed."""
        return f"scene {self._seed}"

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second."""
        return self._settings.sample_rate_hz

    @property
    def samples(self) -> int:
        """Samples in the scene."""
        return round(self._settings.duration_s * self.sample_rate_hz)

    @property
    def truth(self) -> tuple[Event, ...]:
        """What sounds when, in order of time."""
        events = (Event(_SOUNDS[p.sound][0], p.start_s, p.end_s) for p in self._settings.events)
        return tuple(sorted(events, key=lambda event: event.start_s))

    def blocks(self) -> Iterator[Block]:
        """Give the scene a second at a time, `int16[n, 1]`."""
        sound = to_int16(self._render())[:, np.newaxis]
        size = BLOCK_S * self.sample_rate_hz
        for start in range(0, len(sound), size):
            yield sound[start : start + size]

    def _render(self) -> Samples:
        settings = self._settings
        rng = np.random.default_rng(self._seed)
        background = ambience(rng, settings.duration_s, settings.sample_rate_hz, settings.background)
        sound = background.copy()
        for placed in settings.events:
            self._lay_in(sound, background, placed)
        return sound / max(1.0, float(np.abs(sound).max(initial=0.0)))

    def _lay_in(self, sound: Samples, background: Samples, placed: Placed) -> None:
        # `mix` would lower the background under a loud event; here one level holds for the whole scene.
        rate_hz, snr_db = self.sample_rate_hz, self._settings.snr_db
        start, end = round(placed.start_s * rate_hz), round(placed.end_s * rate_hz)
        event = _SOUNDS[placed.sound][1]((end - start) / rate_hz, rate_hz)
        beneath = float(np.mean(background[start:end] ** 2))
        gain = np.sqrt(beneath / sounding_power(event)) * 10 ** (snr_db / 20)
        sound[start:end] += _faded(event, rate_hz) * gain


def _faded(event: Samples, rate_hz: int) -> Samples:
    from_edge = np.minimum(np.arange(event.size), np.arange(event.size)[::-1])
    return event * np.minimum(1.0, (from_edge + 1) / max(1.0, FADE_S * rate_hz))
