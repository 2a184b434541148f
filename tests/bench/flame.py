"""A program -> where its time goes: py-spy samples what holds the interpreter, drawn as a flame graph."""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.sheet import REPOSITORY

Stacks = Counter[tuple[str, ...]]
"""How many samples were taken of each stack, the outermost function first."""
SAMPLES_PER_S, WITHIN_S = 200, 300
NAMED_FROM, DRAWN_FROM = 0.02, 0.002
"""Shares of all samples from which on a function is named, and drawn."""
_COLOURS = ("#f2b880", "#eda268", "#e88d52", "#f4c795")


def sampled(command: Sequence[str], environment: Mapping[str, str], root: str) -> Stacks | str:
    """Run a program under py-spy; return the stacks from the function `root` on, or why there are none."""
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        return f"there is no {spy.name}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stacks"
        options = [
            "--gil",
            "--threads",
            "--nolineno",
            f"--rate={SAMPLES_PER_S}",
            "--format=raw",
            f"--output={file}",
        ]
        try:
            done = subprocess.run(
                [str(spy), "record", *options, "--", *command],
                env={"PATH": os.environ["PATH"], **environment},
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                timeout=WITHIN_S,
            )
        except subprocess.TimeoutExpired:
            return f"it was not done within {WITHIN_S} s"
        if not file.exists():
            return (done.stderr.strip().splitlines() or ["py-spy gave no reason"])[-1]
        return _from(root, file.read_text("utf-8"))


def _from(root: str, text: str) -> Stacks:
    stacks: Stacks = Counter()
    for line in text.splitlines():
        stack, _, samples = line.rpartition(" ")
        names = [name.split(" (", 1)[0] for name in stack.split(";")]
        if root in names:
            stacks[tuple(names[names.index(root) :])] += int(samples)
    return stacks


def shares(stacks: Stacks) -> dict[str, float]:
    """Return each function's share of the time, what it calls included, the largest first."""
    inside: Counter[str] = Counter()
    for stack, samples in stacks.items():
        inside.update(dict.fromkeys(stack, samples))
    return {name: samples / stacks.total() for name, samples in inside.most_common()}


def flame(stacks: Stacks) -> Figure:
    """Draw the stacks: what a function calls stands above it, as wide as the time that it takes."""
    depth = max(map(len, stacks), default=1)
    figure = Figure(figsize=(14, 0.24 * depth + 0.6), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    _draw(axes, stacks, stacks.total(), 0.0, 0)
    return figure


def _draw(axes: Axes, stacks: Stacks, total: int, left: float, level: int) -> None:
    callees: dict[str, Stacks] = {}
    for stack, samples in sorted(stacks.items()):
        if stack:
            callees.setdefault(stack[0], Counter())[stack[1:]] += samples
    for name, inner in callees.items():
        width = inner.total() / total
        if width >= DRAWN_FROM:
            colour = _COLOURS[(level + len(name)) % len(_COLOURS)]
            axes.barh(level, width, 1.0, left, color=colour, edgecolor="white", linewidth=0.4)
            if width >= NAMED_FROM:
                axes.text(left + 0.001, level, name[: int(width * 190)], va="center", size=7, clip_on=True)
            _draw(axes, inner, total, left, level + 1)
        left += width
