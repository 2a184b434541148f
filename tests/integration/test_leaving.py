"""A worker that is told to end does so, whatever else is wrong, and leaves nothing behind."""

import os
from pathlib import Path

from infra.local.kafka import start_kafka
from producers.clips import ClipPool
from producers.fleet import FleetSettings
from tests.integration.harness import Programs, Tenant, play, wait_until

LEAVE_WITHIN_S = 15.0


def test_a_worker_ends_in_time_although_the_broker_is_away(
    programs: Programs, quick_model: Path, recordings: ClipPool
) -> None:
    with start_kafka() as node:
        tenant = Tenant(node.bootstrap_servers, "leaving").create()
        worker = programs.work(tenant, quick_model)
        worker.ready()
        playing = play(tenant, FleetSettings(sensors=4, seconds=3.0, speed=5.0), recordings)
        assert playing.finish().failed == 0
        wait_until(lambda: worker.metrics().get("windows_total{SCORED}", 0) > 0, "windows")
        node.kill()
        assert worker.terminate() < LEAVE_WITHIN_S


def test_a_worker_needs_no_directory_that_it_can_write_to(
    tenant: Tenant, programs: Programs, quick_model: Path
) -> None:
    before = set(os.listdir())
    worker = programs.work(tenant.create(), quick_model)
    worker.ready()
    worker.terminate()
    assert set(os.listdir()) == before
