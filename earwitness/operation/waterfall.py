"""Readings -> a waterfall: one line of text, with a bar whose parts are as long as the stages were."""

from itertools import accumulate, pairwise

from rich.text import Text

from schemas.latency import Readings, Stage

BAR_CELLS = 48
_DRAWN = {
    "appended": ("░", "blue"),
    "fetched": ("▒", "cyan"),
    "decoded": ("│", "white"),
    "windowed": ("║", "bright_black"),
    "batched": ("▓", "yellow"),
    "scored": ("█", "red"),
    "decided": ("╱", "white"),
    "sent": ("╲", "bright_black"),
    "published": ("▚", "green"),
}
"""By stage: what it is drawn with, for those who see no colours, and its colour."""


def waterfall(readings: Readings) -> Text:
    """Draw where the time went: the bar, the total, every stage; what is to blame is bold."""
    stages, worst = readings.stages(), readings.worst()
    line = Text("  ")
    for stage, cells in zip(stages, _cells(stages), strict=True):
        mark, colour = _DRAWN[stage.name]
        line.append(mark * cells, colour)
    line.append(f" {readings.total_us / 1000:.1f} ms:")
    for stage in stages:
        mark, colour = _DRAWN[stage.name]
        style = f"bold {colour}" if stage == worst else colour
        line.append(f" {mark} {title(stage.name)} {stage.length_ms:.1f}", style)
    return line


def title(stage: str) -> str:
    """Name a stage so that nobody takes a sensor's wrong clock for slowness."""
    return "appended (with the sensor's clock offset)" if stage == "appended" else stage


def _cells(stages: list[Stage]) -> list[int]:
    """Deal the bar's cells to the stages; one that is negative, by a clock that is ahead, gets none."""
    ends = list(accumulate((max(0, stage.length_us) for stage in stages), initial=0))
    edges = [round(BAR_CELLS * end / (ends[-1] or 1)) for end in ends]
    return [end - begin for begin, end in pairwise(edges)]
