"""From a frame's append to the agent: the worker against bare consumers with the same fetch settings.

    fleet ── due times, absolute ──> broker ── append time ──> one reader at a time ── its clock on arrival

Sensors of 50 frames a second are played in real time, each frame at a time fixed beforehand, so that a stall
delays what comes after it and is counted in full. Readers take turns, each in a process of its own, alone on
the topic. Whoever has not every frame exactly once fails the bench.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from earwitness.play import clip_pool
from infra.local.kafka import KafkaServer
from infra.local.process import GuardedProcess
from processors.membership import WorkerSettings
from processors.transport import MAX_POLL_RECORDS
from producers.fleet import FleetSettings, Phases
from tests.bench.contenders.arrivals import READY
from tests.bench.contenders.plain import (
    FETCH_MAX_WAIT_MS,
    FETCH_MIN_BYTES,
    MAX_PARTITION_FETCH_BYTES,
    MAX_RECORDS,
)
from tests.bench.fleet_run import forget
from tests.bench.repeats import TURNS, Distribution, Repeats, alternate
from tests.bench.sheet import Sheet
from tests.integration.harness import RATE_HZ, Tenant, play, variables, wait_until, worker_settings
from tests.integration.quick_model import write_quick_model

PARTITIONS, FRAME_MS, WARM_UP_S = 8, 20, 2.0
SECONDS = float(os.environ.get("BENCH_LATENCY_SECONDS", "10"))
"""Measured, of each run; the fleet plays WARM_UP_S before that."""
FLEETS = tuple(int(number) for number in os.environ.get("BENCH_LATENCY_SENSORS", "50,500").split(","))
LATE_MS = 50.0
"""A fleet that is later than that at p99 does not play in real time."""
WITHIN_S = 60.0
BAR = 1.5

WORKER, AIOKAFKA, WITH_WINDOWS, CONFLUENT = (
    "Earwitness worker",
    "bare aiokafka",
    "bare aiokafka with windows",
    "bare confluent-kafka",
)
MODULES = {
    WORKER: ("through_worker_latency",),
    AIOKAFKA: ("contenders.aiokafka_latency",),
    WITH_WINDOWS: ("contenders.aiokafka_latency", "--windows"),
    CONFLUENT: ("contenders.confluent_latency",),
}
COLOURS = {WORKER: "#c0392b", AIOKAFKA: "#1f3b57", WITH_WINDOWS: "#8fb8de", CONFLUENT: "#2e9e5b"}


@dataclass(frozen=True, slots=True)
class Heard:
    """What one reader saw of one run, after the warm-up; its share of a core; the fleet's own p99."""

    latencies_ms: NDArray[np.float64]
    cpu: float
    late_ms: float


@dataclass(frozen=True, slots=True)
class Case:
    """One fleet, and what each reader saw, turn by turn."""

    sensors: int
    phases: Phases
    heard: dict[str, list[Heard]]

    @property
    def name(self) -> str:
        """How it is called on the page."""
        return f"{self.sensors} sensors, {self.phases.value}"

    def all_of(self, reader: str) -> NDArray[np.float64]:
        """Return a reader's latencies of all turns, in ms."""
        return np.concatenate([heard.latencies_ms for heard in self.heard[reader]])

    def p99(self, reader: str) -> Repeats:
        """Return a reader's p99 in ms, once a turn."""
        return Repeats(tuple(float(np.quantile(heard.latencies_ms, 0.99)) for heard in self.heard[reader]))

    def cpu(self, reader: str) -> Repeats:
        """Return a reader's share of a core, once a turn."""
        return Repeats(tuple(heard.cpu for heard in self.heard[reader]))


class Runs:
    """Runs readers against fleets; each run is numbered, for its topics, its group and its files."""

    def __init__(self, servers: str, directory: Path) -> None:
        self._servers, self._directory = servers, directory
        self._model = write_quick_model(directory / "quick")
        self._pool = clip_pool(None, RATE_HZ)
        self._numbers = count()

    def hear(self, reader: str, sensors: int, phases: Phases) -> Heard:
        """Start a reader, play to it, and return what it noted of every frame."""
        seconds = WARM_UP_S + SECONDS
        frames = round(sensors * seconds * 1000 / FRAME_MS)
        file = self._directory / f"{next(self._numbers)}.npy"
        tenant = Tenant(self._servers, f"bench-latency-{file.stem}").create(PARTITIONS)
        process, log = self._start(reader, tenant, frames, file)
        try:
            _wait_for(process, log, READY)
            fleet = FleetSettings(sensors=sensors, seconds=seconds, phases=phases, frame_ms=FRAME_MS)
            report = play(tenant, fleet, self._pool).finish()
            assert report.acknowledged == report.frames_sent == frames
            assert process.wait(WITHIN_S), log.read_text("utf-8")
        finally:
            process.kill()
            forget(tenant)
        return _read(log, file, frames, report.p99_late_ms)

    def _start(self, reader: str, tenant: Tenant, frames: int, file: Path) -> tuple[GuardedProcess, Path]:
        topic, log = tenant.topics.frames, file.with_suffix(".log")
        module, *options = MODULES[reader]
        begin = json.dumps(tenant.ends(topic))
        where = [] if reader == WORKER else [tenant.servers, topic]
        settings = {
            **worker_settings(tenant, self._model),
            "worker.group": f"latency-{file.stem}",
            "worker.begin_at": "latest",
        }
        command = [
            sys.executable,
            "-m",
            f"tests.bench.{module}",
            *options,
            *where,
            begin,
            str(frames),
            str(file),
        ]
        return GuardedProcess(command, log, variables(settings)), log


def _wait_for(process: GuardedProcess, log: Path, word: str) -> None:
    def said() -> bool:
        assert process.exit_status is None, log.read_text("utf-8")
        return word in log.read_text("utf-8").splitlines()

    wait_until(said, f"{word} in {log.name}", WITHIN_S)


def _read(log: Path, file: Path, frames: int, late_ms: float) -> Heard:
    found: dict[str, Any] = json.loads(log.read_text("utf-8").splitlines()[-1])
    appended_ms, latencies_ms = np.load(file)
    assert found["frames"] == len(latencies_ms) == frames
    begin_ms = appended_ms.min() + 1000 * WARM_UP_S
    # In random phases sensors begin, and end, up to a second apart: from here to there all of them play.
    measured = (begin_ms <= appended_ms) & (appended_ms < begin_ms + 1000 * SECONDS)
    return Heard(latencies_ms[measured], found["cpu"], late_ms)


@pytest.fixture(scope="module")
def runs(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs, each on topics of its own."""
    return Runs(kafka.bootstrap_servers, tmp_path_factory.mktemp("latency"))


@pytest.mark.timeout(7200)
def test_what_the_worker_adds_to_a_bare_consumer(runs: Runs) -> None:
    defaults = WorkerSettings()
    assert (defaults.fetch_min_bytes, defaults.fetch_max_wait_ms) == (FETCH_MIN_BYTES, FETCH_MAX_WAIT_MS)
    assert MAX_POLL_RECORDS == MAX_RECORDS
    _write([_case(runs, sensors, phases) for sensors in FLEETS for phases in Phases])


def _case(runs: Runs, sensors: int, phases: Phases) -> Case:
    readers = {reader: partial(runs.hear, reader, sensors, phases) for reader in MODULES}
    return Case(sensors, phases, alternate(readers))


# -- writing ------------------------------------------------------------------------------------------------


def _write(cases: Sequence[Case]) -> None:
    sheet = Sheet("added-latency", "Added latency: append to agent")
    sheet.text(
        f"From the broker's append time to when a reader has the frame, at {1000 // FRAME_MS} frames a second"
        f" from each sensor, played in real time from due times fixed beforehand; {PARTITIONS} partitions,"
        f" {TURNS} turns of {SECONDS:g} s each after {WARM_UP_S:g} s of warm-up, readers taking turns. All"
        f" fetch alike: at least {FETCH_MIN_BYTES:,} bytes or {FETCH_MAX_WAIT_MS} ms, at most"
        f" {MAX_PARTITION_FETCH_BYTES:,} bytes a partition. Every reader was found to have had every frame"
        " once. Append times are whole milliseconds: each latency is up to 1 ms too long. The worker decodes,"
        " cuts windows and hands them to a scorer that costs nothing; bare readers do nothing with a frame,"
        " except the one that decodes and cuts windows."
    )
    for case in cases:
        _write_case(sheet, case)
    sheet.plot(_figure(cases), "Share of frames that were there after so many ms; all turns together")
    sheet.save()


def _write_case(sheet: Sheet, case: Case) -> None:
    sheet.text(f"### {case.name}\n\n{_pace(case)}")
    header = "reader", "frames", "p50 ms", "p90 ms", "p99 ms", "max ms", "p99 by turn", "CPU of a core"
    sheet.table(header, _rows(case))
    p99, rival = case.p99(WORKER), case.p99(AIOKAFKA)
    ratio = p99.per(rival)
    sheet.text(f"p99 of the worker : bare aiokafka, by turn: {ratio:.2f}.")
    sheet.at_most(f"added latency p99, worker : bare aiokafka, {case.name}", ratio.median, BAR)
    for reader in (WORKER, AIOKAFKA):
        sheet.repeated(f"p99 of {reader}, {case.name}", case.p99(reader).spread)
    sheet.data[case.name] = {
        reader: {
            "latency_ms": {name: getattr(summed, name) for name in Distribution.__slots__},
            "p99_ms_by_turn": case.p99(reader).values,
            "cpu_by_turn": case.cpu(reader).values,
            "fleet_late_ms_by_turn": [heard.late_ms for heard in case.heard[reader]],
        }
        for reader in case.heard
        for summed in (Distribution.of(case.all_of(reader)),)
    }


def _pace(case: Case) -> str:
    """Say whether the fleet kept its pace: where it did not, this was no fleet in real time."""
    late_ms = [heard.late_ms for runs in case.heard.values() for heard in runs]
    worst = f"The fleet was {max(late_ms):.1f} ms late at p99 in its worst run of {len(late_ms)}."
    behind = sum(late > LATE_MS for late in late_ms)
    if not behind:
        return worst
    return (
        f"{worst} **In {behind} of them by more than {LATE_MS:g} ms: the machine was too busy to play it.**"
    )


def _rows(case: Case) -> Iterator[tuple[str, ...]]:
    for reader in case.heard:
        d = Distribution.of(case.all_of(reader))
        figures = (f"{value:.1f}" for value in (d.p50, d.p90, d.p99, d.max))
        yield reader, f"{d.count:,}", *figures, f"{case.p99(reader):.1f}", f"{case.cpu(reader).median:.0%}"


def _figure(cases: Sequence[Case]) -> Figure:
    figure = Figure(figsize=(11, 3.6 * ((len(cases) + 1) // 2)), layout="constrained")
    for number, case in enumerate(cases, 1):
        axes = figure.add_subplot((len(cases) + 1) // 2, 2, number)
        for reader in case.heard:
            axes.ecdf(case.all_of(reader), label=reader, color=COLOURS[reader])
        axes.axhline(0.99, color="#999999", linewidth=0.7, linestyle=":")
        axes.set_xscale("log")
        axes.set_title(case.name, fontsize=10)
        axes.set_xlabel("ms from append to reader")
        axes.set_ylabel("share of frames")
        axes.legend(fontsize=8, loc="lower right")
    return figure
