"""Which sound is meant -> where in the log it is: through what coverage and detections say.

    sensors, from, to  ──► coverage ──► (partition, first offset, last offset), epochs, samples, UTC

Times are the sensors' own unless the broker's clock is named: a sensor with a clock an hour ahead was heard,
by its own account, an hour from now, and coverage knows where in the log that is.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TypeVar

from processors.log import LogReader, Only, read_as
from schemas.codec import Codec
from schemas.coverage import Coverage
from schemas.detection import Detection, DetectionState
from schemas.errors import ConfigurationError, InvalidFrameError
from schemas.frame import MAX_SENSOR_BYTES, sensor_of
from schemas.sensor import SensorState
from schemas.topics import Topics, partition_of

SLACK_S = 600.0
"""What was said of a sound is looked for so long before and after it: room for clocks and for lag."""
FAR_S = 54_000.0
"""Named sensors that are not found so are looked for this far: their clocks were in another time zone."""
LOOK_BACK = 20_000
"""Detections of a partition that are searched for an id at once, from the newest on."""
_GLOB = re.compile(r"[*?\[]")
_AGO = re.compile(r"-?(?P<count>\d{1,9}(\.\d{1,9})?)(?P<unit>[smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
C = TypeVar("C", Coverage, Detection)
PLACE = re.compile(r"(?P<topic>[^\[\]@]+)\[(?P<partition>\d+)\]@(?P<offset>\d+)")


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


class Lookup:
    """Finds sound in the log of one tenant; `frames` is the topic that is listened to, live or backfill."""

    def __init__(self, reader: LogReader, codec: Codec, topics: Topics, frames: str | None = None) -> None:
        self.reader, self.codec, self.topics = reader, codec, topics
        self.frames = frames or topics.frames
        self._known: dict[tuple[str, ...], dict[tuple[str, int], SensorState]] = {}

    def coverage(self, wanted: Wanted, *, everywhere: bool = False) -> list[Coverage]:
        """Return what coverage says of the sound that is meant, in the order of its log.

        Looked for among what was appended around that time, with room for clocks that are off as far as
        `audio.sensors` says; where named sensors are not found so, with room for those that were off by any
        time zone; with `everywhere`, in the whole topic.
        """
        return [said for said, meant in self.nearby(wanted, everywhere=everywhere) if meant]

    def nearby(
        self, wanted: Wanted, slack_s: float = SLACK_S, *, everywhere: bool = False
    ) -> Iterator[tuple[Coverage, bool]]:
        """Yield what coverage says of the sensors around that time, and whether it is of the sound meant."""
        met = False
        for said, meant in self._read(Coverage, self.topics.coverage, wanted, slack_s, everywhere=everywhere):
            met = met or meant
            yield said, meant
        if not met and wanted.exact and not everywhere:
            yield from self._read(Coverage, self.topics.coverage, wanted, FAR_S, everywhere=False)

    def detections(self, wanted: Wanted, *, everywhere: bool = False) -> list[Detection]:
        """Return the detections in the sound that is meant: upserted by id, by sensor and time.

        They are looked for where coverage is found.
        """
        topic = self.topics.detections
        found = self._said(topic, wanted, SLACK_S, everywhere=everywhere)
        if not found and wanted.exact and not everywhere and not self._is_near(wanted):
            found = self._said(topic, wanted, FAR_S, everywhere=False)
        return sorted(found, key=lambda d: (d.sensor, d.start_us, d.label))

    def detection(self, name: str) -> Detection:
        """Return one detection, named by its id or by its place, `topic[partition]@offset`.

        Raises:
            ConfigurationError: there is none.

        """
        place = PLACE.fullmatch(name)
        if place is not None:
            record = self.reader.at(place["topic"], int(place["partition"]), int(place["offset"]))
            found = None if record is None else read_as(self.codec, Detection, record)
        else:
            found = self._by_id(name)
        if found is None:
            raise ConfigurationError(
                "detection",
                name,
                f"an id in {self.topics.detections}, or a place such as {self.topics.detections}[0]@7",
            )
        return found

    def states(self, wanted: Wanted | None = None) -> dict[str, SensorState]:
        """Return the last state of every sensor, or of those that are meant."""
        found: dict[str, SensorState] = {}
        for (sensor, _), state in self._states(wanted or Wanted()).items():
            if sensor not in found or state.appended_at_us > found[sensor].appended_at_us:
                found[sensor] = state
        return found

    def partitions_of(self, wanted: Wanted, topic: str) -> list[int]:
        """Return the partitions in which the sensors that are meant can be.

        Where they have been as well: their keys fell elsewhere before partitions were added.
        """
        numbers = self.reader.partitions(topic)
        if not wanted.exact:
            return numbers
        been = {number for _, number in self._states(wanted)}
        here = {partition_of(name.encode(), len(numbers)) for name in wanted.sensors}
        return sorted((been | here) & set(numbers))

    def _states(self, wanted: Wanted) -> dict[tuple[str, int], SensorState]:
        """Return the last state of each sensor in each partition; read once."""
        if wanted.sensors not in self._known:
            found: dict[tuple[str, int], SensorState] = {}
            for record in self.reader.read(self.topics.sensors, only=_about(wanted)):
                state = read_as(self.codec, SensorState, record)
                if state is not None:
                    found[state.sensor, record.partition] = state
            self._known[wanted.sensors] = found
        return self._known[wanted.sensors]

    def _by_id(self, name: str) -> Detection | None:
        """Look for an id, the newest detections first: most are asked about soon after they were made."""
        wanted = name.strip().lower()
        limits = self.reader.limits(self.topics.detections)
        ends = {number: high for number, (_, high) in limits.items()}
        while wanted and any(end > limits[number][0] for number, end in ends.items()):
            firsts = {number: max(limits[number][0], end - LOOK_BACK) for number, end in ends.items()}
            found = upserted(self._named(wanted, {n: (firsts[n], ends[n]) for n in ends}))
            if found:
                return found[0]
            ends = firsts
        return None

    def _named(self, wanted: str, stretches: Mapping[int, tuple[int, int]]) -> Iterator[Detection]:
        # The id stands in the value as text: looking for it is far quicker than decoding every record.
        needle = wanted.encode()
        holds: Only = lambda _, value: value is not None and needle in value  # noqa: E731
        for record in self.reader.read(self.topics.detections, stretches, holds):
            detection = read_as(self.codec, Detection, record)
            if detection is not None and detection.id == wanted:
                yield detection

    def _said(self, topic: str, wanted: Wanted, slack_s: float, *, everywhere: bool) -> list[Detection]:
        said = self._read(Detection, topic, wanted, slack_s, everywhere=everywhere)
        return upserted(detection for detection, meant in said if meant)

    def _is_near(self, wanted: Wanted) -> bool:
        said = self._read(Coverage, self.topics.coverage, wanted, SLACK_S, everywhere=False)
        return any(meant for _, meant in said)

    def _read(
        self, kind: type[C], topic: str, wanted: Wanted, slack_s: float, *, everywhere: bool
    ) -> Iterator[tuple[C, bool]]:
        bounds = self.frame_offsets(wanted) if wanted.clock is TimeBase.BROKER else None
        stretches = None if everywhere else self._stretches(topic, wanted, slack_s)
        for record in self.reader.read(topic, stretches, _about(wanted)):
            said = read_as(self.codec, kind, record)
            if said is not None and said.sensor is not None:
                ours = bounds is None or said.topic == self.frames
                yield said, ours and _is_meant(said, wanted, bounds)

    def _stretches(self, topic: str, wanted: Wanted, slack_s: float) -> dict[int, tuple[int, int]]:
        earliest_us, latest_us = self._clocks_off(wanted, slack_s)
        begin_us = None if wanted.begin_us is None else wanted.begin_us + earliest_us
        end_us = None if wanted.end_us is None else wanted.end_us + latest_us
        bounds = self.appended(topic, begin_us, end_us)
        return {number: bounds[number] for number in self.partitions_of(wanted, topic)}

    def _clocks_off(self, wanted: Wanted, slack_s: float) -> tuple[int, int]:
        """Return from how long before to how long after its time a sound was spoken of, in microseconds."""
        off = [0]
        if wanted.clock is TimeBase.SENSOR and not (wanted.begin_us is None and wanted.end_us is None):
            off += [state.clock_offset_us for state in self._states(wanted).values()]
        slack_us = round(slack_s * 1e6)
        return min(off) - slack_us, max(off) + slack_us

    def frame_offsets(self, wanted: Wanted) -> dict[int, tuple[int, int]]:
        """Return, for each partition, which frames were appended in the time that is meant."""
        return self.appended(self.frames, wanted.begin_us, wanted.end_us)

    def appended(self, topic: str, begin_us: int | None, end_us: int | None) -> dict[int, tuple[int, int]]:
        """Return, for each partition of a topic, what was appended in a time of the broker's clock."""
        limits = self.reader.limits(topic)
        first = {number: low for number, (low, _) in limits.items()}
        end = {number: high for number, (_, high) in limits.items()}
        if begin_us is not None:
            first = self.reader.offsets_at(topic, begin_us // 1000)
        if end_us is not None:
            end = self.reader.offsets_at(topic, end_us // 1000)
        return {number: (first[number], end[number]) for number in limits}


def _about(wanted: Wanted) -> Only:
    """Return what says of a record whether it is about the sensors that are meant, without decoding it."""
    keys = {name.encode() for name in wanted.sensors} if wanted.exact else None

    def meant(key: bytes | None, value: bytes | None) -> bool:
        if key is None or value is None:
            return False
        return key in keys if keys is not None else wanted.names(key.decode("utf-8", "replace"))

    return meant


def _is_meant(
    said: Coverage | Detection, wanted: Wanted, bounds: Mapping[int, tuple[int, int]] | None
) -> bool:
    if bounds is not None:
        first, end = bounds.get(said.partition, (0, 0))
        return said.first_offset < end and said.last_offset >= first
    return said.start_us is None or said.end_us is None or wanted.overlaps(said.start_us, said.end_us)


def upserted(detections: Iterable[Detection]) -> list[Detection]:
    """Return one detection an id: ENDED over ACTIVE."""
    found: dict[str, Detection] = {}
    for detection in detections:
        if detection.id not in found or detection.state is DetectionState.ENDED:
            found[detection.id] = detection
    return list(found.values())


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
    return (_1970 + timedelta(microseconds=time_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")
