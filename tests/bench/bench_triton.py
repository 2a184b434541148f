"""The same load on a real Triton, sent by NVIDIA's perf_analyzer and by a TritonScorer, in turn.

Real windows, the shipped model with the python backend, the same batch and as many requests in flight. The
server and whoever loads it share this machine's cores, so what a client costs the server lacks: CPU time is
shown for both. perf_analyzer is C++ and threads that block; what it sends is made once, before it measures.
"""

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from models.catalogue import find
from models.repository import write_repository
from processors.score import OnnxScorer, Pcm
from producers.clips import ClipPool
from producers.sources.files import files_in
from schemas.model import ModelSpec, read_spec
from tests.bench.triton_loads import Bench, Figures, Load
from tests.bench.triton_trace import options, read_traces, split_us
from tests.conftest import TritonServers

SECONDS, TURNS = float(os.environ.get("BENCH_SECONDS", "3")), int(os.environ.get("BENCH_TURNS", "3"))
BATCHES = [int(batch) for batch in os.environ.get("BENCH_BATCHES", "32,1").split(",")]
CONCURRENCIES, WINDOWS = (1, 4, 16), 32
SHIPPED = "earwitness-small/2"
P99_TARGET, RATE_TARGET = 1.2, 0.9
Pair = tuple[Figures, Figures]
"""Of perf_analyzer, and of TritonScorer right after or before it."""
RATES = "                         windows/s  p50 ms  p99 ms   calls   windows/s, ratio      p99, ratio"
PARTS = (
    "ms a call, means           client queue send + receive   server queue        compute   "
    "client CPU   server CPU"
)


@pytest.fixture
def bench(triton_servers: TritonServers, tmp_path: Path, shared_data: Path) -> Bench:
    """A server that writes down nothing."""
    return _bench(triton_servers, tmp_path, shared_data)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("batch", BATCHES)
def test_triton_scorer_against_perf_analyzer(bench: Bench, batch: int) -> None:
    loads = _loads(batch)
    pairs: dict[Load, list[Pair]] = {load: [] for load in loads}
    bench.analyzed(loads[-1], SECONDS)  # warms the server up
    for turn in range(TURNS):
        for load in loads:
            first, second = (bench.analyzed, bench.scored)[:: 1 - 2 * (turn % 2)]
            figures = first(load, SECONDS), second(load, SECONDS)
            pairs[load].append(figures if turn % 2 == 0 else figures[::-1])
            assert all(each.count for each in figures)
    print(f"\nbatch {batch}, {TURNS} turns of {SECONDS:g} s each, {os.cpu_count()} cores for both sides")
    print(RATES)
    for load in loads:
        _show_rates(load, pairs[load])
    print(PARTS)
    for load in loads:
        _show_parts(load, pairs[load])


@pytest.mark.timeout(600)
def test_where_the_time_of_a_call_goes(
    triton_servers: TritonServers, tmp_path: Path, shared_data: Path
) -> None:
    file = tmp_path / "trace.json"
    bench = _bench(triton_servers, tmp_path, shared_data, options(file))
    found = {load: bench.asked(load, SECONDS / 2) for load in _loads(BATCHES[0])}
    bench.server.stop()
    traces, header = read_traces(file), True
    for load, told in found.items():
        parts_us = split_us(told, traces)
        if header:
            print("\nTritonScorer, ms a call, means" + "".join(f"{part:>15}" for part in parts_us))
        header = False
        shown = "".join(f"{part_us / 1000:15.2f}" for part_us in parts_us.values())
        print(f"batch {load.batch:>2}  {_named(load)}           {shown}")


def _bench(servers: TritonServers, home: Path, shared_data: Path, given: Sequence[str] = ()) -> Bench:
    """Start a server with the shipped model, and take windows of recordings."""
    directory = find(SHIPPED)
    spec, repository = read_spec(directory), home / "repository"
    write_repository(repository, [directory], {"backend": "python"})
    pcm = _windows(shared_data, spec)
    expected = OnnxScorer(directory, spec).run(pcm)
    return Bench(servers(repository, [spec.name], options=given), spec, pcm, expected, home)


def _loads(batch: int) -> list[Load]:
    return [Load(batch, c, shared) for shared, c in product((False, True), CONCURRENCIES)]


def _windows(shared_data: Path, spec: ModelSpec) -> Pcm:
    """Return the second seconds of recordings in which something sounds, int16[WINDOWS, window_samples]."""
    pool, size = ClipPool.read(files_in(shared_data / "esc10")[::8], spec.sample_rate_hz), spec.window_samples
    found = [clip.samples[size : 2 * size] for clip in pool.clips if len(clip.samples) >= 2 * size]
    return np.stack([window for window in found if window.any()][:WINDOWS])


def _show_rates(load: Load, pairs: list[Pair]) -> None:
    rates = [scored.windows_per_s / analyzed.windows_per_s for analyzed, scored in pairs]
    p99s = [scored.p99_us / analyzed.p99_us for analyzed, scored in pairs]
    met = "met" if median(rates) >= RATE_TARGET and median(p99s) <= P99_TARGET else "MISSED"
    for name, side in (("perf_analyzer", 0), ("TritonScorer", 1)):
        figures = [pair[side] for pair in pairs]
        p50_ms, p99_ms = (median(getattr(each, f"{p}_us") for each in figures) / 1000 for p in ("p50", "p99"))
        rate, count = median(each.windows_per_s for each in figures), sum(each.count for each in figures)
        print(f"{_named(load)} {name:<13} {rate:9,.0f} {p50_ms:7.2f} {p99_ms:7.2f} {count:7,}", end="")
        print("" if not side else f"   {_spread(rates)}   {_spread(p99s)}  {met}")


def _show_parts(load: Load, pairs: list[Pair]) -> None:
    for name, side in (("perf_analyzer", 0), ("TritonScorer", 1)):
        figures = [pair[side] for pair in pairs]
        parts = (median(each.parts_us[part] for each in figures) / 1000 for part in figures[0].parts_us)
        client, server = (
            median(getattr(each, f"{where}_cpu_us") for each in figures) / 1000
            for where in ("client", "server")
        )
        shown = " ".join(f"{part_ms:14.2f}" for part_ms in parts)
        print(f"{_named(load)} {name:<13} {shown}   {client:10.2f}   {server:10.2f}")


def _named(load: Load) -> str:
    return f"{'shared' if load.shared_memory else 'gRPC':<7} {load.concurrency:>2}"


def _spread(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
