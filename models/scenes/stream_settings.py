"""What streams are like: how long, how many events, how loud, how far apart."""

from dataclasses import dataclass

from schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What streams are like. Ranges are drawn from uniformly.

    Raises:
        ConfigurationError: a value that gives no stream.

    """

    rate_hz: int = 16_000
    length_s: float = 60.0
    events: tuple[int, int] = (6, 8)
    """At least and at most so many; fewer, where recordings are so long that no more have room."""
    snr_db: tuple[float, float] = (0.0, 12.0)
    background_dbfs: tuple[float, float] = (-50.0, -30.0)
    overlapping: float = 0.2
    """Share of events that begin while the one before still sounds."""
    pause_s: tuple[float, float] = (1.0, 4.0)
    """Between two events that do not overlap; between two of one label at least `apart_s`."""
    apart_s: float = 5.0
    active_db: float = 30.0
    bridge_s: float = 4.0
    """Shorter pauses of a recording belong to its sound. Who hears by windows of 1 s hears a sound from 0.5 s
    before until 1.5 s after it, and joins what is 2 s apart: neither this nor `apart_s` may be finer."""
    fade_s: float = 0.05
    longest_event_s: float = 20.0
    """What is left of a longer recording's sound is cut off."""

    def __post_init__(self) -> None:
        _check("rate_hz", self.rate_hz, 1000 <= self.rate_hz <= 384_000, "1000 to 384000")
        _check("length_s", self.length_s, 5 <= self.length_s <= 3600, "5 to 3600")
        _check("events", self.events, 1 <= self.events[0] <= self.events[1], "at least one, and no fewer")
        _check("snr_db", self.snr_db, self.snr_db[0] <= self.snr_db[1], "the lower one first")
        _check("overlapping", self.overlapping, 0 <= self.overlapping <= 1, "0 to 1")
        most = self.length_s / 2
        _check("longest_event_s", self.longest_event_s, 0 < self.longest_event_s <= most, f"up to {most:g}")


def _check(key: str, value: object, holds: bool, accepted: str) -> None:
    if not holds:
        raise ConfigurationError(f"streams.{key}", value, accepted)
