"""Figures -> PNG pictures: confusion, events, false alarms, robustness, reliability."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.evaluation.calibration import Bin, Calibration
from earwitness.evaluation.clips import ClipFigures
from earwitness.evaluation.evaluate import Figures
from earwitness.evaluation.events import EventFigures
from earwitness.evaluation.negatives import FalseAlarms
from earwitness.evaluation.robustness import Curves
from schemas.errors import ConfigurationError

DPI = 100


def draw(figures: Figures, directory: Path) -> list[Path]:
    """Draw what there is to draw into a directory, and return the files.

    Raises:
        ConfigurationError: matplotlib is not installed.

    """
    wanted: dict[str, Callable[[Any], None]] = {}
    if figures.clips.labels:
        wanted["confusion"] = lambda figure: _confusion(figure, figures.clips)
    if figures.events is not None:
        events = figures.events
        wanted["events"] = lambda figure: _events(figure, events)
    if figures.false_alarms.all.per_hour is not None:
        wanted["false_alarms"] = lambda figure: _false_alarms(figure, figures.false_alarms)
    if figures.robustness:
        wanted["robustness"] = lambda figure: _robustness(figure, figures.robustness)
    if figures.calibration is not None:
        found = figures.calibration
        wanted["reliability"] = lambda figure: _reliability(figure, found)
    return [_save(directory / f"{name}.png", paint) for name, paint in wanted.items()]


def _save(file: Path, paint: Callable[[Any], None]) -> Path:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        needed = "--json alone, or matplotlib: pip install 'earwitness[analyst]'"
        raise ConfigurationError("--out", str(file), needed) from exc
    figure = Figure(figsize=(10, 7), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    paint(figure)
    figure.savefig(file, format="png", metadata={"Software": "Earwitness"})
    return file


def _confusion(figure: Any, clips: ClipFigures) -> None:
    axes, counts = figure.subplots(), np.array(clips.confusion)
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = counts[row, column] > counts[row].sum() / 2
        colour = "white" if dark else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(clips.labels)), clips.labels, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(clips.labels)), clips.labels, parse_math=False)
    axes.set(xlabel="taken for", ylabel="recording")


def _events(figure: Any, events: EventFigures) -> None:
    counts = events.event_f1.by_label
    axes, at = figure.subplots(), np.arange(len(counts))
    axes.barh(at, [c.f1 or 0.0 for c in counts.values()], color="#1f4e79")
    for place, c in zip(at, counts.values(), strict=True):
        axes.text(0.01, place, f"{c.tp} found, {c.fp} false, {c.fn} missed", va="center", color="#ef8f2c")
    axes.set_yticks(at, list(counts), parse_math=False)
    axes.set(xlabel=f"event F1; mean {events.event_f1.macro or 0.0:.3f}", xlim=(0, 1))


def _false_alarms(figure: Any, alarms: FalseAlarms) -> None:
    axes, at = figure.subplots(), np.arange(len(alarms.by_label))
    rates = list(alarms.by_label.values())
    counted = np.array([rate.per_hour or 0.0 for rate in rates])
    upper = np.array([rate.upper_per_hour or 0.0 for rate in rates])
    axes.barh(at, counted, xerr=[np.zeros(at.size), upper - counted], color="#d62728", capsize=3)
    axes.set_yticks(at, list(alarms.by_label), parse_math=False)
    axes.set(xlabel=f"false alarms an hour on {alarms.all.hours:.2f} h, and 95 % upper bound", xlim=(0, None))


def _robustness(figure: Any, curves: Curves) -> None:
    rows = -(-len(curves) // 3)
    for axes, (name, curve) in zip(figure.subplots(rows, 3, sharey=True).flat, curves.items(), strict=False):
        xs, shares = [p.x for p in curve], [p.accuracy for p in curve]
        axes.plot(xs, [s.value or 0.0 for s in shares], "o-", color="#1f4e79")
        axes.fill_between(xs, [s.low or 0.0 for s in shares], [s.high or 0.0 for s in shares], alpha=0.2)
        axes.set(xlabel=name, ylim=(0, 1.02), ylabel="clip accuracy")
        axes.grid(alpha=0.3)


def _reliability(figure: Any, found: Calibration) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    _bins(left, found.bins, f"as it is: error {found.expected_error:.3f}")
    tempered = f"temperature {found.temperature:.2f}: error {found.expected_error_tempered:.3f}"
    _bins(right, found.bins_tempered, tempered)


def _bins(axes: Any, bins: tuple[Bin, ...], title: str) -> None:
    axes.bar([b.low for b in bins], [b.accuracy for b in bins], width=1 / 15, align="edge", alpha=0.6)
    axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o", color="#1f4e79")
    axes.plot([0, 1], [0, 1], "--", color="grey")
    axes.set(title=title, xlabel="score", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
