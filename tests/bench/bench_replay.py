"""How fast recorded sound is heard again, against the scorer alone on the same windows, taking turns.

The bar is 100 times real time a core, or the scorer's own speed if that is less.
"""

import time
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event

import numpy as np
import pytest

from earwitness.analysis.listen import ReadSettings, listen
from earwitness.analysis.listener import Report
from earwitness.analysis.lookup import Lookup
from earwitness.analysis.plan import Plan, ReplaySettings, plan
from earwitness.analysis.wanted import Wanted
from earwitness.settings import Settings, load_settings
from infra.local.kafka import KafkaServer
from models.catalogue import find
from processors.course import Course
from processors.log import LogReader
from processors.score import OnnxScorer
from producers.clips import ClipPool
from producers.fleet import FleetSettings
from producers.sources.files import files_in
from schemas.detection import Detection
from tests.integration.harness import RATE_HZ, Tenant, play

SENSORS, SECONDS, PARTITIONS, TURNS = 100, 60.0, 8, 5
SHIPPED = "earwitness-small/2"
BAR = 100.0


@pytest.mark.timeout(900)
def test_replay_against_the_scorer_alone(kafka: KafkaServer, shared_data: Path) -> None:
    tenant = Tenant(kafka.bootstrap_servers, "bench-replay").create(PARTITIONS)
    pool = ClipPool.read(files_in(shared_data / "esc10")[::8], RATE_HZ)
    play(tenant, FleetSettings(sensors=SENSORS, seconds=SECONDS, speed=None), pool).finish()

    settings = partial(_settings, tenant.servers, tenant.name)
    with LogReader(tenant.client) as reader:
        planned = plan(
            Lookup(reader, settings().codec(), tenant.topics), Course(settings().decision()), Wanted()
        )
    windows = SENSORS * (2 * int(SECONDS) - 1)
    alone, one, two = list[float](), list[float](), list[float]()
    said = []
    for _ in range(TURNS):
        alone.append(_alone(windows))
        for jobs, speeds in ((1, one), (2, two)):
            found, report, elapsed_s = _replayed(settings, planned, jobs)
            assert report.windows == {"SCORED": windows}
            said.append(found)
            speeds.append(report.sound_s / elapsed_s / jobs)
    assert said[0]
    assert all(found == said[0] for found in said)
    _show(alone, one, two)


def _settings(servers: str, tenant: str) -> Settings:
    """Read the settings, in this process and in those that it starts."""
    return load_settings(None, {"kafka.bootstrap_servers": servers, "topics.tenants": f'["{tenant}"]'})


def _replayed(settings: ReadSettings, planned: Plan, jobs: int) -> tuple[set[Detection], Report, float]:
    found, report, since_s = set[Detection](), Report(), time.perf_counter()
    for told in listen(settings, planned, ReplaySettings(jobs=jobs), Event()):
        if isinstance(told, Detection):
            found.add(told)
        elif isinstance(told, Report):
            report.add(told)
    return found, report, time.perf_counter() - since_s


def _alone(windows: int) -> float:
    """Return how many seconds of sound the scorer alone scores in a second, on one core."""
    decision = load_settings(None, {}).decision()
    scorer = OnnxScorer(find(SHIPPED), decision.spec)
    pcm = np.random.default_rng(0).integers(-9000, 9000, (32, decision.spec.window_samples), np.int16)
    since_s = time.perf_counter()
    for _ in range(windows // 32):
        scorer.run(pcm)
    return windows // 32 * 32 * decision.spec.hop_s / (time.perf_counter() - since_s)


def _show(alone: list[float], one: list[float], two: list[float]) -> None:
    print(
        f"\n{SENSORS} sensors, {SECONDS:g} s, {TURNS} turns; times real time a core, median (least to most)"
    )
    for name, speeds in (("scorer alone", alone), ("replay, 1 process", one), ("replay, 2 processes", two)):
        print(f"{name:<20} {median(speeds):6.0f} ({min(speeds):.0f} to {max(speeds):.0f})")
    ratios = [replay / scorer for replay, scorer in zip(one, alone, strict=True)]
    met = "met" if min(*one, *two) >= BAR else "MISSED"
    print(f"replay to scorer alone, one core: median {median(ratios):.2f}; bar of {BAR:g} times {met}")
