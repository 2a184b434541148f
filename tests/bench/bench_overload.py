"""A worker that sheds, under twice the load that it can bear and then half of it: in time, fair and exact.

`BENCH_OVERLOAD_SECONDS=30 BENCH_CALM_SECONDS=15` is a short form.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from matplotlib.figure import Figure

from infra.local.kafka import KafkaServer
from schemas.coverage import Outcome
from tests.bench.overload_run import BATCH_WINDOWS, Moment, Overload, OverloadBench, Phase, Published
from tests.bench.repeats import Distribution
from tests.bench.sheet import Sheet
from tests.integration.harness import Programs

OVER_S = float(os.environ.get("BENCH_OVERLOAD_SECONDS", "300"))
UNDER_S = float(os.environ.get("BENCH_CALM_SECONDS", "60"))
DEADLINE_MS = int(os.environ.get("BENCH_DEADLINE_MS", "1000"))
WARM_UP_S = 5.0
RECOVERED_S, GROWS_MB_PER_MIN = 10.0, 2.0
MB = 1e6


@pytest.mark.timeout(1800)
def test_twice_the_load_that_can_be_borne(
    kafka: KafkaServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs = Programs(tmp_path)
    bench = OverloadBench(kafka, programs, tmp_path_factory.mktemp("overload"), DEADLINE_MS)
    try:
        found = bench.shed(bench.windows_per_s(), OVER_S, UNDER_S)
    finally:
        programs.close()
    assert found.covered, "coverage does not account for every sample that was stored"
    assert found.undisturbed, "the worker started again, or its partitions moved"
    for phase in (found.over, found.under):
        outcomes = {outcome for of in phase.samples.values() for outcome in of}
        assert outcomes <= {Outcome.SCORED, Outcome.SHED, Outcome.SHORT}
    last = found.moments[-1]
    assert last.scored + last.shed == found.windows
    assert last.shed > 0, "the load was not too much: nothing was shed"
    _write(found)


# -- the sheet ----------------------------------------------------------------------------------------------


def _write(found: Overload) -> None:
    sheet = Sheet("overload", "Overload")
    over, under = found.over, found.under
    sheet.text(
        f"One worker with a model so slow that it scores {found.windows_per_s:.0f} windows a second when too "
        f"many come, in batches of up to {BATCH_WINDOWS}, that sheds; `worker.deadline_ms = {DEADLINE_MS}`. "
        f"{over.sensors} real-time sensors, twice what it can bear, for {OVER_S:g} s, then {under.sensors}, "
        f"half of it, for {UNDER_S:g} s. Coverage accounts for every stored sample, every window was scored "
        "or shed, and the worker was one process throughout. The last window was shed "
        f"{found.shed_after_s:.0f} s after the load fell."
    )
    header = (
        "load",
        "sensors",
        "published",
        "captured to published p50, p99, max ms",
        "appended to published",
    )
    sheet.table(
        header, [_latency_row("2 x", over, found.published), _latency_row("1/2 x", under, found.published)]
    )
    sheet.table(
        ("load", "SCORED", "SHED", "SHORT", "least shed of a sensor", "median", "most"),
        [_share_row("2 x", over), _share_row("1/2 x", under)],
    )
    sheet.plot(
        _timeline(found), "Windows, latency of what is published, and memory; the load falls at the line"
    )
    _judge(sheet, found)
    sheet.data["moments"] = [asdict(moment) for moment in found.moments]
    sheet.data["windows_per_s"] = found.windows_per_s
    sheet.data["shed_shares"] = sorted(over.shed_shares)
    sheet.save()


def _judge(sheet: Sheet, found: Overload) -> None:
    published = [one.from_appended_ms for one in _during(found.over, found.published)]
    p99_ms = float(np.quantile(published, 0.99)) if published else None
    sheet.at_most("Twice the load: p99 from append to publication", p99_ms, DEADLINE_MS, "ms")
    sheet.at_most("Twice the load: memory grows", _growth(found), GROWS_MB_PER_MIN, "MB a minute")
    sheet.at_most("Last window shed after the load fell", found.shed_after_s, RECOVERED_S, "s")
    shares = found.over.shed_shares
    sheet.at_most(
        "Most shed of a sensor, to the median", max(shares) / median(shares) if median(shares) else None, 1.5
    )


def _during(phase: Phase, published: Sequence[Published]) -> list[Published]:
    begun_ms, ended_ms = 1000 * (phase.begun_s + WARM_UP_S), 1000 * phase.ended_s
    return [one for one in published if begun_ms <= one.appended_ms < ended_ms]


def _latency_row(name: str, phase: Phase, published: Sequence[Published]) -> tuple[str, ...]:
    found = _during(phase, published)
    captured, appended = (
        [getattr(one, f"from_{start}_ms") for one in found] for start in ("captured", "appended")
    )
    return (name, str(phase.sensors), f"{len(found):,}", _percentiles(captured), _percentiles(appended))


def _percentiles(values_ms: list[float]) -> str:
    if not values_ms:
        return ""
    found = Distribution.of(values_ms)
    return f"{found.p50:.0f}, {found.p99:.0f}, {found.max:.0f}"


def _share_row(name: str, phase: Phase) -> tuple[str, ...]:
    total = sum(sum(of.values()) for of in phase.samples.values())
    outcomes = (Outcome.SCORED, Outcome.SHED, Outcome.SHORT)
    parts = [sum(of.get(outcome, 0) for of in phase.samples.values()) / total for outcome in outcomes]
    shares = phase.shed_shares
    return (name, *(f"{part:.1%}" for part in (*parts, min(shares), median(shares), max(shares))))


def _growth(found: Overload) -> float:
    """Return by how much memory grows under too much load, by a straight line over the second half of it."""
    middle_s = (found.over.begun_s + found.over.ended_s) / 2
    later = [moment for moment in found.moments if middle_s <= moment.at_s < found.over.ended_s]
    minutes = [(moment.at_s - middle_s) / 60 for moment in later]
    return float(np.polyfit(minutes, [moment.resident_bytes / MB for moment in later], 1)[0])


def _timeline(found: Overload) -> Figure:
    figure = Figure(figsize=(9, 8))
    windows, latency, memory = figure.subplots(3, sharex=True)
    begun_s, moments = found.over.begun_s, found.moments
    times = [moment.at_s - begun_s for moment in moments]
    for name in ("scored", "shed"):
        windows.plot(times[1:], _per_second(moments, name), label=name.upper())
    windows.set(ylabel="windows a second")
    windows.legend()
    latency.plot(
        [one.appended_ms / 1000 - begun_s for one in found.published],
        [one.from_appended_ms for one in found.published],
        ".",
        markersize=2,
    )
    latency.axhline(DEADLINE_MS, color="grey", linestyle=":")
    latency.set(ylabel="append to publication, ms")
    memory.plot(times, [moment.resident_bytes / MB for moment in moments])
    memory.set(ylabel="resident memory, MB", xlabel="s", ylim=(0, None))
    for axes in (windows, latency, memory):
        axes.axvline(found.over.ended_s - begun_s, color="grey")
    return figure


def _per_second(moments: Sequence[Moment], name: str) -> list[float]:
    counts = np.array([getattr(moment, name) for moment in moments], float)
    rates = np.diff(counts) / np.diff([moment.at_s for moment in moments])
    return [float(rate) for rate in rates]
