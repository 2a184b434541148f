"""What a fleet needs, from costs that are easy to reckon with by hand."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.bench.sizing import SENSORS, SHAPES, TOPICS, Costs, Limits, Shape, caught_up_s, markdown, plan

COSTS = Costs(
    worker_cpu_s_per_frame=20e-6,
    worker_cpu_s_per_sensor_s=0.004,
    broker_cpu_s_per_frame=10e-6,
    frame_overhead_bytes=110,
    output_bytes_per_sensor_hour=360_000,
    worker_bytes=100e6,
    worker_bytes_per_sensor=50_000,
)
LIMITS = Limits()
SHORT, LONG, FLAC = SHAPES


def test_a_frame_is_its_sound_and_what_goes_with_it() -> None:
    assert SHORT.frame_bytes(COSTS) == 0.02 * 16_000 * 2 + 110 == 750
    assert LONG.frame_bytes(COSTS) == 3200 + 110
    assert FLAC.frame_bytes(COSTS) == pytest.approx(0.55 * 3200 + 110)


def test_workers_fill_half_a_core_each_and_one_is_to_spare() -> None:
    """A sensor costs 50 x 20 us + 4 ms = 5 ms a second: 1,000 cost 5 cores, 10 workers at half, and one."""
    found = plan(1000, SHORT, COSTS, LIMITS)
    assert (found.frames_per_s, found.frames_bytes_per_s) == (50_000, 37.5e6)
    assert found.workers == 11
    assert found.partitions == 44
    assert found.worker_memory_bytes == pytest.approx(100e6 + 1000 / 11 * 50_000)


def test_longer_frames_cost_less_by_the_frame_alone() -> None:
    """A sensor costs 10 x 20 us + 4 ms = 4.2 ms a second: 10,000 cost 42 cores, 84 workers, and one."""
    found = plan(10_000, LONG, COSTS, LIMITS)
    assert found.workers == 85
    assert found.groups == 2
    assert plan(10_000, FLAC, COSTS, LIMITS).workers == 85


def test_storage_is_kept_for_days_in_replicas() -> None:
    """37.5 MB/s x 86,400 s x 3 = 9.72 TB a day; outputs 1,000 x 100 B/s x 86,400 s x 7 x 3 = 0.18 TB."""
    found = plan(1000, SHORT, COSTS, LIMITS)
    assert found.frames_stored_bytes == pytest.approx(9.72e12)
    assert found.outputs_stored_bytes == pytest.approx(0.18144e12)
    assert found.brokers_by["disk"] == 1  # of 16 TB that may be filled
    week = plan(1000, SHORT, COSTS, replace(LIMITS, frames_kept_days=7))
    assert week.frames_stored_bytes == pytest.approx(68.04e12)
    assert (week.brokers, week.limited_by) == (5, "disk")


def test_brokers_are_as_many_as_what_is_scarcest_asks_for() -> None:
    found = plan(100_000, SHORT, COSTS, LIMITS)
    assert found.brokers_by == {
        "replication": 3,
        "cores": 19,  # 5,000,000 frames/s x 10 us x 3 = 150 cores, 8 to a broker
        "network": 19,  # (3.75 + 0.01) GB/s x 3 = 11.28 GB/s, 0.625 to a broker
        "disk": 62,  # 972 + 18.1 TB, 16 to a broker
        "partitions": 25,  # 1,001 workers x 4 x 8 topics x 3 = 96,096 replicas, 4,000 to a broker
        "connections": 6,  # 101,001, 20,000 to a broker
    }
    assert TOPICS == 8
    assert (found.brokers, found.limited_by) == (62, "disk")


def test_few_sensors_still_need_a_broker_for_each_replica() -> None:
    found = plan(10, SHORT, COSTS, LIMITS)
    assert (found.brokers, found.limited_by) == (3, "replication")
    assert found.workers == 2


def test_those_that_are_left_catch_up_in_the_time_that_they_have_to_spare() -> None:
    """Eleven at 5/11 each are ten at a half: they read two seconds a second, and gain one."""
    assert caught_up_s(8.0, 11, 5 / 11) == pytest.approx(8.0)
    assert caught_up_s(8.0, 3, 0.5) == pytest.approx(8 * 0.75 / 0.25)
    assert caught_up_s(8.0, 2, 0.5) is None
    assert caught_up_s(8.0, 1, 0.5) is None


def test_the_page_says_which_figures_nobody_has_measured() -> None:
    page = list(markdown(COSTS, LIMITS))
    estimated = [text for text in page if "estimate" in text]
    assert [shape.name for shape in SHAPES if shape.estimated] == [FLAC.name]
    assert len(estimated) == 1
    assert "the time to decode it is not in it" in estimated[0]
    assert Shape("own", 50).frames_per_s == 20


def test_the_command_prints_a_row_for_each_size_of_fleet(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps(asdict(COSTS)), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.sizing", str(figures)], check=True, capture_output=True, text=True
    )
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("|")]
    for sensors in SENSORS:
        assert rows.count(f"{sensors:,}") == len(SHAPES)
