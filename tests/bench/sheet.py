"""A bench's figures -> its section of the page of benchmarks, in `build/bench/`.

    sheet = Sheet("throughput", "Throughput of one process")
    sheet.text("What was played, and what was counted.")
    sheet.table(("contender", "frames/s"), [("worker", "120,000")])
    sheet.plot(figure, "One bar a contender, one dot a repeat")
    sheet.at_least("worker : bare loop", 1.07, 1.0)
    sheet.data["rates"] = {"worker": [118_000.0, 121_000.0]}
    sheet.save()

`save` writes `<name>.json` (the data, the bars, the machine), `<name>.md` and `<name>-<number>.png`; `page`
joins what all benches have left. A bench checks that its results are right before it saves: no wrong figure
gets there.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tests.bench.machine import this_machine

REPOSITORY = Path(__file__).parents[2]
SHEETS = REPOSITORY / "build" / "bench"


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and what it has to reach, or must not pass."""

    name: str
    measured: float | None
    """None where it could not be measured, which misses the bar."""
    bar: float
    at_least: bool
    unit: str

    @property
    def met(self) -> bool:
        """Say whether it is met."""
        if self.measured is None:
            return False
        return self.measured >= self.bar if self.at_least else self.measured <= self.bar


class Sheet:
    """One section of the page; `data` is free to fill with whatever JSON can hold."""

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title
        self.data: dict[str, Any] = {}
        self.bars: list[Bar] = []
        self._spreads: dict[str, float] = {}
        self._parts: list[str] = [f"## {title}"]
        self._plots: list[bytes] = []

    def text(self, markdown: str) -> None:
        """Add a paragraph, or several."""
        self._parts.append(markdown.strip())

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table: the first column is names, the others are figures."""
        self._parts.append(markdown_table(header, rows))

    def plot(self, figure: Figure, caption: str) -> None:
        """Add a picture, with what it shows below it."""
        png = BytesIO()
        figure.savefig(png, format="png", dpi=120, bbox_inches="tight")
        self._plots.append(png.getvalue())
        self._parts.append(f"![{caption}]({self.name}-{len(self._plots)}.png)\n\n*{caption}*")

    def at_least(self, name: str, measured: float | None, bar: float, unit: str = "x") -> Bar:
        """Add a bar that a figure has to reach."""
        return self._bar(Bar(name, measured, bar, True, unit))

    def at_most(self, name: str, measured: float | None, bar: float, unit: str = "x") -> Bar:
        """Add a bar that a figure must not pass."""
        return self._bar(Bar(name, measured, bar, False, unit))

    def repeated(self, name: str, spread: float) -> None:
        """Say how far repeats of a figure lay apart: (max - min) / median."""
        self._spreads[name] = spread

    def save(self, directory: Path = SHEETS) -> None:
        """Write the section, in place of what an earlier run left; print it too."""
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob(f"{self.name}-[0-9]*.png"):
            old.unlink()
        for number, png in enumerate(self._plots, 1):
            (directory / f"{self.name}-{number}.png").write_bytes(png)
        text = "\n\n".join(self._parts) + "\n"
        (directory / f"{self.name}.md").write_text(text, "utf-8")
        (directory / f"{self.name}.json").write_text(json.dumps(self._json(), indent=2) + "\n", "utf-8")
        print(f"\n{text}")
        for bar in self.bars:
            print(said(bar))

    def _bar(self, bar: Bar) -> Bar:
        self.bars.append(bar)
        return bar

    def _json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": this_machine(),
            "bars": [{**asdict(bar), "met": bar.met} for bar in self.bars],
            "spreads": self._spreads,
            "data": self.data,
        }


def said(bar: Bar) -> str:
    """Say a bar in a line."""
    return f"{bar.name}: {figure_of(bar)} (bar {bar_of(bar)}): {verdict(bar)}"


def figure_of(bar: Bar) -> str:
    """Say what was measured."""
    if bar.measured is None:
        return "not measured"
    amount = f"{bar.measured:,.0f}" if abs(bar.measured) >= 100 else f"{bar.measured:.3g}"
    return f"{amount} {bar.unit}"


def bar_of(bar: Bar) -> str:
    """Say what it had to be."""
    return f"{'>=' if bar.at_least else '<='} {bar.bar:g} {bar.unit}"


def verdict(bar: Bar) -> str:
    """Say `met` or `MISSED`."""
    return "met" if bar.met else "MISSED"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table whose first column is text and whose others stand to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
