"""Append times of frames and of what was said of them -> the longest times in which there were none.

Between a partition's first frame and its last; the longest of all partitions. The first is what producers
felt, the second what readers felt.
"""

from collections.abc import Iterable
from itertools import pairwise

from tests.chaos.judge.heard import Group
from tests.chaos.judge.wire import Frame

Times = dict[int, list[int]]
"""In milliseconds since 1970, by partition."""


def longest_quiet_ms(group: Group, frames: Iterable[Frame]) -> dict[str, int]:
    """Return the longest times without a frame, and without a word, as counts."""
    appended = _times((frame.partition, frame.appended_ms) for frame in frames)
    records = (said.record for said in [*group.detections, *group.coverage])
    published = _times((record.partition, record.appended_ms) for record in records)
    said = {
        partition: [since, *(at_ms for at_ms in published.get(partition, ()) if since < at_ms < until), until]
        for partition, times in appended.items()
        for since, until in [(times[0], times[-1])]
    }
    return {"longest_unappended_ms": _longest(appended), "longest_unpublished_ms": _longest(said)}


def _times(places: Iterable[tuple[int, int]]) -> Times:
    found: Times = {}
    for partition, at_ms in places:
        found.setdefault(partition, []).append(at_ms)
    return {partition: sorted(times) for partition, times in found.items()}


def _longest(times: Times) -> int:
    return max((until - since for each in times.values() for since, until in pairwise(each)), default=0)
