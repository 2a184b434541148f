"""The sound that is meant -> a plan: which stretches of which partitions to listen to again.

    sensors, from, to ──► coverage ──► offsets, a lead before and a tail after ──► stretches

What is heard in the lead and the tail is not told: it makes the range's edges right (`processors/replay.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from earwitness.analysis.errors import NoSoundError
from earwitness.analysis.lookup import SLACK_S, Lookup
from earwitness.analysis.wanted import TimeBase, Wanted, utc_text
from processors.course import Course
from processors.replay import Stretch, lead_s, settled_s, tail_s
from processors.window import Window
from schemas.coverage import Coverage
from schemas.detection import Detection, DetectionState
from schemas.errors import ConfigurationError

LATE_S = 10.0
"""Frames are appended this much before or after the time that their sensor's clock, put right, gives them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to listen to again, to answer for the sound that is meant, and what decides about it.

    `frames` are the frames in the range by partition, where the broker's clock names it. `removed` counts the
    records of the stretches that retention has removed.
    """

    wanted: Wanted
    stretches: tuple[Stretch, ...]
    frames: Mapping[int, tuple[int, int]] | None
    removed: int
    course: Course

    @property
    def records(self) -> int:
        """How many records there are to read."""
        return sum(stretch.end - stretch.first for stretch in self.stretches)

    def holds(self, partition: int, found: Detection | Window) -> bool:
        """Say whether a detection, or a window, has anything of the range."""
        if self.frames is not None:
            first, end = self.frames[partition]
            return found.first_offset < end and found.last_offset >= first
        return self.wanted.overlaps(found.start_us, found.end_us)

    def begins_before(self, found: Detection) -> bool:
        """Say whether a detection began before the range."""
        if self.frames is not None:
            return found.first_offset < self.frames[found.partition][0]
        return self.wanted.begin_us is not None and found.start_us < self.wanted.begin_us


class InRange:
    """Passes on what is said of detections in the range.

    A detection that began before the range is told only once it is known to reach into it: its first window
    may end later than the detection, which the next segment cuts.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._waiting: dict[str, Detection] = {}

    def feed(self, said: Detection) -> list[Detection]:
        """Take the next statement; return those that can be told now."""
        if said.state is DetectionState.ACTIVE and self._plan.begins_before(said):
            self._waiting[said.id] = said
            return []
        before = self._waiting.pop(said.id, None)
        if not self._plan.holds(said.partition, said):
            return []
        return [said] if before is None else [before, said]

    def rest(self) -> list[Detection]:
        """Return what has not ended where the log ends, as far as it is in the range."""
        return [said for said in self._waiting.values() if self._plan.holds(said.partition, said)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """How to listen: `speed` is a multiple of the pace at which the sound was appended, None for the fastest.

    `more_before_s` and `more_after_s` widen what is listened to beyond what the range's edges need.
    """

    speed: float | None = None
    jobs: int = 0
    """Processes; 0 for one a core."""
    more_before_s: float = 0.0
    more_after_s: float = 0.0
    everywhere: bool = False
    scores: Path | None = None
    one_model: bool = False
    """The model of the settings hears all of it: rollouts are not followed."""

    def __post_init__(self) -> None:
        if self.speed is not None and not 0 < self.speed <= 1e6:
            raise ConfigurationError("--speed", self.speed, "more than 0, or max")
        if not 0 <= self.jobs <= 256:
            raise ConfigurationError("--jobs", self.jobs, "0 to 256")
        for key, value in (("--pre-roll", self.more_before_s), ("--post-roll", self.more_after_s)):
            if not 0 <= value <= 86_400:
                raise ConfigurationError(key, value, "0 to 86400 s")


def plan(lookup: Lookup, course: Course, wanted: Wanted, how: ReplaySettings | None = None) -> Plan:
    """Find what has to be listened to.

    Raises:
        NoSoundError: nothing in the log is of the sound that is meant.

    """
    how = how or ReplaySettings()
    stretches, frames = [], None
    if wanted.begin_us is None and wanted.end_us is None:
        stretches += _whole(lookup, wanted)
    else:
        stretches += _covered(lookup, course, wanted, how)
        stretches += _appended(lookup, course, wanted, how)
    if wanted.clock is TimeBase.BROKER:
        frames = lookup.frame_offsets(wanted)
    present = [(s, _present(lookup, _until_settled(lookup, course, s))) for s in _joined(stretches)]
    removed = sum(there.first - stretch.first for stretch, there in present)
    found = tuple(there for _, there in present if there.first < there.end)
    if not found:
        raise nothing_heard(lookup, wanted)
    return Plan(wanted, found, frames, removed, course)


def _whole(lookup: Lookup, wanted: Wanted) -> list[Stretch]:
    return _stretches(lookup, wanted, lookup.reader.limits(lookup.frames))


def _appended(lookup: Lookup, course: Course, wanted: Wanted, how: ReplaySettings) -> list[Stretch]:
    """Find what was appended in that time: no worker may have said anything of it yet.

    The sensors' clocks are taken to be off by as much as they are now.
    """
    before_s, after_s = lead_s(course) + how.more_before_s, tail_s(course) + how.more_after_s
    if wanted.clock is TimeBase.BROKER:
        return _stretches(lookup, wanted, lookup.frame_offsets(wanted.widened(before_s, after_s)))
    wide, found = wanted.widened(before_s + LATE_S, after_s + LATE_S), []
    states = lookup.states(wanted)
    for sensor in [name for name in wanted.sensors if name not in states] if wanted.exact else [None]:
        of_it = replace(wanted, sensors=() if sensor is None else (sensor,))
        found += _stretches(lookup, of_it, lookup.frame_offsets(wide))
    for state in states.values():
        off_us = state.clock_offset_us if abs(state.clock_offset_us) > LATE_S * 1e6 else 0
        if off_us or wanted.exact:  # the others lie in what was taken above
            bounds = lookup.frame_offsets(wide.shifted(off_us))
            found.append(Stretch(lookup.frames, state.partition, *bounds[state.partition]))
    return found


def _stretches(lookup: Lookup, wanted: Wanted, bounds: Mapping[int, tuple[int, int]]) -> list[Stretch]:
    topic = lookup.frames
    return [Stretch(topic, number, *bounds[number]) for number in lookup.partitions_of(wanted, topic)]


def _covered(lookup: Lookup, course: Course, wanted: Wanted, how: ReplaySettings) -> list[Stretch]:
    """Find the sound through coverage; the lead and the tail count samples: a sensor's clock may step.

    Coverage is read twice, since that of an hour of a large fleet is more than one would keep in memory.
    """
    before_s, after_s = lead_s(course) + how.more_before_s, tail_s(course) + how.more_after_s
    slack_s = SLACK_S + max(before_s, after_s)
    edges: dict[tuple[str | None, str | None], tuple[int, int]] = {}
    for said, meant in lookup.nearby(wanted, slack_s, everywhere=how.everywhere):
        if meant and said.topic == lookup.frames:
            start, end = _samples(said)
            low, high = edges.get((said.sensor, said.epoch), (start, end))
            edges[said.sensor, said.epoch] = min(low, start), max(high, end)
    found = []
    for said, _ in lookup.nearby(wanted, slack_s, everywhere=how.everywhere) if edges else ():
        low, high = edges.get((said.sensor, said.epoch), (0, 0))
        (start, end), rate = _samples(said), said.sample_rate_hz or 0
        near = end > low - before_s * rate and start < high + after_s * rate and low < high
        if near and said.topic == lookup.frames:
            found.append(Stretch(said.topic, said.partition, said.first_offset, said.last_offset + 1))
    return found


def _samples(said: Coverage) -> tuple[int, int]:
    return said.start_sample or 0, said.end_sample or 0


def _joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return one stretch for each partition that has any records."""
    found: dict[tuple[str, int], Stretch] = {}
    for s in stretches:
        there = found.get(s.key, s)
        found[s.key] = replace(there, first=min(there.first, s.first), end=max(there.end, s.end))
    return [found[key] for key in sorted(found) if found[key].first < found[key].end]


def _until_settled(lookup: Lookup, course: Course, stretch: Stretch) -> Stretch:
    """Read on until every run that ended is closed, and what coverage had not said yet is in."""
    reader, (_, high) = lookup.reader, lookup.reader.limits_of(*stretch.key)
    last = reader.at(*stretch.key, min(stretch.end, high) - 1)
    if last is None or stretch.end >= high:
        return stretch
    after_ms = last.timestamp + round((settled_s(course) + tail_s(course)) * 1000) + 1
    return replace(stretch, end=max(stretch.end, min(high, reader.offset_at(*stretch.key, after_ms) + 1)))


def _present(lookup: Lookup, stretch: Stretch) -> Stretch:
    low, high = lookup.reader.limits_of(*stretch.key)
    first = max(stretch.first, low)
    return replace(stretch, first=first, end=max(first, min(stretch.end, high)))


def nothing_heard(lookup: Lookup, wanted: Wanted) -> NoSoundError:
    """Say that there is no such sound, and what there is."""
    who = ", ".join(wanted.sensors) or "any sensor"
    meant = f"{who}, {utc_text(wanted.begin_us)} to {utc_text(wanted.end_us)}"
    states = list(lookup.states(wanted).values())
    if not states:
        said = f"no worker has heard it; --clock broker takes the range of {lookup.frames} itself"
        return NoSoundError(meant, said)
    last = max(states, key=lambda state: state.captured_at_us)
    own, off_s = utc_text(last.captured_at_us), -last.clock_offset_us / 1e6
    said = f"{last.sensor} was last heard at {own} by its own clock, {off_s:+.1f} s from the broker's"
    return NoSoundError(meant, f"{said} (--clock, --everywhere)")
