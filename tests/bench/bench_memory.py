"""Resident memory of a worker that has heard 10, and 1,000, sensors, with the model that ships."""

from pathlib import Path

import pytest

from earwitness.play import clip_pool
from infra.local.kafka import KafkaServer
from models.catalogue import find
from producers.fleet import FleetSettings
from tests.integration.harness import RATE_HZ, Programs, Tenant, play, wait_until

SHIPPED = "earwitness-small/1"
SECONDS, PARTITIONS = 10.0, 8
MB = 1e6


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("sensors", "limit_mb"), [(10, 250), (1000, 500)])
def test_memory_after_a_warm_up(sensors: int, limit_mb: int, kafka: KafkaServer, tmp_path: Path) -> None:
    tenant = Tenant(kafka.bootstrap_servers, f"memory-{sensors}").create(PARTITIONS)
    programs, pool = Programs(tmp_path), clip_pool(None, RATE_HZ)
    try:
        worker = programs.work(tenant, find(SHIPPED))
        worker.ready()
        before = worker.usage.memory_info().rss / MB
        report = play(tenant, FleetSettings(sensors=sensors, seconds=SECONDS, speed=None), pool).finish()
        windows = sensors * (2 * SECONDS - 1)
        wait_until(lambda: worker.metrics().get("windows_total{SCORED}", 0) == windows, "all is scored", 300)
        after = worker.usage.memory_info().rss / MB
    finally:
        programs.close()
    met = "met" if after < limit_mb else "MISSED"
    print(
        f"\n{sensors} sensors, {report.acknowledged:,} frames: {before:.0f} MB when it started, "
        f"{after:.0f} MB when all was scored; target {limit_mb} MB {met}"
    )
