"""The judge on a real log: it finds nothing where nothing is wrong, and every defect that is planted."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.kafka import KafkaServer
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection, DetectionState
from schemas.identity import epoch_text, new_epoch
from schemas.sensor import Presence, SensorState
from tests.chaos.evidence import Commit, Evidence, Stored
from tests.chaos.judge import Kind, Verdict, judge
from tests.chaos.judge.__main__ import main
from tests.chaos.planted import altered, planted, read_as, stands
from tests.chaos.small_round import IDLE_S, PARTITIONS, SAID, TENTH, play
from tests.integration.harness import Appended, Programs, Tenant
from tests.integration.quick_model import HOP_SAMPLES, write_quick_model

JUDGE = Path(__file__).parent / "judge"
N = 3
"""Of how many windows the quick model decides by two."""
MAY_IMPORT = {"tests.chaos.evidence", "tests.chaos.judge"}
OURS = {"earwitness", "infra", "models", "processors", "producers", "schemas", "tests"}
ALTERATIONS: dict[str, Callable[[Any], object]] = {
    "end_sample": lambda old: old + 1,
    "start_us": lambda old: old - 1,
    "end_us": lambda old: old + 1,
    "peak_score": lambda old: old + 1e-9,
    "windows": lambda old: old + 1,
    "threshold": lambda old: old + 1e-9,
    "continued": lambda old: not old,
    "missing_samples": lambda old: old + 1,
    "model_version": lambda old: old + "0",
    "first_offset": lambda old: old + 1,
    "last_offset": lambda old: old - 1,
}


@pytest.fixture(scope="module")
def evidence(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    programs = Programs(tmp_path_factory.mktemp("judged"))
    model = write_quick_model(tmp_path_factory.mktemp("model") / "quick")
    try:
        yield play(Tenant(kafka.bootstrap_servers, "judged").create(PARTITIONS), programs, model)
    finally:
        programs.close()


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[Evidence], Verdict]:
    def judged(evidence: Evidence) -> Verdict:
        evidence.write(tmp_path)
        return judge(tmp_path)

    return judged


Judged = Callable[[Evidence], Verdict]


def of(record: Appended) -> Detection:
    return read_as(Detection, record)


def ended(records: Iterable[Appended]) -> list[Appended]:
    """Return the records that say ENDED for the first time, of detections that are said once."""
    said = [of(record) for record in records]
    once = {d.id for d in said if sum(other.id == d.id for other in said) == 2}
    return [r for r, d in zip(records, said, strict=True) if d.id in once and d.state is DetectionState.ENDED]


# -- nothing is wrong ---------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_nothing_is_found_where_nothing_is_wrong(evidence: Evidence, judged: Judged) -> None:
    verdict = judged(evidence)
    assert verdict.findings == ()
    counts = verdict.counts
    assert counts["detections_oracle"] == counts["detections_disturbed"] == counts["detections_fresh"] > 50
    assert counts["samples_unexplained"] == 0
    by_outcome = [counts[f"samples_{outcome}"] for outcome in ("SCORED", "GAP", "SHORT", "dropped")]
    assert min(by_outcome) > 0
    assert sum(by_outcome) == counts["samples_acknowledged"]
    assert counts["frames_late"] == 1
    assert counts["dead_letters_due"] == counts["broken_acknowledged"] + 2
    assert counts["commits"] > 0
    assert counts["runs"] > len({frame.sensor for frame in evidence.stored})
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_how_long_detections_took_is_told_from_what_decided_them(evidence: Evidence, judged: Judged) -> None:
    verdict = judged(evidence)
    assert len(verdict.latencies) == verdict.counts["detections_disturbed"]
    assert all(until_ms >= since_ms for since_ms, until_ms in verdict.latencies)
    within_ms = sorted(until_ms - since_ms for since_ms, until_ms in verdict.latencies)
    assert within_ms[0] < IDLE_S * 1000


def test_the_command_prints_the_verdict_and_ends_with_1_on_findings(
    evidence: Evidence, tmp_path: Path
) -> None:
    evidence.write(tmp_path)
    assert Evidence.read(tmp_path) == evidence
    assert main(str(tmp_path)) == 0
    replace(evidence, stored=(replace(evidence.stored[0], samples=1),)).write(tmp_path)
    command = [sys.executable, "-m", "tests.chaos.judge", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert Verdict.from_json(done.stdout).kinds == {Kind.LOST}


# -- losses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["disturbed", "fresh"])
def test_a_detection_that_was_not_said_is_missing(evidence: Evidence, judged: Judged, group: str) -> None:
    lost = of(ended(getattr(stands(evidence, "detections"), group))[0]).id
    without = {group: lambda records: [record for record in records if of(record).id != lost]}
    verdict = judged(planted(evidence, "detections", **without))
    (finding,) = verdict.findings
    assert (finding.kind, finding.count) == (Kind.MISSING, 2)
    assert lost in finding.examples[0]
    assert ("fresh" in finding.text) == (group == "fresh")


def test_coverage_that_was_not_said_is_a_loss_of_as_many_samples(evidence: Evidence, judged: Judged) -> None:
    def without(records: list[Appended]) -> list[Appended]:
        return [r for r in records if read_as(Coverage, r).sensor != "studio"]

    verdict = judged(planted(evidence, "coverage", without))
    assert verdict.kinds == {Kind.LOST}
    assert verdict.counts["samples_unexplained"] == 8 * 48_000


def test_an_acknowledged_frame_that_is_not_in_the_log_is_lost(evidence: Evidence, judged: Judged) -> None:
    never = Stored("steady", new_epoch().hex(), 0, 1600, 0, evidence.round.frames_end[0])
    verdict = judged(replace(evidence, stored=(*evidence.stored, never)))
    assert verdict.kinds == {Kind.LOST}
    assert verdict.counts["samples_unexplained"] == 1600


def test_a_frame_that_stands_in_the_log_as_another_is_lost(evidence: Evidence, judged: Judged) -> None:
    fields: Any = {"sensor": "x", "epoch": new_epoch().hex(), "first_sample": 1, "samples": 2, "offset": 3}
    frames = zip(evidence.stored[50:], fields.items(), strict=False)
    wrong = [replace(frame, **{field: other}) for frame, (field, other) in frames]
    verdict = judged(replace(evidence, stored=(*wrong, *evidence.stored[55:])))
    assert (verdict.findings[0].kind, verdict.findings[0].count) == (Kind.LOST, len(fields))


# -- alterations --------------------------------------------------------------------------------------------


def test_a_detection_said_again_under_another_id_is_extra(evidence: Evidence, judged: Judged) -> None:
    def twice(records: list[Appended]) -> list[Appended]:
        twin = of(ended(records)[3])
        more = [r for r in records if of(r).id == twin.id]
        other = "00000000-0000-5000-8000-000000000000"
        return [*records, *(altered(record, replace(of(record), id=other)) for record in more)]

    verdict = judged(planted(evidence, "detections", twice))
    assert [(f.kind, f.count) for f in verdict.findings] == [(Kind.EXTRA, 2)]


def test_an_alteration_of_any_one_field_is_found(evidence: Evidence, judged: Judged) -> None:
    def alter(records: list[Appended]) -> list[Appended]:
        fields = dict(zip(((r.partition, r.offset) for r in ended(records)), ALTERATIONS, strict=False))
        assert len(fields) == len(ALTERATIONS)
        at = ((record.partition, record.offset) for record in records)
        return [_with(r, fields[x]) if x in fields else r for x, r in zip(at, records, strict=True)]

    verdict = judged(planted(evidence, "detections", alter))
    (finding,) = verdict.findings
    assert (finding.kind, finding.count) == (Kind.ALTERED, len(ALTERATIONS))


def _with(record: Appended, field: str) -> Appended:
    detection = of(record)
    changed: Any = {field: ALTERATIONS[field](getattr(detection, field))}
    return altered(record, replace(detection, **changed))


def test_one_detection_with_two_values_is_altered(evidence: Evidence, judged: Judged) -> None:
    verdict = judged(
        planted(evidence, "detections", lambda records: [*records, _with(ended(records)[0], "peak_score")])
    )
    assert [(f.kind, f.count) for f in verdict.findings] == [(Kind.ALTERED, 1)]


def test_another_decision_digest_is_found(evidence: Evidence, judged: Judged) -> None:
    def other(records: list[Appended]) -> list[Appended]:
        said = read_as(Coverage, records[0])
        return [altered(records[0], replace(said, decision_digest="0" * 64)), *records[1:]]

    assert judged(planted(evidence, "coverage", other)).kinds == {Kind.DIGEST}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"outcome": Outcome.GAP}, id="outcome"),
        pytest.param({"end_sample": 10_000_000}, id="never-appended"),
    ],
)
def test_coverage_that_says_something_else_is_found(
    evidence: Evidence, judged: Judged, change: dict[str, Any]
) -> None:
    def other(records: list[Appended]) -> list[Appended]:
        return [altered(r, replace(said, **change)) if _is_studio(said) else r for r, said in _said(records)]

    assert judged(planted(evidence, "coverage", other)).kinds == {Kind.COVERAGE}


def _said(records: Iterable[Appended]) -> Iterator[tuple[Appended, Coverage]]:
    return ((record, read_as(Coverage, record)) for record in records)


def _is_studio(said: Coverage) -> bool:
    return said.sensor == "studio" and said.outcome is Outcome.SCORED


def test_an_output_that_cannot_be_read_is_found(evidence: Evidence, judged: Judged) -> None:
    verdict = judged(
        planted(evidence, "detections", lambda records: [*records, replace(records[0], value=b"?")])
    )
    assert [(f.kind, f.count) for f in verdict.findings] == [(Kind.EXTRA, 1)]


# -- order, commits, dead letters ---------------------------------------------------------------------------


def test_ended_before_active_is_found(evidence: Evidence, judged: Judged) -> None:
    def backward(records: list[Appended]) -> list[Appended]:
        last = ended(records)[0]
        return [last, *(record for record in records if record is not last)]

    verdict = judged(planted(evidence, "detections", backward))
    assert [(f.kind, f.count) for f in verdict.findings] == [(Kind.ORDER, 1)]


def test_a_detection_that_never_ended_is_found(evidence: Evidence, judged: Judged) -> None:
    def endless(records: list[Appended]) -> list[Appended]:
        last = ended(records)[0]
        return [record for record in records if record is not last]

    assert judged(planted(evidence, "detections", endless)).kinds == {Kind.ORDER, Kind.MISSING}


@pytest.mark.parametrize("role", ["detections", "coverage", "dead_letters"])
def test_a_commit_past_a_frame_that_was_still_needed_is_found(
    evidence: Evidence, judged: Judged, role: str
) -> None:
    first = stands(evidence, role).disturbed[0]
    offset = evidence.round.frames_end[first.partition]
    early = Commit(first.appended_ms - 1, first.partition, offset)
    (finding,) = judged(replace(evidence, commits=(*evidence.commits, early))).findings
    assert finding.kind is Kind.COMMIT
    assert finding.count > 1


def test_a_commit_that_goes_just_past_one_frame_is_found(evidence: Evidence, judged: Judged) -> None:
    said = [r for role in SAID for r in stands(evidence, role).disturbed if r.partition == 0]
    nothing = Commit(min(record.appended_ms for record in said) - 1, 0, 0)
    assert judged(replace(evidence, commits=(nothing,))).clean
    (finding,) = judged(replace(evidence, commits=(replace(nothing, offset=1),))).findings
    assert finding.kind is Kind.COMMIT
    assert "needs @0" in finding.examples[0]


def test_a_commit_within_the_windows_that_made_a_label_active_is_found(
    evidence: Evidence, judged: Judged
) -> None:
    """All but one detection go, so that no other output needs frames that lie as far back."""
    stood = stands(evidence, "detections").disturbed
    steady = [of(record) for record in ended(stood) if record.key == b"steady"]
    one = max(steady, key=lambda detection: detection.start_sample)
    said = [record for record in stood if of(record).id == one.id]
    others = [r for role in ("coverage", "dead_letters") for r in stands(evidence, role).disturbed]
    late_ms = max(record.appended_ms for record in others) + 1
    moved = planted(evidence, "detections", lambda _: said)

    def found(offset: int) -> list[str]:
        commit = Commit(late_ms, said[0].partition, offset)
        findings = judged(replace(moved, commits=(commit,))).findings
        return [text for f in findings if f.kind is Kind.COMMIT for text in f.examples]

    frame_samples = one.sample_rate_hz // TENTH
    before = (N - 1) * HOP_SAMPLES // frame_samples
    assert found(one.first_offset - before) == []
    for offset in (one.first_offset - before + 1, one.first_offset):
        assert [one.id in text for text in found(offset)] == [True, True]


def test_a_commit_beyond_the_log_is_found(evidence: Evidence, judged: Judged) -> None:
    beyond = Commit(2**60, 0, 10**9)
    (finding,) = judged(replace(evidence, commits=(beyond,))).findings
    assert (finding.kind, finding.count) == (Kind.COMMIT, 1)


@pytest.mark.parametrize("change", ["missing", "extra", "other bytes"])
def test_dead_letters_that_are_not_the_broken_records_are_found(
    evidence: Evidence, judged: Judged, change: str
) -> None:
    def letters(records: list[Appended]) -> list[Appended]:
        one, *others = records
        if change == "missing":
            return [other for other in others if other.headers != one.headers]
        if change == "extra":
            place = ((name, b"0" if name.endswith(".offset") else value) for name, value in one.headers)
            return [*records, replace(one, headers=tuple(place))]
        return [replace(one, value=b"other"), *others]

    verdict = judged(planted(evidence, "dead_letters", letters))
    assert [(f.kind, f.count) for f in verdict.findings] == [(Kind.DEAD_LETTER, 1)]


# -- states of sensors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"state": Presence.LIVE}, id="live"),
        pytest.param({"end_sample": 1}, id="another-sample"),
        pytest.param({"epoch": epoch_text(new_epoch())}, id="another-epoch"),
    ],
)
def test_a_last_word_that_is_not_silent_where_the_sensor_ended_is_found(
    evidence: Evidence, judged: Judged, change: dict[str, Any]
) -> None:
    def old(records: list[Appended]) -> list[Appended]:
        said = read_as(SensorState, records[-1])
        return [*records, altered(records[-1], replace(said, **change))]

    verdict = judged(planted(evidence, "sensors", old))
    assert [(f.kind, f.count) for f in verdict.findings] == [(Kind.STATE, 1)]


def test_a_sensor_that_nobody_spoke_of_is_found(evidence: Evidence, judged: Judged) -> None:
    def without(records: list[Appended]) -> list[Appended]:
        return [record for record in records if record.key != b"steady"]

    verdict = judged(planted(evidence, "sensors", without))
    assert [(f.kind, f.count) for f in verdict.findings] == [(Kind.STATE, 1)]


# -- it shares no code --------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [*JUDGE.glob("*.py"), JUDGE.parent / "evidence.py"], ids=lambda f: f.name)
def test_the_judge_imports_nothing_of_what_it_judges(file: Path) -> None:
    found = {
        module
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if module.split(".")[0] in OURS
    }
    assert {module for module in found if not any(module.startswith(may) for may in MAY_IMPORT)} == set()
