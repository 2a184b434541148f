"""Sensor and time -> its timeline: reads what coverage and detections say of it."""

from dataclasses import replace

from earwitness.analysis.lookup import Lookup
from earwitness.analysis.timeline import Timeline, timeline
from earwitness.analysis.wanted import Wanted
from earwitness.analysis.whereabouts import bounded, expired, nothing_there

DEFAULT_RANGE_US = 3_600_000_000


def overview(lookup: Lookup, wanted: Wanted, now_us: int) -> Timeline:
    """Lay out one sensor's time: up to now, or where no time is given its last hour by its own clock.

    Raises:
        ConfigurationError: nobody has heard of the sensor, or the time is too long.

    """
    sensor = wanted.sensors[0]
    state, end_us = lookup.states(wanted).get(sensor), wanted.end_us
    if end_us is None:
        last = state is not None and wanted.begin_us is None
        end_us = state.captured_at_us if state is not None and last else now_us
    begin_us = end_us - DEFAULT_RANGE_US if wanted.begin_us is None else wanted.begin_us
    wanted = replace(wanted, begin_us=begin_us, end_us=end_us)
    bounded(wanted)
    said = lookup.coverage(wanted)
    if not said and state is None:
        raise nothing_there(lookup, wanted)
    return timeline(sensor, begin_us, end_us, said, lookup.detections(wanted), expired(lookup, said))
