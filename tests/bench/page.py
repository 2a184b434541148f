"""The sections that benches have left -> `docs/benchmarks.md`, with their pictures and data beside it.

    python -m tests.bench.page

What a bench left in `build/bench/` takes the place of its section; a bench that has not run since keeps the
one that it had, with its own date and machine.
"""

import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.sheet import REPOSITORY, SHEETS, Bar, bar_of, figure_of, markdown_table, verdict

PAGE = REPOSITORY / "docs" / "benchmarks.md"
ORDER = ("throughput", "added-latency", "end-to-end", "growth")
"""What the page begins with; other sections follow by name."""
COMMAND = "make bench"


@dataclass(frozen=True, slots=True)
class Section:
    """What one bench left."""

    name: str
    text: str
    at: str
    machine: dict[str, str]
    bars: tuple[Bar, ...]
    spreads: dict[str, float]

    @classmethod
    def read(cls, file: Path) -> "Section":
        """Read a section by its `<name>.json`."""
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
        bars = tuple(Bar(**{key: bar[key] for key in Bar.__slots__}) for bar in found["bars"])
        text = file.with_suffix(".md").read_text("utf-8")
        return cls(found["name"], text, found["at"], found["machine"], bars, found["spreads"])

    @property
    def place(self) -> tuple[int, str]:
        """Say where on the page it stands."""
        return ORDER.index(self.name) if self.name in ORDER else len(ORDER), self.name


def write_page(sheets: Path, page: Path, *, failed: bool = False) -> None:
    """Write the page, and its pictures and data into the folder that is named like it.

    `failed` says that a bench did not come to its end.
    """
    parts = page.with_suffix("")
    parts.mkdir(parents=True, exist_ok=True)
    for file in sorted(sheets.glob("*.json")):
        _take(sheets, file.stem, parts)
    sections = sorted(map(Section.read, parts.glob("*.json")), key=lambda section: section.place)
    page.write_text("\n\n".join(_page(sections, parts.name, failed=failed)) + "\n", "utf-8")
    print(f"{page}: {len(sections)} sections; {_verdict(sections)}")


def _take(sheets: Path, name: str, parts: Path) -> None:
    """Put what a bench has left in the place of what it had left before."""
    for old in parts.glob(f"{name}-[0-9]*.png"):
        old.unlink()
    for file in (*sheets.glob(f"{name}-[0-9]*.png"), sheets / f"{name}.json", sheets / f"{name}.md"):
        shutil.move(file, parts / file.name)


def _page(sections: list[Section], parts: str, *, failed: bool) -> Iterable[str]:
    yield "# Benchmarks"
    if failed:
        yield "**A bench failed or was stopped: its section is missing, or is of an earlier run.**"
    yield f"Written by `{COMMAND}`, which runs all of this against a real Kafka on one machine."
    yield f"**{_verdict(sections)}**"
    yield markdown_table(("bar", "measured", "to be", ""), _bars(sections))
    yield "## Machine"
    yield from _machines(sections)
    yield from _noise(sections)
    for section in sections:
        text = section.text.replace(f"]({section.name}-", f"]({parts}/{section.name}-").strip()
        yield f"{text}\n\n[Data]({parts}/{section.name}.json), measured {section.at}."


def _verdict(sections: list[Section]) -> str:
    met = [bar.met for section in sections for bar in section.bars]
    if not met:
        return "No bar was measured."
    return "Every bar was met." if all(met) else f"{met.count(False)} of {len(met)} bars were MISSED."


def _bars(sections: list[Section]) -> Iterable[tuple[str, ...]]:
    for bar in (bar for section in sections for bar in section.bars):
        yield bar.name, figure_of(bar), bar_of(bar), verdict(bar) if bar.met else f"**{verdict(bar)}**"


def _machines(sections: list[Section]) -> Iterable[str]:
    machines = {tuple(section.machine.items()): list[str]() for section in sections}
    for section in sections:
        machines[tuple(section.machine.items())].append(section.name)
    for machine, names in machines.items():
        if len(machines) > 1:
            yield f"For {', '.join(names)}:"
        yield markdown_table(("", "this was measured on"), machine)


def _noise(sections: list[Section]) -> Iterable[str]:
    """Say how far repeats lay apart: differences of that size say nothing."""
    rows = [
        (section.name, name, f"{spread:.0%}")
        for section in sections
        for name, spread in section.spreads.items()
    ]
    if rows:
        yield "How far repeats of one figure lay apart, as (most - least) / median:"
        yield markdown_table(("section", "figure", "spread"), rows)


if __name__ == "__main__":
    write_page(SHEETS, PAGE, failed=sys.argv[1:] not in ([], ["0"]))
