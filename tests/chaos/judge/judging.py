"""Evidence -> verdict: reads the topics of a round from scratch and holds them against the rules."""

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from tests.chaos.evidence import Evidence
from tests.chaos.judge import checks
from tests.chaos.judge.commits import commits
from tests.chaos.judge.heard import Group, Heard, anything, read, sizes
from tests.chaos.judge.quiet import longest_quiet_ms
from tests.chaos.judge.runs import Epoch
from tests.chaos.judge.spans import Span, common, minus, size, union
from tests.chaos.judge.truth import Truth, truth_of
from tests.chaos.judge.verdict import Verdict

Acknowledged = Mapping[Epoch, list[Span]]


def judge(directory: Path) -> Verdict:
    """Judge the round that left its evidence in a directory."""
    evidence = Evidence.read(directory)
    heard = read(evidence.round)
    digest, findings = checks.digest_of(heard)
    truth = truth_of(evidence, heard.frames, digest)
    owed = _owed(evidence, truth)
    findings += checks.lost_records(evidence, heard, truth)
    for group in heard.groups:
        findings += checks.coverage(group, truth, owed)
        findings += checks.detections(group, truth)
        findings += checks.order(group)
        findings += checks.dead_letters(group, evidence, truth)
    findings += checks.states(heard.disturbed, truth)
    findings += commits(evidence, heard, truth)
    counts = {**_counts(evidence, heard, truth), **_samples(evidence, heard.disturbed, owed)}
    counts |= longest_quiet_ms(heard.disturbed, truth.admitted.frames.values())
    return Verdict(tuple(findings), counts, _latencies(heard.disturbed, truth))


def _stored(evidence: Evidence, without: set[tuple[int, int]]) -> Acknowledged:
    """Return what was acknowledged, by epoch, without frames at some places."""
    found: dict[Epoch, list[Span]] = {}
    for frame in evidence.stored:
        if (frame.partition, frame.offset) not in without:
            found.setdefault((frame.sensor, frame.epoch), []).append(
                (frame.first_sample, frame.first_sample + frame.samples)
            )
    return {(sensor, str(UUID(epoch))): union(spans) for (sensor, epoch), spans in found.items()}


def _owed(evidence: Evidence, truth: Truth) -> Acknowledged:
    """Return what must be accounted for: what was acknowledged, unless the rules drop its frame."""
    dropped = {frame.place for frame in truth.admitted.late} | set(truth.admitted.letters)
    return _stored(evidence, dropped)


def _counts(evidence: Evidence, heard: Heard, truth: Truth) -> dict[str, int]:
    """Count records."""
    disturbed, commits_ = heard.disturbed, evidence.commits
    return {
        "records": len(heard.frames),
        "frames": len(truth.admitted.frames),
        "ticks": len(truth.admitted.ticks),
        "frames_acknowledged": len(evidence.stored),
        "frames_late": len(truth.admitted.late),
        "runs": len(truth.admitted.runs),
        "windows": truth.windows,
        "broken_acknowledged": len(evidence.broken),
        "dead_letters_due": len(truth.admitted.letters),
        "dead_letters": len(disturbed.letters or ()),
        "commits": len(commits_),
        "detections_oracle": len(truth.detections),
        "detections_disturbed": len(disturbed.by_key),
        "detections_fresh": 0 if heard.fresh is None else len(heard.fresh.by_key),
        "detections_said_again": len(disturbed.detections) - len(disturbed.by_key),
        "coverage_records": len(disturbed.coverage),
    }


def _samples(evidence: Evidence, group: Group, owed: Acknowledged) -> dict[str, int]:
    """Count what was acknowledged by what the disturbed group says of it."""
    said = group.outcomes
    counts = dict.fromkeys(("acknowledged", "dropped", "unexplained"), 0)
    for epoch, spans in _stored(evidence, set()).items():
        outcomes = said.get(epoch, {})
        unsaid = minus(spans, anything(outcomes))
        unexplained = size(common(unsaid, owed.get(epoch, ())))
        counts["acknowledged"] += size(spans)
        counts["unexplained"] += unexplained
        counts["dropped"] += size(unsaid) - unexplained
        for outcome, samples in sizes(outcomes, spans).items():
            counts[outcome] = counts.get(outcome, 0) + samples
    return {f"samples_{name}": samples for name, samples in counts.items()}


def _latencies(group: Group, truth: Truth) -> tuple[tuple[int, int], ...]:
    """Return, for each true detection and state, when it was decided and when it first appeared."""
    found = []
    for key, (first, *_) in group.by_key.items():
        times = [due.decided_ms for due in truth.detections.get(key, {}).values()]
        if times and times[0] is not None:
            found.append((times[0], first.record.appended_ms))
    return tuple(sorted(found))
