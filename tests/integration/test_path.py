"""The whole path with recorded sound on a real broker: nothing that was acknowledged goes unaccounted for.

`EARWITNESS_PATH_SENSORS=100 EARWITNESS_PATH_SECONDS=120 pytest tests/integration/test_path.py -s` prints the
figures at full size. Sensors, broker and worker share the machine's cores.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from models.catalogue import find, names
from producers.clips import ClipPool
from tests.integration.harness import Programs, Tenant, covered, timelines, unended
from tests.integration.walk import FRAME_MS, SECONDS, SENSORS, STAGES, Walk, ledgers_of, walk_along

SHIPPED = "earwitness-small/2"
CLOCK_TOLERANCE_US = 2000


@pytest.fixture(scope="module")
def walk(
    kafka: KafkaServer, quick_model: Path, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    """A fleet in real time, heard by one worker until everything is closed and published."""
    tenant = Tenant(kafka.bootstrap_servers, "path").create()
    programs = Programs(tmp_path_factory.mktemp("path"))
    model = find(SHIPPED) if SHIPPED in names() else quick_model
    try:
        yield walk_along(tenant, programs, model, recordings)
    finally:
        programs.close()


@pytest.mark.timeout(900)
def test_every_frame_is_acknowledged_and_every_record_is_read(walk: Walk) -> None:
    frames = walk.frames
    assert frames.acknowledged == SENSORS * round(SECONDS * 1000 / FRAME_MS)
    assert (frames.failed, frames.buffered, frames.refused) == (0, 0, 0)
    assert walk.metrics["frames_total"] == walk.appended_records  # frames and ticks


def test_coverage_accounts_for_every_sample_that_was_acknowledged(walk: Walk) -> None:
    said = {sensor: covered(timeline) for (sensor, _), timeline in timelines(walk.coverage).items()}
    assert said == {sensor: [(0, samples)] for sensor, samples in walk.samples_acknowledged.items()}


def test_every_detection_that_becomes_active_ends(walk: Walk) -> None:
    assert walk.detections
    assert unended(walk.detections) == set()


def test_a_detection_lies_in_what_its_sensor_sent_and_names_its_frames(walk: Walk) -> None:
    for found in walk.detections:
        assert 0 <= found.start_sample < found.end_sample <= walk.samples_acknowledged[found.sensor]
        assert found.first_offset <= found.last_offset
        assert found.start_us < found.end_us


def test_the_stages_of_a_detection_were_over_in_their_order(walk: Walk) -> None:
    ledgers = ledgers_of(walk.heard)
    assert ledgers
    for readings in ledgers:
        # The broker's times are whole milliseconds, and its clock is read at another moment than ours.
        for earlier, later in pairwise(readings[1:-1]):
            assert later - earlier >= -CLOCK_TOLERANCE_US, dict(zip(STAGES, readings, strict=True))
