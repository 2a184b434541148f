"""SIGTERM: a worker scores and publishes for a bounded time what it has read, and says what it leaves."""

import re
from pathlib import Path

import pytest

from infra.local.kafka import start_kafka
from producers.clips import ClipPool
from producers.fleet import FleetSettings
from tests.integration.harness import Programs, Tenant, play, wait_until
from tests.integration.quick_model import write_busy_model

LEAVES_WITHIN_S = 16.0
WINDOW_S, BACKLOG_WINDOWS = 0.01, 100


@pytest.mark.timeout(120)
def test_a_worker_whose_broker_stands_still_ends_in_time_and_says_what_it_leaves(
    programs: Programs, recordings: ClipPool, tmp_path: Path
) -> None:
    model = write_busy_model(tmp_path / "busy", WINDOW_S)
    with start_kafka() as node:
        tenant = Tenant(node.bootstrap_servers, "drain").create(2)
        worker = programs.work(tenant, model)
        worker.ready()
        playing = play(tenant, FleetSettings(sensors=4, seconds=100.0, speed=None, frame_ms=100), recordings)
        assert playing.finish().failed == 0
        wait_until(lambda: worker.metrics().get("backlog_windows", 0) > BACKLOG_WINDOWS, "windows wait")
        node.freeze()
        took_s = worker.terminate()
        node.kill()
    print(f"ended {took_s:.1f} s after SIGTERM")
    assert took_s < LEAVES_WITHIN_S
    assert worker.process.exit_status == 0
    left = re.findall(r"left undone after 3 s: \d+ windows .* (\d+) outputs", worker.log)
    assert len(left) == 1
    assert int(left[0]) > 0
    assert "Traceback" not in worker.log
