"""Frames decoded and windowed per second by one process: the worker against what one would use in its place.

1,000 sensors with frames of 20 ms on 8 partitions of a real broker, no scoring. Contenders take turns, each
run in a process of its own, timed from the first frame in its hand to the last window cut. Whoever cuts other
windows than the bare loop fails the bench.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from earwitness.play import clip_pool
from infra.local.kafka import KafkaServer
from producers.fleet import FleetSettings
from tests.bench.contenders.plain import HOP_SAMPLES, WINDOW_SAMPLES
from tests.bench.flame import Stacks, flame, sampled, shares
from tests.bench.repeats import TURNS, Repeats, alternate
from tests.bench.sheet import REPOSITORY, Sheet
from tests.integration.harness import RATE_HZ, Tenant, play, variables, worker_settings
from tests.integration.quick_model import write_quick_model

SENSORS, PARTITIONS = int(os.environ.get("BENCH_THROUGHPUT_SENSORS", "1000")), 8
SECONDS = float(os.environ.get("BENCH_THROUGHPUT_SECONDS", "7"))
SLICE_SECONDS = min(2.0, SECONDS)
"""What the slowest contender gets."""
WITHIN_S, INSTALL_WITHIN_S = 180, 600
CONTENDERS = Path(__file__).parent / "contenders"

WORKER, LOOP, FETCH = "Earwitness worker", "bare aiokafka loop", "bare aiokafka loop, fetch alone"
FAUST, QUIX, BYTEWAX = "stock Faust agent", "Quix Streams", "bytewax"
SCRIPTS = {QUIX: "quix_streams", BYTEWAX: "bytewax_flow"}
BARS = {LOOP: 1.0, QUIX: 4.0, FAUST: 15.0}
HOW = {
    WORKER: "the worker's own transport and pipeline, all its rules, a scorer that costs nothing",
    LOOP: "`getmany`, fastavro, numpy buffers in a dictionary",
    FETCH: "the same loop, which does nothing with what it fetched: not even decode",
    FAUST: "`stream.items()`, raw keys and values, in-memory store",
    QUIX: "`StreamingDataFrame.update`, bytes, buffers in a dictionary instead of its state store",
    BYTEWAX: "`KafkaSource` and `flat_map_batch`, buffers in a dictionary instead of its snapshots",
}
STAYS_LIVE = {"detect.idle_s": 3600}
"""Or a worker would append ticks to the log that all read, to a partition that it read before the others."""
EVENT_LOOP = "BaseEventLoop._run_once"
PARTS = (
    "AIOKafkaConsumerThread._fetch_records",
    "Codec.plain_frames",
    "Partition.go_on",
    "Partition.feed",
    "Engine._score",
    "Engine.pump",
)
"""Fetching, decoding, frames that only add samples, the others with windows, their outcomes, what is said."""
Run = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Log:
    """A topic full of frames, and what is in it."""

    tenant: Tenant
    frames: int
    windows: int
    checksum: int

    @property
    def arguments(self) -> tuple[str, ...]:
        """What contenders other than the worker are told."""
        return self.tenant.servers, self.tenant.topics.frames, str(self.frames)

    def rate(self, found: dict[str, Any]) -> float:
        """Check what a contender found; return its frames per second."""
        expected = {"frames": self.frames, "windows": self.windows, "checksum": self.checksum}
        assert {name: found[name] for name in expected} == expected
        return float(self.frames / found["seconds"])


@pytest.fixture(scope="module")
def log(kafka: KafkaServer) -> Log:
    """What all but one read."""
    return _record(kafka, "bench-throughput", SECONDS)


@pytest.fixture(scope="module")
def slice_of_log(kafka: KafkaServer) -> Log:
    """The beginning of the same sound, in a topic of its own, for a stock Faust agent."""
    return _record(kafka, "bench-slice", SLICE_SECONDS)


def _record(kafka: KafkaServer, name: str, seconds: float) -> Log:
    tenant = Tenant(kafka.bootstrap_servers, name).create(PARTITIONS)
    settings = FleetSettings(sensors=SENSORS, seconds=seconds, speed=None)
    report = play(tenant, settings, clip_pool(None, RATE_HZ)).finish()
    frames = sum(tenant.ends(tenant.topics.frames).values())
    assert report.acknowledged == report.frames_sent == frames
    windows = SENSORS * (1 + (round(seconds * RATE_HZ) - WINDOW_SAMPLES) // HOP_SAMPLES)
    arguments = tenant.servers, tenant.topics.frames, str(frames)
    found = _python("through_loop", arguments, {})
    assert (found["frames"], found["windows"]) == (frames, windows)
    return Log(tenant, frames, windows, found["checksum"])


@pytest.mark.timeout(3600)
def test_throughput_of_one_process(log: Log, slice_of_log: Log, tmp_path: Path) -> None:
    model, not_run = write_quick_model(tmp_path / "quick"), dict[str, str]()
    runs: dict[str, Run] = {
        WORKER: partial(_worker, log, model, iter(range(TURNS))),
        LOOP: lambda: log.rate(_python("through_loop", log.arguments, {})),
        FETCH: lambda: _fetch(log),
        FAUST: lambda: slice_of_log.rate(_python("contenders.stock_faust", slice_of_log.arguments, {})),
    }
    for name, script in SCRIPTS.items():
        reason = _install(script)
        if reason is None:
            runs[name] = partial(_scripted, log, script)
        else:
            not_run[name] = reason
    found = {name: Repeats(tuple(rates)) for name, rates in alternate(runs).items()}
    _write(log, slice_of_log, found, not_run, _profile(log, model))


# -- running ------------------------------------------------------------------------------------------------


def _worker(log: Log, model: Path, turns: Any) -> float:
    settings = {**worker_settings(log.tenant, model), **STAYS_LIVE, "worker.group": f"bench-{next(turns)}"}
    return log.rate(_python("through_worker", (str(log.frames), str(log.windows)), variables(settings)))


def _profile(log: Log, model: Path) -> Stacks | str:
    """Run the worker once more, slower, to see where its time goes."""
    settings = {**worker_settings(log.tenant, model), **STAYS_LIVE, "worker.group": "bench-profile"}
    command = [sys.executable, "-m", "tests.bench.through_worker", str(log.frames), str(log.windows)]
    return sampled(command, variables(settings), EVENT_LOOP)


def _fetch(log: Log) -> float:
    found = _python("through_loop", (*log.arguments, "--no-work"), {})
    assert found["frames"] == log.frames
    return float(log.frames / found["seconds"])


def _scripted(log: Log, script: str) -> float:
    return log.rate(_last_line(_uv(script, *log.arguments, within_s=WITHIN_S)))


def _python(module: str, arguments: tuple[str, ...], variables: dict[str, str]) -> dict[str, Any]:
    return _last_line(
        subprocess.run(
            [sys.executable, "-m", f"tests.bench.{module}", *arguments],
            env={"PATH": os.environ["PATH"], **variables},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
        )
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _uv(script: str, *arguments: str, within_s: float) -> subprocess.CompletedProcess[str]:
    """Run a script in the environment that its own metadata and lock say."""
    uv = shutil.which(os.environ.get("UV", "uv"))
    assert uv is not None
    python = {"UV_PYTHON": sys.base_prefix, "UV_PYTHON_DOWNLOADS": "never", "PYTHONPATH": str(REPOSITORY)}
    command = [uv, "run", "--quiet", "--script", "--frozen", str(CONTENDERS / f"{script}.py"), *arguments]
    environment = {**os.environ, **python}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=within_s)


def _install(script: str) -> str | None:
    """Make a script's environment; return why it cannot be made, if so."""
    if shutil.which(os.environ.get("UV", "uv")) is None:
        return "there is no uv on this machine to install it with"
    try:
        done = _uv(script, within_s=INSTALL_WITHIN_S)
    except subprocess.TimeoutExpired:
        return f"it was not installed within {INSTALL_WITHIN_S} s"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


# -- writing ------------------------------------------------------------------------------------------------


def _write(
    log: Log,
    slice_of_log: Log,
    found: dict[str, Repeats],
    not_run: dict[str, str],
    profile: Stacks | str,
) -> None:
    sheet, worker = Sheet("throughput", "Throughput of one process"), found[WORKER]
    sheet.text(
        "Frames decoded and cut into windows of 1 s every 0.5 s, in a second, by one process:"
        f" {SENSORS:,} sensors, frames of 20 ms, {PARTITIONS} partitions, {TURNS} turns. Every contender that"
        f" cuts windows was found to cut the same {log.windows:,} out of {log.frames:,} frames, by count and"
        f" checksum (the stock Faust agent {slice_of_log.windows:,} out of {slice_of_log.frames:,}). Median,"
        " least and most; ratios are taken turn by turn."
    )
    sheet.table(
        ("contender", "frames/s", "µs a frame", "worker : contender"),
        [_row(name, rates, worker) for name, rates in found.items()],
    )
    sheet.text("\n".join(f"- {name}: {HOW[name]}" for name in found))
    for name, reason in not_run.items():
        sheet.text(f"**{name} was not run**: {reason}")
    sheet.text(
        f"Fetching alone takes {found[LOOP].per(found[FETCH]).median:.0%} of the bare loop's time, and would"
        f" take {worker.per(found[FETCH]).median:.0%} of the worker's."
    )
    sheet.plot(_figure(found), "Frames per second: the bar is the median, every dot is a run")
    _write_profile(sheet, profile)
    for name, bar in BARS.items():
        ratio = worker.per(found[name]).median if name in found else None
        sheet.at_least(f"throughput, worker : {name}", ratio, bar)
    for name, rates in found.items():
        sheet.repeated(name, rates.spread)
    sheet.data.update(
        sensors=SENSORS,
        frames=log.frames,
        slice_frames=slice_of_log.frames,
        windows=log.windows,
        frames_per_s={name: rates.values for name, rates in found.items()},
        not_run=not_run,
    )
    sheet.save()


def _write_profile(sheet: Sheet, profile: Stacks | str) -> None:
    if isinstance(profile, str):
        sheet.text(f"**The worker was not profiled**: {profile}")
        return
    sheet.plot(
        flame(profile), "Where the worker's time goes, by who holds the interpreter, in both its threads"
    )
    rows = [(name, f"{share:.0%}") for name, share in shares(profile).items() if name in PARTS]
    sheet.table(("part of the worker", "of its time"), rows)


def _row(name: str, rates: Repeats, worker: Repeats) -> tuple[str, ...]:
    ratio = "" if name == WORKER else f"{worker.per(rates):.2f}"
    return name, f"{rates:,.0f}", f"{1e6 / rates.median:.1f}", ratio


def _figure(found: dict[str, Repeats]) -> Figure:
    figure = Figure(figsize=(8, 0.6 * len(found) + 1), layout="constrained")
    axes = figure.subplots()
    for row, rates in enumerate(found.values()):
        axes.barh(row, rates.median, color="#8fb8de")
        axes.plot(rates.values, np.full(len(rates.values), row), "o", color="#1f3b57", markersize=4)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlabel("frames/s")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figure
