"""Sensor and time -> where in the log its sound is, through what coverage says of it.

Coverage knows where a sensor's time lies in the log, however wrong its clock is. Sound that no worker has
spoken of yet is looked for by append time, next to what is known or, where nothing is, as far off as the
clock is said to be.
"""

from collections.abc import Iterable, Iterator

from earwitness.analysis.lookup import Lookup
from earwitness.analysis.sound import Whereabouts
from earwitness.analysis.wanted import TimeBase, Wanted, utc_text
from processors.log import read_as
from schemas.coverage import Coverage, Outcome
from schemas.errors import ConfigurationError

AROUND_US = 60_000_000
"""Where coverage says nothing, frames are looked for among what was appended this long around the time."""
ABOUT_US = 600_000_000
"""What was said of a time is looked for among what was appended this long around it."""
FAR_OFF_US = 60_000_000
"""A clock that is off by more is worth mentioning where nothing was found."""
MAX_NAMED, MAX_RANGE_S = 5, 86_400
Times = tuple[int, int]


def whereabouts(lookup: Lookup, wanted: Wanted) -> list[Whereabouts]:
    """Return where the sound of one sensor in a time that is bounded both ways lies, the earliest first."""
    if wanted.clock is TimeBase.BROKER:
        return list(_appended(lookup, wanted, 0))
    said = lookup.coverage(wanted)
    if said:
        return [_covered(of_partition, wanted) for of_partition in _by_partition(said)]
    state = lookup.states(wanted).get(wanted.sensors[0])
    offset_us = 0 if state is None else state.clock_offset_us
    return list(_appended(lookup, wanted, offset_us, AROUND_US))


def bounded(wanted: Wanted) -> Times:
    """Return from when to when sound is wanted.

    Raises:
        ConfigurationError: one of them is missing, or that is too long.

    """
    if wanted.begin_us is None or wanted.end_us is None:
        missing = "--from" if wanted.begin_us is None else "--to"
        raise ConfigurationError(missing, "missing", "a time, such as -10m")
    length_us = wanted.end_us - wanted.begin_us
    if length_us > MAX_RANGE_S * 1_000_000:
        asked, most = f"{length_us / 3.6e9:.1f} hours", f"at most {MAX_RANGE_S // 3600} hours at a time"
        raise ConfigurationError("--from, --to", asked, most)
    return wanted.begin_us, wanted.end_us


def nothing_there(lookup: Lookup, wanted: Wanted) -> ConfigurationError:
    """Say that no sound was found, and what there is."""
    sensor, said = wanted.sensors[0], lookup.coverage(Wanted(wanted.sensors, literal=True), everywhere=True)
    states = lookup.states()
    if not said and sensor not in states:
        known = ", ".join(sorted(states)[:MAX_NAMED]) or "none has been heard yet"
        return ConfigurationError("--sensor", sensor, f"a sensor that was heard, such as: {known}")
    begin_us, end_us = bounded(wanted)
    heard = _nearest(joined((c.start_us or 0, c.end_us or 0) for c in said), begin_us, end_us)
    spans = "; ".join(f"{utc_text(start)} to {utc_text(end)}" for start, end in heard) or "at no time"
    accepted = f"a time at which {sensor} was heard by its own clock, such as {spans}"
    off_us = states[sensor].clock_offset_us if sensor in states else 0
    if abs(off_us) > FAR_OFF_US and wanted.clock is TimeBase.SENSOR:
        way = "behind" if off_us > 0 else "ahead"
        accepted += f"; its clock is {abs(off_us) / 1e6:.0f} s {way}: --clock broker takes the broker's"
    return ConfigurationError("--from, --to", f"{utc_text(begin_us)} to {utc_text(end_us)}", accepted)


def expired(lookup: Lookup, said: list[Coverage]) -> list[Coverage]:
    """Return what was said of offsets that nobody could read, in the partitions and among what is given.

    Such a statement names no sensor. The worker that makes it says next what follows: it stands before that.
    """
    if not said:
        return []
    topic = lookup.topics.coverage
    earliest_us, latest_us = min(c.start_us or 0 for c in said), max(c.end_us or 0 for c in said)
    states = lookup.states(Wanted((said[0].sensor or "",), literal=True))
    offset_us = states[said[0].sensor].clock_offset_us if said[0].sensor in states else 0
    first = lookup.reader.offsets_at(topic, max(0, earliest_us + offset_us - ABOUT_US) // 1000)
    end = lookup.reader.offsets_at(topic, max(0, latest_us + offset_us + ABOUT_US) // 1000)
    stretches = {number: (first[number], end[number]) for number in {c.partition for c in said}}
    records = (record for record in lookup.reader.read(topic, stretches) if record.key is None)
    found = (read_as(lookup.codec, Coverage, record) for record in records if record.value is not None)
    return [c for c in found if c is not None and c.outcome is Outcome.EXPIRED]


def joined(spans: Iterable[Times], tolerance_us: int = 1_000_000) -> list[Times]:
    """Join spans that overlap or nearly touch."""
    found: list[Times] = []
    for start_us, end_us in sorted(spans):
        if found and start_us - found[-1][1] <= tolerance_us:
            found[-1] = found[-1][0], max(found[-1][1], end_us)
        else:
            found.append((start_us, end_us))
    return found


def _nearest(spans: list[Times], begin_us: int, end_us: int) -> list[Times]:
    near = sorted(spans, key=lambda span: max(span[0] - end_us, begin_us - span[1]))
    return sorted(near[:MAX_NAMED])


def _by_partition(said: list[Coverage]) -> list[list[Coverage]]:
    """Return what was said of each partition, the one that was heard first first."""
    found: dict[tuple[str, int], list[Coverage]] = {}
    for coverage in said:
        found.setdefault((coverage.topic, coverage.partition), []).append(coverage)
    return sorted(found.values(), key=lambda of: min(c.start_us or 0 for c in of))


def _covered(said: list[Coverage], wanted: Wanted) -> Whereabouts:
    begin_us, end_us = bounded(wanted)
    first_us, last_us = min(c.start_us or 0 for c in said), max(c.end_us or 0 for c in said)
    return Whereabouts(
        topic=said[0].topic,
        partition=said[0].partition,
        sensor=wanted.sensors[0],
        first_offset=min(c.first_offset for c in said),
        last_offset=max(c.last_offset for c in said),
        length_ms=(last_us - first_us) // 1000,
        before_ms=max(0, first_us - begin_us) // 1000,
        after_ms=max(0, end_us - last_us) // 1000,
    )


def _appended(lookup: Lookup, wanted: Wanted, offset_us: int, around_us: int = 0) -> Iterator[Whereabouts]:
    topic = lookup.topics.frames
    begin_us, end_us = bounded(wanted)
    first = lookup.reader.offsets_at(topic, max(0, begin_us + offset_us - around_us) // 1000)
    end = lookup.reader.offsets_at(topic, max(0, end_us + offset_us + around_us) // 1000)
    for number in lookup.partitions_of(wanted, topic):
        if first[number] < end[number]:
            length_ms = (end_us - begin_us) // 1000
            yield Whereabouts(topic, number, wanted.sensors[0], first[number], end[number] - 1, length_ms)
