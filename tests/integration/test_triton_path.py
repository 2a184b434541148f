"""The whole path with Triton beside ONNX Runtime in process: the same detections, and both latencies.

`EARWITNESS_PATH_SENSORS=100 EARWITNESS_PATH_SECONDS=120 pytest tests/integration/test_triton_path.py -s`
prints the figures at full size. Sensors, broker, Triton and worker share the machine's cores.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from infra.local.triton_installation import TritonInstallation
from models.catalogue import find, names
from processors.ledger import SCORER_HEADER
from producers.clips import ClipPool
from schemas.detection import Detection
from tests.integration.harness import Programs, Tenant, by_id, covered, timelines
from tests.integration.tritons import scored_by, tritons
from tests.integration.undisturbed import Said, accounted_for, stored, undisturbed
from tests.integration.walk import Walk, walk_along

SHIPPED = "earwitness-small/2"
NEAR = 1e-3
"""Scores of two scoring identities may lie on two sides of a threshold that they are this near to."""


@dataclass(frozen=True, slots=True)
class Case:
    """One walk with Triton, what ONNX Runtime says of the same log, and a walk with ONNX Runtime."""

    triton: Walk
    onnx_again: Said
    onnx: Walk


@pytest.fixture(scope="module")
def case(
    kafka: KafkaServer,
    triton_installation: TritonInstallation,
    quick_model: Path,
    recordings: ClipPool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("triton-path")
    programs = Programs(folder)
    model = find(SHIPPED) if SHIPPED in names() else quick_model
    with_triton = Tenant(kafka.bootstrap_servers, "path-triton").create()
    in_process = Tenant(kafka.bootstrap_servers, "path-onnx").create()
    try:
        with tritons(folder / "repository", model, 1) as servers:
            walk = walk_along(with_triton, programs, model, recordings, **scored_by(servers))
        again = undisturbed(with_triton, programs, model, walk.report)
        yield Case(walk, again, walk_along(in_process, programs, model, recordings))
    finally:
        programs.close()


@pytest.mark.timeout(1500)
def test_triton_hears_what_onnx_runtime_hears_of_the_same_log_but_for_what_lies_at_a_threshold(
    case: Case,
) -> None:
    ours, theirs = by_id(case.triton.detections), by_id(case.onnx_again.detections)
    assert len(ours) > 20
    odd = [found for of in (ours, theirs) for found in of.values() if found.id not in ours.keys() & theirs]
    for found in odd:
        print(f"only one of the two: {found}")
        assert found.peak_score is not None
        assert abs(found.peak_score - found.threshold) < NEAR
    for shared in ours.keys() & theirs:
        assert _rounded(ours[shared]) == _rounded(theirs[shared])


def _rounded(found: Detection) -> Detection:
    return replace(found, peak_score=None if found.peak_score is None else round(found.peak_score, 4))


def test_where_the_runtime_is_the_same_build_they_are_the_same_to_the_bit(case: Case) -> None:
    assert set(case.triton.detections) == set(case.onnx_again.detections)


def test_everything_was_scored_and_is_accounted_for(case: Case) -> None:
    assert accounted_for(case.triton.coverage) == stored(case.triton.report)
    assert timelines(case.triton.coverage) == timelines(case.onnx_again.coverage)
    assert all(len(covered(timeline)) == 1 for timeline in timelines(case.triton.coverage).values())


def test_every_detection_says_who_scored_it(case: Case) -> None:
    for walk, begins in ((case.triton, "triton/2.51.0/"), (case.onnx, "onnxruntime/")):
        for record in walk.heard:
            said = dict(record.headers)[SCORER_HEADER]
            assert said is not None
            assert said.decode().startswith(begins)
