"""Decode and window through the worker, against a bare loop on the same topic: what Faust and our rules cost.

1,000 sensors with frames of 20 ms on 8 partitions of a real broker, no scoring. The two take turns, each run
in a process of its own, timed from the first fetch that it works on to the end of the last.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from earwitness.play import clip_pool
from infra.local.kafka import KafkaServer
from producers.fleet import FleetSettings
from tests.integration.harness import RATE_HZ, Tenant, play, variables, worker_settings
from tests.integration.quick_model import HOP_SAMPLES, WINDOW_SAMPLES, write_quick_model

REPOSITORY = Path(__file__).parents[2]
SENSORS, SECONDS, PARTITIONS = 1000, float(os.environ.get("BENCH_SECONDS", "7")), 8
TURNS = int(os.environ.get("BENCH_TURNS", "5"))
TARGET_RATIO = 0.7
WITHIN_S = 120


@pytest.fixture(scope="module")
def tenant(kafka: KafkaServer) -> Tenant:
    """A topic full of frames."""
    tenant = Tenant(kafka.bootstrap_servers, "bench").create(PARTITIONS)
    fleet = FleetSettings(sensors=SENSORS, seconds=SECONDS, speed=None)
    report = play(tenant, fleet, clip_pool(None, RATE_HZ)).finish()
    assert report.acknowledged == report.frames_sent
    return tenant


@pytest.mark.timeout(1200)
def test_the_worker_sees_what_a_bare_loop_sees(tenant: Tenant, tmp_path: Path) -> None:
    frames = sum(tenant.ends(tenant.topics.frames).values())
    windows = SENSORS * (1 + (round(SECONDS * RATE_HZ) - WINDOW_SAMPLES) // HOP_SAMPLES)
    model = write_quick_model(tmp_path / "quick")
    pairs = []
    for turn in range(TURNS):
        loop = run("through_loop", {}, tenant.servers, tenant.topics.frames, str(frames))
        told = {**worker_settings(tenant, model), "worker.group": f"bench-{turn}"}
        worker = run("through_worker", told, str(frames), str(windows))
        expected = {"frames": frames, "windows": windows, "checksum": loop["checksum"]}
        assert {name: loop[name] for name in expected} == expected
        assert {name: worker[name] for name in expected} == expected
        pairs.append((frames / loop["seconds"], frames / worker["seconds"]))
        print(f"\n{turn + 1}: bare loop {pairs[-1][0]:9,.0f} frames/s   worker {pairs[-1][1]:9,.0f}", end="")
    show(pairs, frames, windows)


def run(module: str, settings: dict[str, object], *arguments: str) -> dict[str, Any]:
    """Run one of the two in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{module}", *arguments],
        env={"PATH": os.environ["PATH"], **variables(settings)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(pairs: list[tuple[float, float]], frames: int, windows: int) -> None:
    ratios = sorted(worker / loop for loop, worker in pairs)
    loops, workers = zip(*pairs, strict=True)
    print(f"\n{frames:,} frames of {SENSORS} sensors, {windows:,} windows, {TURNS} turns")
    for name, rates in (("bare loop", loops), ("worker", workers)):
        print(f"{name:<10} median {median(rates):9,.0f} frames/s, {min(rates):,.0f} to {max(rates):,.0f}")
    met = "met" if median(ratios) >= TARGET_RATIO else "MISSED"
    print(
        f"ratio      median {median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}; "
        f"target {TARGET_RATIO} {met}"
    )
