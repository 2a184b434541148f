"""A time of which coverage says nothing -> why: no frames, removed by retention, or nobody listened."""

from collections.abc import Sequence

from earwitness.analysis.lookup import Lookup
from earwitness.analysis.reasons import Finding, Reason
from earwitness.analysis.wanted import TimeBase, Wanted, utc_text
from schemas.coverage import Coverage
from schemas.topics import partition_of

AROUND_S = 3600.0
"""How far away the nearest sound is looked for where there is none."""
CLOCK_SLACK_MS = 2000
"""Frames are appended within so long of the time that a sensor's clock, put right, gives for them."""


def unheard(lookup: Lookup, wanted: Wanted) -> Finding:
    """Say why coverage has nothing of the time: no frames, removed since, or nobody listened."""
    (sensor,), topic = wanted.sensors, lookup.frames
    state = lookup.states(wanted).get(sensor)
    off_us = state.clock_offset_us if state is not None and wanted.clock is TimeBase.SENSOR else 0
    begin_ms = ((wanted.begin_us or 0) + off_us) // 1000 - CLOCK_SLACK_MS
    end_ms = ((wanted.end_us or 0) + off_us) // 1000 + CLOCK_SLACK_MS
    partition = partition_of(sensor.encode(), len(lookup.reader.partitions(topic)))
    first = lookup.reader.at(topic, partition, lookup.reader.limits_of(topic, partition)[0])
    if first is not None and first.offset > 0 and first.timestamp > end_ms:
        begins_us = first.timestamp * 1000
        text = f"removed by retention: what is left of {topic}[{partition}] begins at {utc_text(begins_us)}"
        return Finding(Reason.EXPIRED, text, {"log_begins_us": begins_us})
    around = lookup.coverage(wanted.widened(AROUND_S, AROUND_S))
    there = [c for c in around if (c.topic, c.partition) == (topic, partition)]
    told = [range(c.first_offset, c.last_offset + 1) for c in there]
    appended = _frames(lookup, wanted, partition, begin_ms, end_ms)
    frames = sum(not any(offset in stretch for stretch in told) for offset in appended)
    if frames:
        text = f"{frames} frames are in {topic}[{partition}], but no worker has said anything of them yet"
        return Finding(Reason.NOT_HEARD, text, {"frames": frames})
    before, after = _nearest(around, wanted)
    text = f"nothing of {sensor} was appended then: its sound before ends at {utc_text(before)}, "
    text += f"the next begins at {utc_text(after)}"
    return Finding(Reason.NO_FRAMES, text, {"sound_before_us": before, "sound_after_us": after})


def _frames(lookup: Lookup, wanted: Wanted, partition: int, begin_ms: int, end_ms: int) -> list[int]:
    """Return the offsets of the sensor's frames that were appended in that time."""
    topic, key = lookup.frames, wanted.sensors[0].encode()
    first = lookup.reader.offset_at(topic, partition, begin_ms)
    end = lookup.reader.offset_at(topic, partition, end_ms)
    found = lookup.reader.read(topic, {partition: (first, end)}, lambda read, _: read == key)
    return [record.offset for record in found]


def _nearest(around: Sequence[Coverage], wanted: Wanted) -> tuple[int | None, int | None]:
    """Return when the sound before ends, and when the one after begins, as far as it is near."""
    begin_us, end_us = wanted.begin_us or 0, wanted.end_us or 0
    ends = [c.end_us for c in around if c.end_us is not None and c.end_us <= begin_us]
    begins = [c.start_us for c in around if c.start_us is not None and c.start_us >= end_us]
    return max(ends, default=None), min(begins, default=None)
