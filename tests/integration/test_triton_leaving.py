"""A worker that is asked to stop while its only Triton is away: it leaves, and who follows says the same."""

import re
import time
from pathlib import Path

import pytest

from infra.local.triton_installation import TritonInstallation
from tests.integration.harness import Programs, Tenant, timelines, unended, wait_until
from tests.integration.planted import Planted, square
from tests.integration.tritons import scored_by, tritons

STOP_WITHIN_S = 30.0


@pytest.mark.timeout(240)
def test_a_worker_whose_triton_is_away_stops_in_order_and_its_successor_scores_what_waited(
    tenant: Tenant,
    programs: Programs,
    quick_model: Path,
    triton_installation: TritonInstallation,
    tmp_path: Path,
) -> None:
    tenant.create(partitions=2)
    with tritons(tmp_path / "repository", quick_model, 1) as servers:
        told = scored_by(servers)
        worker = programs.work(tenant, quick_model, **told)
        worker.ready()
        servers[0].kill()
        begin_us = time.time_ns() // 1000
        for name in ("roof", "hall", "yard"):
            Planted(tenant, name, begin_us).say(square(20.0, 12_000))
        wait_until(lambda: worker.metrics().get("backlog_windows", 0) > 60, "windows wait")
        assert worker.terminate() < STOP_WITHIN_S
        assert worker.process.exit_status == 0
        assert re.search(r"left undone after 3 s: \d+ windows without scores", worker.log)
        assert tenant.detections() == []
        servers[0].start()
        programs.work(tenant, quick_model, **told).ready()
        wait_until(lambda: len(tenant.silent()) == 3, "all has been heard")
    assert unended(tenant.detections()) == set()
    for timeline in timelines(tenant.coverage()).values():
        assert [(start, end) for start, end, _ in timeline] == [(0, 320_000)]
