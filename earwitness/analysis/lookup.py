"""Which sound is meant -> where in the log it is: through what coverage and detections say.

    sensors, from, to  ──► coverage ──► (partition, first offset, last offset), epochs, samples, UTC

Times are the sensors' own unless the broker's clock is named: a sensor with a clock an hour ahead was heard,
by its own account, an hour from now, and coverage knows where in the log that is.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from earwitness.analysis.wanted import TimeBase, Wanted
from processors.log import LogReader, Only, read_as
from schemas.codec import Codec
from schemas.coverage import Coverage
from schemas.detection import Detection, DetectionState
from schemas.errors import ConfigurationError
from schemas.sensor import SensorState
from schemas.topics import Topics, partition_of

SLACK_S = 600.0
"""What was said of a sound is looked for so long before and after it: room for clocks and for lag."""
FAR_S = 54_000.0
"""Named sensors that are not found so are looked for this far: their clocks were in another time zone."""
LOOK_BACK = 20_000
"""Detections of a partition that are searched for an id at once, from the newest on."""
C = TypeVar("C", Coverage, Detection)
PLACE = re.compile(r"(?P<topic>[^\[\]@]+)\[(?P<partition>\d{1,20})\]@(?P<offset>\d{1,20})")


class Lookup:
    """Finds sound in the log of one tenant; `frames` is the topic that is listened to, live or backfill."""

    def __init__(self, reader: LogReader, codec: Codec, topics: Topics, frames: str | None = None) -> None:
        self.reader, self.codec, self.topics = reader, codec, topics
        self.frames = frames or topics.frames
        self._known: dict[Wanted, dict[tuple[str, int], SensorState]] = {}

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
        sensors = Wanted(wanted.sensors, literal=wanted.literal)  # at any time
        if sensors not in self._known:
            found: dict[tuple[str, int], SensorState] = {}
            for record in self.reader.read(self.topics.sensors, only=about(wanted)):
                state = read_as(self.codec, SensorState, record)
                if state is not None:
                    found[state.sensor, record.partition] = state
            self._known[sensors] = found
        return self._known[sensors]

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
        for record in self.reader.read(topic, stretches, about(wanted)):
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


def about(wanted: Wanted) -> Only:
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
