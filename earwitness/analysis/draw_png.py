"""Timeline -> a picture: level, what was listened to, detections, over the same UTC axis."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from earwitness.analysis.outcome import NOT_HEARD
from earwitness.analysis.timeline import Timeline
from earwitness.analysis.wanted import utc_text, utc_time
from schemas.coverage import Outcome
from schemas.errors import ConfigurationError

INCHES, DPI = (16, 9), 100
MAX_LABELS, QUIETEST_DBFS = 30, -80.0
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
COLOURS = {
    Outcome.SCORED.value: ("#2e9e5b", "scored"),
    Outcome.SHORT.value: ("#f2d14a", "short"),
    Outcome.GAP.value: ("#ef8f2c", "gap"),
    Outcome.SHED.value: ("#9b4fc8", "shed"),
    Outcome.FAILED.value: ("#d62728", "failed"),
    Outcome.EXPIRED.value: ("#5b1a1a", "expired"),
    NOT_HEARD: ("#d9d9d9", "not heard"),
}
"""Told apart by lightness, too."""


def draw_png(timeline: Timeline, file: Path) -> None:
    """Draw 1600 by 900 pixels.

    Raises:
        ConfigurationError: matplotlib is not installed.

    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        needed = "the terminal alone, or matplotlib: pip install 'earwitness[analyst]'"
        raise ConfigurationError("--out", str(file), needed) from exc
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    rows = max(2, min(MAX_LABELS, len(timeline.labels)))
    level, heard, labels = figure.subplots(3, 1, sharex=True, height_ratios=(6, 1.2, 1.5 + 0.45 * rows))
    _level(level, timeline)
    _heard(heard, timeline)
    _labels(labels, timeline)
    _axis(labels, timeline)
    # Names are not mathematics: a sensor may be called $1.
    figure.suptitle(_title(timeline), fontsize=14, parse_math=False)
    figure.savefig(file, format="png", metadata={"Title": f"{timeline.sensor}", "Software": "Earwitness"})


def _title(timeline: Timeline) -> str:
    span = f"{utc_text(timeline.begin_us)[:19]}Z to {utc_text(timeline.end_us)[:19]}Z"
    return f"{timeline.sensor}    {span}\n{', '.join(timeline.deciders) or 'no model has listened'}"


def _level(axes: Any, timeline: Timeline) -> None:
    for name, colour, values in (
        ("peak", "#8fb8de", [(p.start_us, p.end_us, p.peak_dbfs) for p in timeline.levels]),
        ("RMS", "#1f4e79", [(p.start_us, p.end_us, p.rms_dbfs) for p in timeline.levels]),
    ):
        times, heights = [], []
        for start_us, end_us, dbfs in values:
            height = QUIETEST_DBFS if dbfs is None else max(QUIETEST_DBFS, dbfs)
            times += [_time(start_us), _time(end_us), _time(end_us)]
            heights += [height, height, float("nan")]  # levels of stretches that do not touch are not joined
        axes.fill_between(times, heights, QUIETEST_DBFS, color=colour, label=name, linewidth=0)
    axes.set(ylabel="level, dBFS", ylim=(QUIETEST_DBFS, 3))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", ncols=2)


def _heard(axes: Any, timeline: Timeline) -> None:
    share = timeline.share()
    for outcome, part in share.items():
        colour, words = COLOURS[outcome]
        bars = [_bar(s.start_us, s.end_us) for s in timeline.spans if s.outcome == outcome]
        # A line round it: what lasted less than a pixel is seen, too.
        edge = "none" if outcome in (Outcome.SCORED.value, NOT_HEARD) else colour
        axes.broken_barh(
            bars, (0, 1), facecolor=colour, edgecolor=edge, linewidth=1, label=f"{words} {part:.2%}"
        )
    axes.set(yticks=[], ylabel="coverage", ylim=(0, 1))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=len(share), frameon=False)


def _labels(axes: Any, timeline: Timeline) -> None:
    labels = timeline.labels[:MAX_LABELS]
    for row, label in enumerate(labels):
        found = [d for d in timeline.detections if d.label == label]
        bars = [_bar(d.start_us, d.end_us) for d in found]
        colours = [(0.78, 0.1, 0.1, 0.35 + 0.65 * (d.peak_score or 0.0)) for d in found]
        axes.broken_barh(bars, (row - 0.4, 0.8), facecolors=colours, edgecolors="#8c1111", linewidth=0.5)
    more = len(timeline.labels) - len(labels)
    title = f"{len(timeline.detections)} detections, darker: higher score" + (
        f"\n{more} more labels are not drawn" if more else ""
    )
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set(ylabel=title, ylim=(max(1, len(labels)) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)


def _axis(axes: Any, timeline: Timeline) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=UTC, minticks=6, maxticks=14)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    axes.set(xlabel="UTC, by the sensor's clock", xlim=(_time(timeline.begin_us), _time(timeline.end_us)))


def _time(time_us: int) -> float:
    """Return a time in matplotlib's unit: days since 1970, UTC."""
    return (utc_time(time_us) - _1970) / timedelta(days=1)


def _bar(start_us: int, end_us: int) -> tuple[float, float]:
    return _time(start_us), _time(end_us) - _time(start_us)
