"""Half-open intervals `[start, end)` of whole numbers: their union, intersection and difference."""

from collections.abc import Iterable, Iterator, Sequence

Interval = tuple[int, int]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Join what overlaps or touches."""
    found: list[Interval] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        elif start < end:
            found.append((start, end))
    return found


def common(a: Sequence[Interval], b: Sequence[Interval]) -> list[Interval]:
    """Return what both have; each must be a union."""
    return list(_common(a, b))


def without(a: Sequence[Interval], b: Sequence[Interval]) -> list[Interval]:
    """Return what only `a` has; each must be a union."""
    found: list[Interval] = []
    shared = iter([*common(a, b), (1 << 63, 1 << 63)])
    taken = next(shared)
    for start, end in a:
        while taken[0] < end:
            if start < taken[0]:
                found.append((start, taken[0]))
            start, taken = taken[1], next(shared)
        if start < end:
            found.append((start, end))
    return found


def length(intervals: Iterable[Interval]) -> int:
    """Return how long all of them are."""
    return sum(end - start for start, end in intervals)


def met(a: Sequence[Interval], b: Sequence[Interval]) -> int:
    """Count the intervals of `a` that overlap any of `b`; each must be a union."""
    count = at = 0
    for start, end in a:
        while at < len(b) and b[at][1] <= start:
            at += 1
        count += at < len(b) and b[at][0] < end
    return count


def _common(a: Sequence[Interval], b: Sequence[Interval]) -> Iterator[Interval]:
    i = j = 0
    while i < len(a) and j < len(b):
        start, end = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if start < end:
            yield start, end
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
