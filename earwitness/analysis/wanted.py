"""Words of analysts -> which sound is meant: sensors by name or glob, and a time by somebody's clock."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from schemas.errors import ConfigurationError, InvalidFrameError
from schemas.frame import MAX_SENSOR_BYTES, MAX_TIME_US, sensor_of

_GLOB = re.compile(r"[*?\[]")
_AGO = re.compile(r"-?(?P<count>\d{1,9}(\.\d{1,9})?)(?P<unit>[smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US = -62_135_596_800_000_000
"""The first microsecond of the year 1."""


class TimeBase(StrEnum):
    """Whose clock times are given in."""

    SENSOR = "sensor"
    BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sound that is meant: of some sensors (none: all), in `[begin_us, end_us)`.

    Sensors are names or globs; `literal` takes them as names only, for a name may hold what makes a glob.

    Raises:
        ConfigurationError: nobody can be called so, or the time ends before it begins.

    """

    sensors: tuple[str, ...] = ()
    begin_us: int | None = None
    end_us: int | None = None
    clock: TimeBase = TimeBase.SENSOR
    literal: bool = False

    def __post_init__(self) -> None:
        for name in self.sensors:
            _check_name(name)
        if self.begin_us is not None and self.end_us is not None and self.begin_us >= self.end_us:
            raise ConfigurationError("--to", utc_text(self.end_us), f"a time after {utc_text(self.begin_us)}")

    def names(self, sensor: str) -> bool:
        """Say whether a sensor is meant."""
        return not self.sensors or (sensor in self.sensors if self.literal else matches(sensor, self.sensors))

    @property
    def exact(self) -> bool:
        """Whether every sensor is given by its name."""
        return bool(self.sensors) and (self.literal or not any(_GLOB.search(name) for name in self.sensors))

    def overlaps(self, start_us: int, end_us: int) -> bool:
        """Say whether `[start_us, end_us)` has anything of the time that is meant."""
        begins = self.end_us is None or start_us < self.end_us
        return begins and (self.begin_us is None or end_us > self.begin_us)

    def shifted(self, by_us: int) -> "Wanted":
        """Return the same that much later."""
        begin_us = None if self.begin_us is None else self.begin_us + by_us
        end_us = None if self.end_us is None else self.end_us + by_us
        return replace(self, begin_us=begin_us, end_us=end_us)

    def widened(self, before_s: float, after_s: float) -> "Wanted":
        """Return the same with more time before and after it."""
        begin_us = None if self.begin_us is None else self.begin_us - round(before_s * 1e6)
        end_us = None if self.end_us is None else self.end_us + round(after_s * 1e6)
        return replace(self, begin_us=begin_us, end_us=end_us)


def matches(sensor: str, patterns: Iterable[str]) -> bool:
    """Say whether a sensor has one of these names, or one that a glob among them fits."""
    return any(sensor == pattern or fnmatchcase(sensor, pattern) for pattern in patterns)


def _check_name(name: str) -> None:
    try:
        sensor_of(name.encode())
    except (UnicodeEncodeError, InvalidFrameError) as exc:
        accepted = f"1 to {MAX_SENSOR_BYTES} bytes of printable UTF-8"
        raise ConfigurationError("--sensor", name, accepted) from exc


def parse_time(text: str, option: str, now_us: int) -> int:
    """Read a time as microseconds since 1970: ISO 8601 with a zone, `now`, or `-90s`, `-10m`, `-2h`, `-1d`.

    The sign may be left out: nobody asks for what is to come.

    Raises:
        ConfigurationError: it is none of these, or before 1970.

    """
    accepted = "a time with its zone, such as 2026-01-31T03:12:00Z, or now, or -90s, -10m, -2h, -1d"
    ago = _AGO.fullmatch(text)
    if text == "now":
        return now_us
    if ago is not None:
        time_us = now_us - round(float(ago["count"]) * _SECONDS[ago["unit"]] * 1e6)
    else:
        time_us = _iso_us(text, option, accepted)
    if time_us < 0:
        raise ConfigurationError(option, text, f"a time from 1970 on: {accepted}")
    return time_us


def _iso_us(text: str, option: str, accepted: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigurationError(option, text, accepted) from exc
    if time.tzinfo is None:
        raise ConfigurationError(option, text, accepted)
    return round((time - _1970) / timedelta(microseconds=1))


def utc_text(time_us: int | None) -> str:
    """Return microseconds since 1970 as ISO 8601: `2026-01-31T03:12:00.000000Z`; `-` for None."""
    if time_us is None:
        return "-"
    return utc_time(time_us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def utc_time(time_us: int) -> datetime:
    """Return a time as calendars have it; what lies beyond the years 1 to 9999 is at their edge.

    Sensors' clocks may say anything, and so may records that others wrote.
    """
    return _1970 + timedelta(microseconds=min(max(time_us, _FIRST_US), MAX_TIME_US))
