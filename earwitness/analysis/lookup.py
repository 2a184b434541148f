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

from processors.log import LogReader, Only, Record, read_as
from schemas.codec import Codec
from schemas.coverage import Coverage
from schemas.detection import Detection, DetectionState
from schemas.errors import ConfigurationError
from schemas.sensor import SensorState
from schemas.topics import Topics, partition_of

SLACK_S = 600.0
"""What was said of a sound is looked for so long before and after it: room for clocks and for lag."""
LOOK_BACK = 20_000
"""Detections of a partition that are searched for an id at once, from the newest on."""
_GLOB = re.compile(r"[*?\[]")
_AGO = re.compile(r"-(?P<count>\d+(\.\d+)?)(?P<unit>[smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
C = TypeVar("C", Coverage, Detection)
_PLACE = re.compile(r"(?P<topic>[^\[\]@]+)\[(?P<partition>\d+)\]@(?P<offset>\d+)")


class TimeBase(StrEnum):
    """Whose clock times are given in."""

    SENSOR = "sensor"
    BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sound that is meant: of some sensors (names or globs; none: all), in `[begin_us, end_us)`."""

    sensors: tuple[str, ...] = ()
    begin_us: int | None = None
    end_us: int | None = None
    clock: TimeBase = TimeBase.SENSOR

    def __post_init__(self) -> None:
        if self.begin_us is not None and self.end_us is not None and self.begin_us >= self.end_us:
            raise ConfigurationError("--to", utc_text(self.end_us), f"a time after {utc_text(self.begin_us)}")

    def names(self, sensor: str) -> bool:
        """Say whether a sensor is meant."""
        return not self.sensors or sensor in self.sensors or any(fnmatchcase(sensor, p) for p in self.sensors)

    @property
    def exact(self) -> bool:
        """Whether every sensor is given by its name."""
        return bool(self.sensors) and not any(_GLOB.search(pattern) for pattern in self.sensors)

    def overlaps(self, start_us: int, end_us: int) -> bool:
        """Say whether `[start_us, end_us)` has anything of the time that is meant."""
        begins = self.end_us is None or start_us < self.end_us
        return begins and (self.begin_us is None or end_us > self.begin_us)

    def widened(self, before_s: float, after_s: float) -> "Wanted":
        """Return the same with more time before and after it."""
        begin_us = None if self.begin_us is None else self.begin_us - round(before_s * 1e6)
        end_us = None if self.end_us is None else self.end_us + round(after_s * 1e6)
        return replace(self, begin_us=begin_us, end_us=end_us)


class Lookup:
    """Finds sound in the log of one tenant."""

    def __init__(self, reader: LogReader, codec: Codec, topics: Topics) -> None:
        self.reader, self.codec, self.topics = reader, codec, topics

    def coverage(self, wanted: Wanted, *, everywhere: bool = False) -> list[Coverage]:
        """Return what coverage says of the sound that is meant, in the order of its log.

        Looked for among what was appended around that time, with room for clocks that are off as far as
        `audio.sensors` says; with `everywhere`, or where named sensors are not found so, in the whole topic.
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
            yield from self._read(Coverage, self.topics.coverage, wanted, slack_s, everywhere=True)

    def detections(self, wanted: Wanted, *, everywhere: bool = False) -> list[Detection]:
        """Return the detections in the sound that is meant: upserted by id, by sensor and time."""
        said = self._read(Detection, self.topics.detections, wanted, SLACK_S, everywhere=everywhere)
        found = upserted(detection for detection, meant in said if meant)
        return sorted(found, key=lambda d: (d.sensor, d.start_us, d.label))

    def detection(self, name: str) -> Detection:
        """Return one detection, named by its id or by its place, `topic[partition]@offset`.

        Raises:
            ConfigurationError: there is none.

        """
        place = _PLACE.fullmatch(name)
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

    def states(self) -> dict[str, SensorState]:
        """Return the last state of every sensor."""
        found: dict[str, SensorState] = {}
        for record in self.reader.read(self.topics.sensors):
            state = None if record.value is None else read_as(self.codec, SensorState, record)
            if state is not None:
                found[state.sensor] = state
        return found

    def partitions_of(self, wanted: Wanted, topic: str) -> list[int]:
        """Return the partitions in which the sensors that are meant can be."""
        numbers = self.reader.partitions(topic)
        if not wanted.exact:
            return numbers
        return sorted({partition_of(name.encode(), len(numbers)) for name in wanted.sensors})

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

    def _read(
        self, kind: type[C], topic: str, wanted: Wanted, slack_s: float, *, everywhere: bool
    ) -> Iterator[tuple[C, bool]]:
        bounds = self.frame_offsets(wanted) if wanted.clock is TimeBase.BROKER else None
        stretches = None if everywhere else self._stretches(topic, wanted, slack_s)
        for record in self._candidates(topic, wanted, stretches):
            said = read_as(self.codec, kind, record)
            if said is not None and said.sensor is not None:
                live = bounds is None or said.topic == self.topics.frames
                yield said, live and _is_meant(said, wanted, bounds)

    def _candidates(
        self, topic: str, wanted: Wanted, stretches: Mapping[int, tuple[int, int]] | None
    ) -> Iterator[Record]:
        """Read what may be about the sensors, without decoding what cannot be."""
        keys = {name.encode() for name in wanted.sensors} if wanted.exact else None

        def meant(key: bytes | None, value: bytes | None) -> bool:
            if key is None or value is None:
                return False
            return key in keys if keys is not None else wanted.names(key.decode("utf-8", "replace"))

        return self.reader.read(topic, stretches, meant)

    def _stretches(self, topic: str, wanted: Wanted, slack_s: float) -> dict[int, tuple[int, int]]:
        limits = self.reader.limits(topic)
        first = {number: low for number, (low, _) in limits.items()}
        end = {number: high for number, (_, high) in limits.items()}
        earliest_us, latest_us = self._clocks_off(wanted, slack_s)
        if wanted.begin_us is not None:
            first = self.reader.offsets_at(topic, max(0, wanted.begin_us + earliest_us) // 1000)
        if wanted.end_us is not None:
            end = self.reader.offsets_at(topic, max(0, wanted.end_us + latest_us) // 1000)
        return {number: (first[number], end[number]) for number in self.partitions_of(wanted, topic)}

    def _clocks_off(self, wanted: Wanted, slack_s: float) -> tuple[int, int]:
        """Return from how long before to how long after its time a sound was spoken of, in microseconds."""
        off = [0]
        if wanted.clock is TimeBase.SENSOR and not (wanted.begin_us is None and wanted.end_us is None):
            off += [state.clock_offset_us for name, state in self.states().items() if wanted.names(name)]
        slack_us = round(slack_s * 1e6)
        return min(off) - slack_us, max(off) + slack_us

    def frame_offsets(self, wanted: Wanted) -> dict[int, tuple[int, int]]:
        """Return, for each partition, which frames were appended in the time that is meant."""
        topic = self.topics.frames
        bounds = self.reader.limits(topic)
        first = {number: low for number, (low, _) in bounds.items()}
        end = {number: high for number, (_, high) in bounds.items()}
        if wanted.begin_us is not None:
            first = self.reader.offsets_at(topic, wanted.begin_us // 1000)
        if wanted.end_us is not None:
            end = self.reader.offsets_at(topic, wanted.end_us // 1000)
        return {number: (first[number], end[number]) for number in bounds}


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


def parse_time(text: str, option: str, now_us: int) -> int:
    """Read a time as microseconds since 1970: ISO 8601 with a zone, `now`, or `-90s`, `-10m`, `-2h`, `-1d`.

    Raises:
        ConfigurationError: it is none of these.

    """
    accepted = "a time with its zone, such as 2026-01-31T03:12:00Z, or now, or -90s, -10m, -2h, -1d"
    ago = _AGO.fullmatch(text)
    if text == "now":
        return now_us
    if ago is not None:
        return now_us - round(float(ago["count"]) * _SECONDS[ago["unit"]] * 1e6)
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
