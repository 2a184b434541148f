"""Spans: sets of samples as sorted, disjoint, half-open stretches `[start, end)`."""

from collections.abc import Iterable, Sequence

Span = tuple[int, int]
Spans = Sequence[Span]


def union(*many: Iterable[Span]) -> list[Span]:
    """Return what lies in any of them; stretches may overlap, and come in any order."""
    joined: list[Span] = []
    for start, end in sorted(span for spans in many for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            start, end = joined[-1][0], max(end, joined.pop()[1])
        joined.append((start, end))
    return joined


def minus(spans: Iterable[Span], away: Iterable[Span]) -> list[Span]:
    """Return what of `spans` does not lie in `away`."""
    left: list[Span] = []
    holes, at = union(away), 0
    for start, end in union(spans):
        while at < len(holes) and holes[at][1] <= start:
            at += 1
        for hole in holes[at:]:
            if hole[0] >= end:
                break
            if start < hole[0]:
                left.append((start, hole[0]))
            start = max(start, hole[1])
        if start < end:
            left.append((start, end))
    return left


def common(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return what lies in both."""
    first = union(spans)
    return minus(first, minus(first, others))


def size(spans: Iterable[Span]) -> int:
    """Return how many samples lie in disjoint stretches."""
    return sum(end - start for start, end in spans)
