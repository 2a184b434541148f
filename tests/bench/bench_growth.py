"""What grows with the fleet and with the lag: memory, start-up, failover, rebalancing, catching up.

`BENCH_GROWTH=memory,start,failover,rebalance,lag` picks some of it;
`BENCH_MEMORY_SENSORS=1,100 BENCH_GROUP_SENSORS=50 BENCH_TURNS=1 BENCH_LAG_SECONDS=60` is a short form.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from matplotlib.figure import Figure

from infra.local.kafka import KafkaServer
from tests.bench.fleet_run import sounds_in
from tests.bench.growth_group import RECOVERS_S, FailedOver, Group, Rebalanced
from tests.bench.growth_one import CaughtUp, Memory, OneWorker, Started
from tests.bench.repeats import TURNS, Repeats, alternate
from tests.bench.sheet import Sheet
from tests.integration.harness import Programs

PARTS = os.environ.get("BENCH_GROWTH", "memory,start,failover,rebalance,lag").split(",")
MEMORY_SENSORS = [int(n) for n in os.environ.get("BENCH_MEMORY_SENSORS", "1,100,1000,10000").split(",")]
MEMORY_SOUND_S = float(os.environ.get("BENCH_MEMORY_SECONDS", "3"))
GROUP_SENSORS = [int(n) for n in os.environ.get("BENCH_GROUP_SENSORS", "100,1000").split(",")]
GROUP_TURNS = (TURNS + 1) // 2
LAG_SENSORS, LAG_S = 60, float(os.environ.get("BENCH_LAG_SECONDS", "600"))
"""60 sensors for ten minutes are 1.3 GB of log."""
SMALL_FRAME_MS, LARGE_FRAME_MS, MANY_SENSORS = 20, 100, 250
EACH_KB, FIRST_S = 200.0, 10.0
KB, MB = 1e3, 1e6
_REBALANCED = (
    "sensors",
    "frames, ms",
    "runs",
    "steady, ms late",
    "joins, s",
    "joining, ms late",
    "leaves, s",
    "leaving, ms late",
    "one bears it alone",
)
T = TypeVar("T")


@pytest.mark.timeout(7200)
def test_what_grows(kafka: KafkaServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    programs = Programs(tmp_path)
    one = OneWorker(kafka, programs)
    group = Group(kafka, programs, sounds_in(tmp_path_factory.mktemp("sounds")))
    sheet = Sheet("growth", "Growth")
    try:
        if "memory" in PARTS:
            _memory(sheet, [one.memory(sensors, MEMORY_SOUND_S) for sensors in MEMORY_SENSORS])
        if "start" in PARTS:
            _start(sheet, one.start_up(GROUP_SENSORS[-1], _frame_ms(GROUP_SENSORS[-1]), TURNS))
        if "failover" in PARTS:
            _failover(sheet, _by_size(group.fail_over))
        if "rebalance" in PARTS:
            _rebalance(sheet, _by_size(group.rebalance))
        if "lag" in PARTS:
            _lag(sheet, one.catch_up(LAG_SENSORS, LAG_S))
    finally:
        programs.close()
    sheet.save()


def _by_size(measure: Callable[[int, int], T]) -> dict[int, list[T]]:
    """Measure every size in turns; more sensors than a small machine can bear get longer frames."""
    sizes = {str(n): partial(measure, n, _frame_ms(n)) for n in GROUP_SENSORS}
    return {int(name): found for name, found in alternate(sizes, GROUP_TURNS).items()}


def _frame_ms(sensors: int) -> int:
    return LARGE_FRAME_MS if sensors > MANY_SENSORS else SMALL_FRAME_MS


# -- the sheet ----------------------------------------------------------------------------------------------


def _memory(sheet: Sheet, found: Sequence[Memory]) -> None:
    sheet.text("### Memory")
    sheet.text(
        "Memory of one worker with the model that ships, before it heard anything and when it had scored "
        f"{MEMORY_SOUND_S:g} s of every sensor, all of them live; sound came as fast as it could be stored."
    )
    rows = [
        (
            f"{one.sensors:,}",
            f"{one.before_bytes / MB:.0f}",
            f"{one.after_bytes / MB:.0f}",
            f"{one.each_bytes / KB:.0f}",
        )
        for one in found
    ]
    sheet.table(("sensors", "before, MB", "after, MB", "KB a sensor"), rows)
    sheet.plot(_memory_plot(found), "Resident memory of a worker against sensors")
    most = found[-1]
    sheet.at_most(
        f"Memory of each of {most.sensors:,} sensors in one worker", most.each_bytes / KB, EACH_KB, "KB"
    )
    sheet.data["memory"] = [asdict(one) for one in found]


def _memory_plot(found: Sequence[Memory]) -> Figure:
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    sensors = [one.sensors for one in found]
    axes.plot(sensors, [one.after_bytes / MB for one in found], "o-", label="after")
    axes.plot(sensors, [one.before_bytes / MB for one in found], "o--", label="before")
    axes.set(xscale="log", yscale="log", xlabel="sensors", ylabel="resident memory of the worker, MB")
    axes.legend()
    return figure


def _start(sheet: Sheet, found: Sequence[Started]) -> None:
    sensors = GROUP_SENSORS[-1]
    sheet.text("### Start-up")
    sheet.text(
        f"A worker of a new group that starts while {sensors:,} sensors play in real time in "
        f"frames of {_frame_ms(sensors)} ms; seconds from the start of its process, {len(found)} starts."
    )
    rows = [
        (name, f"{Repeats(values):.1f}")
        for name, values in (
            ("ready", tuple(one.ready_s for one in found)),
            ("first output in the log", tuple(one.said_s for one in found)),
            ("first window scored", tuple(one.scored_s for one in found)),
        )
    ]
    sheet.table(("until", "s"), rows)
    sheet.data["start"] = [asdict(one) for one in found]


def _failover(sheet: Sheet, found: dict[int, list[FailedOver]]) -> None:
    sheet.text("### Failover")
    sheet.text(
        "One of two workers is killed with `kill -9` while sensors play in real time; seconds until the "
        "other one said a first word of the partitions of the killed one, had said something new of each of "
        "their sensors, and said nothing more than a second late any more (a worker is missed for 6 s, "
        "`worker.session_timeout_s`; coverage of a sensor comes every 5 s). Everything that was stored is "
        f"covered afterwards in {_all_of(one.covered for of in found.values() for one in of)} runs."
    )
    rows = [
        (
            *_group(sensors, runs),
            f"{_repeats(one.first_s for one in runs):.1f}",
            f"{_repeats(one.every_sensor_s for one in runs):.1f}",
            _caught_up(runs),
        )
        for sensors, runs in found.items()
    ]
    header = ("sensors", "frames, ms", "runs", "first output, s", "every sensor, s", "caught up, s")
    sheet.table(header, rows)
    for sensors, runs in found.items():
        first = _repeats(one.first_s for one in runs)
        sheet.at_most(
            f"After kill -9, {sensors:,} sensors: the successor's first output", first.high, FIRST_S, "s"
        )
    sheet.data["failover"] = {str(sensors): [asdict(one) for one in runs] for sensors, runs in found.items()}


def _group(sensors: int, runs: Sequence[object]) -> tuple[str, str, str]:
    """Return what a group heard, the length of its frames, and how often."""
    return f"{sensors:,}", str(_frame_ms(sensors)), str(len(runs))


def _caught_up(runs: Sequence[FailedOver]) -> str:
    times = [one.caught_up_s for one in runs if one.caught_up_s is not None]
    never = len(runs) - len(times)
    said = f"{_repeats(times):.1f}" if times else ""
    return said + (f" not within {RECOVERS_S:g} s: {never}" if never else "")


def _rebalance(sheet: Sheet, found: dict[int, list[Rebalanced]]) -> None:
    sheet.text("### Rebalancing")
    sheet.text(
        "A second worker joins and leaves while sensors play in real time. How late an output is counts from "
        "the last sample of its window to its append; the latest of all outputs meanwhile. All that was "
        f"stored is covered in {_all_of(one.covered for of in found.values() for one in of)} runs."
    )
    rows = [
        (
            *_group(sensors, runs),
            f"{_repeats(one.steady_ms for one in runs):.0f}",
            f"{_repeats(one.joined_s for one in runs):.1f}",
            f"{_repeats(one.joining_ms for one in runs):.0f}",
            f"{_repeats(one.left_s for one in runs):.1f}",
            f"{_repeats(one.leaving_ms for one in runs):.0f}",
            _all_of(one.alone for one in runs),
        )
        for sensors, runs in found.items()
    ]
    sheet.table(_REBALANCED, rows)
    sheet.data["rebalance"] = {str(sensors): [asdict(one) for one in runs] for sensors, runs in found.items()}


def _lag(sheet: Sheet, found: CaughtUp) -> None:
    sheet.text("### Catching up")
    sheet.text(
        f"{found.sound_s:g} s of {found.sensors} sensors that waited in the log, {found.frames:,} frames, "
        f"were scored in {found.elapsed_s:.1f} s from the first frame read: {found.times_real_time:.1f} "
        f"times real time, {found.frames / found.elapsed_s:,.0f} frames and "
        f"{found.windows / found.elapsed_s:,.0f} windows a second. Resident memory at the end: "
        f"{found.resident_bytes / MB:.0f} MB."
    )
    sheet.data["lag"] = asdict(found) | {"times_real_time": found.times_real_time}


def _repeats(values: Iterable[float]) -> Repeats:
    return Repeats(tuple(values))


def _all_of(values: Iterable[bool]) -> str:
    found = list(values)
    return f"{sum(found)} of {len(found)}"
