"""The whole path in real time, as a fleet grows: latency, and who uses the machine's cores.

`BENCH_FLEETS=10,100 BENCH_TURNS=1 BENCH_FLEET_SECONDS=10 BENCH_FLEET_WARM_UP=5` is a short form.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import pytest
from matplotlib.figure import Figure

from infra.local.kafka import KafkaServer
from producers.fleet import Phases
from tests.bench.end_to_end_run import EndToEnd, EndToEndBench
from tests.bench.fleet_run import sounds_in
from tests.bench.repeats import TURNS, Repeats, alternate
from tests.bench.sheet import Sheet
from tests.integration.harness import Programs

SENSORS = [int(size) for size in os.environ.get("BENCH_FLEETS", "10,50,100,250,500,1000").split(",")]
WARM_UP_S = float(os.environ.get("BENCH_FLEET_WARM_UP", "10"))
COUNTED_S = float(os.environ.get("BENCH_FLEET_SECONDS", "30"))
OTHER_TURNS = (TURNS + 1) // 2
JUDGED = 100 if 100 in SENSORS else SENSORS[0]
"""The size that has bars, is played aligned as well, and takes part in every turn."""
ALIGNED = f"{JUDGED}, aligned"
P50_MS, P99_MS, FLEET_P99_MS, FLEET_SENSORS = 30.0, 60.0, 100.0, 500
_LATENCY = (
    "sensors",
    "runs",
    "sustained",
    "detections",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "max ms",
    "every window decided p50, p99 ms",
)
_COST = ("sensors", "worker", "broker", "fleet", "worker, ms a sensor and second", "fleet late p99, max ms")
DECIDED = "captured_to_decided"
_TICKS_MS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
Runs = dict[str, list[EndToEnd]]


@pytest.mark.timeout(7200)
def test_the_whole_path_as_a_fleet_grows(
    kafka: KafkaServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs, sounds = Programs(tmp_path), sounds_in(tmp_path_factory.mktemp("sounds"))
    bench = EndToEndBench(kafka, programs, sounds, WARM_UP_S, COUNTED_S)
    try:
        same = bench.agrees(JUDGED)
        runs = _runs(bench)
    finally:
        programs.close()
    assert any(run.sustained for run in runs[str(min(SENSORS))]), "not even the smallest fleet was heard"
    _write(runs, same, "the synthetic scene" if sounds is None else "recorded sound")


def _runs(bench: EndToEndBench) -> Runs:
    sizes: dict[str, Callable[[], EndToEnd]] = {
        **{str(sensors): partial(bench.run, sensors, Phases.RANDOM) for sensors in SENSORS},
        ALIGNED: partial(bench.run, JUDGED, Phases.ALIGNED),
    }
    found = alternate(sizes, OTHER_TURNS)
    judged = {name: sizes[name] for name in (str(JUDGED), ALIGNED)}
    for name, more in alternate(judged, TURNS - OTHER_TURNS).items():
        found[name] += more
    return found


# -- the sheet ----------------------------------------------------------------------------------------------


def _write(runs: Runs, same: int, sounds: str) -> None:
    sheet = Sheet("end-to-end", "End to end")
    sheet.text(
        f"Sensors that play {sounds} in real time, in frames of 20 ms, Kafka, and one worker with the model "
        f"that ships share this machine. {WARM_UP_S:g} s of warm-up, then {COUNTED_S:g} s counted; each run "
        "has topics and processes of its own, and sizes take turns. Latency is that of detections that "
        "begin, from the last sample of the window that decided (the sensor's clock) to the append in "
        "`audio.detections` (the broker's): median of the runs, and their range. A load is sustained if "
        "every frame was stored, every window scored, every sample covered, and nothing lagged at the end. A "
        f"fresh group that read a topic of {JUDGED} sensors afterwards said the same {same:,} detections, by "
        "id and value."
    )
    sheet.table(_LATENCY, [_latency_row(name, found) for name, found in runs.items()])
    sheet.plot(_latency_plot(runs), "Latency of detections against sensors in random phases; one dot a run")
    sheet.table(_COST, [_cost_row(name, found) for name, found in runs.items()])
    sheet.plot(_cpu_plot(runs), "Cores by process against sensors in random phases, median of the runs")
    for name in (str(JUDGED), ALIGNED):
        sheet.text(
            f"Every decided window of {name} sensors, by stage, from the worker's histograms; from sent on, "
            "those of which a detection began:"
        )
        sheet.table(("stage", "windows", "p50 ms", "p90 ms", "p99 ms"), _stage_rows(runs[name]))
    _judge(sheet, runs)
    sheet.data["runs"] = {name: [run.as_json() for run in found] for name, found in runs.items()}
    sheet.data["detections_said_again"] = same
    sheet.save()


def _latency_row(name: str, runs: list[EndToEnd]) -> tuple[str, ...]:
    p50, p90, p99, most = (_repeated(runs, figure) for figure in ("p50", "p90", "p99", "max"))
    return (
        name,
        str(len(runs)),
        f"{sum(run.sustained for run in runs)} of {len(runs)}",
        f"{sum(len(run.latencies_ms) for run in runs):,}",
        *("" if figure is None else f"{figure:.1f}" for figure in (p50, p90, p99)),
        "" if most is None else f"{most.high:.0f}",
        _decided(runs),
    )


def _decided(runs: list[EndToEnd]) -> str:
    """Say how long windows took from their last sample to their decision, detections or none."""
    each = [run.stages[DECIDED].percentiles_ms() for run in runs if DECIDED in run.stages]
    return f"{median(p50 for p50, _, _ in each):.1f}, {median(p99 for _, _, p99 in each):.1f}" if each else ""


def _repeated(runs: list[EndToEnd], figure: str) -> Repeats | None:
    found = [run.latency for run in runs]
    values = tuple(float(getattr(latency, figure)) for latency in found if latency is not None)
    return Repeats(values) if values else None


def _cost_row(name: str, runs: list[EndToEnd]) -> tuple[str, ...]:
    cores = _cores(runs)
    late_ms = median(run.report.p99_late_ms for run in runs), max(run.report.max_late_ms for run in runs)
    return (
        name,
        *(f"{cores[process]:.2f}" if process in cores else "" for process in ("worker", "broker", "fleet")),
        f"{1000 * cores['worker'] / runs[0].sensors:.1f}",
        f"{late_ms[0]:.1f}, {late_ms[1]:.0f}",
    )


def _cores(runs: list[EndToEnd]) -> dict[str, float]:
    return {process: median(run.cores[process] for run in runs) for process in runs[0].cores}


def _stage_rows(runs: list[EndToEnd]) -> Iterator[tuple[str, ...]]:
    for stage in runs[0].stages:
        found = [run.stages[stage] for run in runs if stage in run.stages]
        each = [times.percentiles_ms() for times in found]
        percentiles = (f"{median(values):.1f}" for values in zip(*each, strict=True))
        yield (stage, f"{sum(times.count for times in found):,}", *percentiles)


def _judge(sheet: Sheet, runs: Runs) -> None:
    for figure, bar_ms in (("p50", P50_MS), ("p99", P99_MS)):
        repeats = _repeated(runs[str(JUDGED)], figure)
        name = f"End to end, {JUDGED} sensors in random phases, {figure}"
        sheet.at_most(name, None if repeats is None else repeats.median, bar_ms, "ms")
        if repeats is not None:
            sheet.repeated(name, repeats.spread)
    most, reached = _most_sensors(runs)
    sheet.at_least(f"Most sensors measured with p99 < {FLEET_P99_MS:g} ms", most, FLEET_SENSORS, "sensors")
    sheet.text(reached)


def _most_sensors(runs: Runs) -> tuple[float, str]:
    """Return the largest size that most runs bore in time, and where p99 passes the limit, in words."""
    before: tuple[int, float] = (0, 0.0)
    for sensors in sorted(SENSORS):
        found = runs[str(sensors)]
        p99 = _repeated(found, "p99")
        borne = sum(run.sustained for run in found) > len(found) / 2
        if p99 is None or not borne or p99.median >= FLEET_P99_MS:
            if not before[0] or p99 is None:
                most = before[0]
                return most, f"{sensors} sensors are more than this machine hears within {FLEET_P99_MS:g} ms."
            passes = _passes(before, (sensors, p99.median))
            return before[0], f"p99 stays below {FLEET_P99_MS:g} ms with {before[0]} sensors{passes}."
        before = sensors, p99.median
    return before[0], f"p99 stays below {FLEET_P99_MS:g} ms with all {before[0]} sensors."


def _passes(below: tuple[int, float], above: tuple[int, float]) -> str:
    """Say where a straight line between two sizes passes the limit, if it does."""
    (fewer, low_ms), (more, high_ms) = below, above
    if high_ms < FLEET_P99_MS:
        return f", and {more} are more than this machine sustains"
    crossing = fewer + (FLEET_P99_MS - low_ms) / (high_ms - low_ms) * (more - fewer)
    return f", and passes it before {more}: at about {crossing:.0f} by a straight line between the two"


def _latency_plot(runs: Runs) -> Figure:
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    for name, colour in (("p50", "tab:green"), ("p90", "tab:orange"), ("p99", "tab:red")):
        found = [(size, _repeated(runs[str(size)], name)) for size in sorted(SENSORS)]
        points = [(size, repeats) for size, repeats in found if repeats is not None]
        axes.plot([s for s, _ in points], [r.median for _, r in points], color=colour, label=name)
        for size, repeats in points:
            axes.plot([size] * len(repeats.values), repeats.values, ".", color=colour)
    axes.axhline(FLEET_P99_MS, color="grey", linestyle=":", label=f"{FLEET_P99_MS:g} ms")
    axes.set(xscale="log", yscale="log", xlabel="sensors", ylabel="last sample to detection in the log, ms")
    axes.set_xticks(sorted(SENSORS), [str(size) for size in sorted(SENSORS)])
    axes.set_yticks(_TICKS_MS, [f"{ms:,}" for ms in _TICKS_MS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _cpu_plot(runs: Runs) -> Figure:
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    sizes = sorted(SENSORS)
    cores = [_cores(runs[str(size)]) for size in sizes]
    base = [0.0] * len(sizes)
    for process in cores[0]:
        heights = [found[process] for found in cores]
        axes.bar([str(size) for size in sizes], heights, bottom=base, label=process)
        base = [below + height for below, height in zip(base, heights, strict=True)]
    axes.axhline(os.cpu_count() or 1, color="grey", linestyle=":", label="cores of this machine")
    axes.set(xlabel="sensors", ylabel="cores")
    axes.legend()
    return figure
