"""What was committed when, against what was still to be said -> findings.

    commits     10 ─────── 20 ─────── 30 ──────►   asked at these times
    outputs            a        b          c        first appearance; each needs frames from some offset on

An output that was not in the log yet when a commit had been seen must still be within reach of whoever takes
over there: the commit is not past the frame that holds its first sample, or, of a detection, the first sample
of the n windows that made it active.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from tests.chaos.evidence import Evidence
from tests.chaos.judge.checks import place_of_letter
from tests.chaos.judge.heard import Group, Heard
from tests.chaos.judge.runs import Epoch
from tests.chaos.judge.spans import Span, minus, union
from tests.chaos.judge.topic import Logged
from tests.chaos.judge.truth import Truth
from tests.chaos.judge.verdict import Finding, Kind


@dataclass(frozen=True, slots=True)
class Need:
    """An output's first appearance, and the offset that had to be within reach until then."""

    record: Logged
    offset: int
    what: str


@dataclass(frozen=True, slots=True)
class _Committed:
    """What a partition's highest commit was, by time."""

    times_ms: list[int]
    highest: list[int]

    def before(self, at_ms: int) -> int:
        """Return the highest offset that had been seen before a time; -1 where there was none."""
        seen = bisect_left(self.times_ms, at_ms)
        return self.highest[seen - 1] if seen else -1


def commits(evidence: Evidence, heard: Heard, truth: Truth) -> list[Finding]:
    """Find commits past a frame that was still needed, and commits past everything."""
    beyond = (
        f"[{commit.partition}] {commit.offset} seen at {commit.at_ms} ms"
        for commit in evidence.commits
        if commit.offset > heard.frames_end.get(commit.partition, 0)
    )
    committed = _committed(evidence)
    passed = (
        f"[{partition}] {seen} was committed; {need.what}, appended at {need.record.appended_ms} ms, "
        f"needs @{need.offset}"
        for need in _needs(evidence, heard.disturbed, truth)
        for partition in [need.record.partition]
        if partition in committed
        for seen in [committed[partition].before(need.record.appended_ms)]
        if seen > need.offset
    )
    return [
        *Finding.of(Kind.COMMIT, "a commit passed frames that were still needed", passed),
        *Finding.of(Kind.COMMIT, "a commit is beyond the log's end", beyond),
    ]


def _needs(evidence: Evidence, group: Group, truth: Truth) -> Iterator[Need]:
    yield from _detections(group, truth)
    yield from _coverage(group, truth)
    yield from _letters(group, evidence)


def _committed(evidence: Evidence) -> Mapping[int, _Committed]:
    by_partition: dict[int, list[tuple[int, int]]] = {}
    for commit in sorted(evidence.commits, key=lambda one: one.at_ms):
        by_partition.setdefault(commit.partition, []).append((commit.at_ms, commit.offset))
    return {
        partition: _Committed([at_ms for at_ms, _ in seen], list(accumulate((o for _, o in seen), max)))
        for partition, seen in by_partition.items()
    }


def _detections(group: Group, truth: Truth) -> Iterator[Need]:
    for (id_, state), (first, *_) in group.by_key.items():
        epoch = first.fields["sensor"], first.fields["epoch"]
        offset = truth.needed_from(epoch, first.fields["start_sample"])
        if offset is not None:
            yield Need(first.record, offset, f"{state} {id_}")


def _coverage(group: Group, truth: Truth) -> Iterator[Need]:
    """Yield what each record was the first to speak of."""
    spoken: dict[Epoch, list[Span]] = {}
    for said in group.coverage:
        if said.fields["sensor"] is None:
            continue
        epoch = said.fields["sensor"], said.fields["epoch"]
        span = said.fields["start_sample"], said.fields["end_sample"]
        before = spoken.get(epoch, [])
        for start, end in minus([span], before):
            offset = truth.offset_of(epoch, start)
            if offset is not None:
                yield Need(said.record, offset, f"{said.fields['outcome']} {epoch[0]} {start}..{end}")
        spoken[epoch] = union(before, [span])


def _letters(group: Group, evidence: Evidence) -> Iterator[Need]:
    seen = set()
    for record in group.letters or ():
        place = place_of_letter(record, evidence.round.topics["frames"])
        if place is not None and place not in seen:
            seen.add(place)
            yield Need(record, place[1], f"the dead letter of @{place[1]}")
