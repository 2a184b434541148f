"""Rounds -> a line each in `ledger.jsonl`, and what they come to: a table by kind, as text or Markdown."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import isnan, nan
from pathlib import Path
from statistics import median

from tests.chaos.disturbance import LEAST_LIMIT_MS, TIMES_CALM, disturbed_s, limit_ms, worst_ms

FILE = "ledger.jsonl"
QUIET = {"longest_unappended_ms": "appended", "longest_unpublished_ms": "published"}
"""Counts of the judge that are times."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One round. `findings`: what the judge, or the harness itself, found wrong; `found`: how often, by the
    judge's kinds. `endings`: workers that ended although nobody had told them to. `evidence`: its directory,
    where it was kept.
    """

    number: int
    campaign: int
    kind: str
    faults: tuple[str, ...]
    did: tuple[str, ...]
    took_s: float
    counts: dict[str, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    found: dict[str, int] = field(default_factory=dict)
    endings: tuple[str, ...] = ()
    tritons_healed: int = 0
    phases_s: dict[str, float] = field(default_factory=dict)
    """How long each part of the round took."""
    course: dict[int, float] = field(default_factory=dict)
    """The p99 in milliseconds by second since the first fault (`disturbance`)."""
    evidence: str | None = None
    size: str = "full"
    """How long its parts were; where a ledger does not say, they were those of a campaign."""

    def count(self, name: str) -> int:
        """Return one of the judge's counts."""
        return self.counts.get(name, 0)

    @property
    def samples_covered(self) -> int:
        """Samples of which the workers said what became of them."""
        return sum(
            count for name, count in self.counts.items() if name.startswith("samples_") and name[8:].isupper()
        )

    def as_line(self) -> str:
        """Return it as a line for a terminal."""
        said = [f"round {self.number:4d}  {self.kind:16s} {self.took_s:5.1f} s"]
        if self.kind != "+".join(self.faults):
            said.append("+".join(self.faults))
        heard = f"{self.count('detections_disturbed')} of {self.count('detections_oracle')} statements"
        said.append(
            f"{heard}, {self.count('samples_acknowledged')} samples, p99 {worst_ms(self.course):.0f} ms"
        )
        said += [
            f"nothing {what} for {self.counts[name] / 1000:.1f} s"
            for name, what in QUIET.items()
            if name in self.counts
        ]
        if self.endings:
            said.append(f"{len(self.endings)} unplanned ends")
        said.append(f"FINDINGS {len(self.findings)}: {self.findings[0]}" if self.findings else "clean")
        return "; ".join(said)


class OtherCampaignError(Exception):
    """A ledger is of another seed or size."""


class Ledger:
    """The rounds of a campaign, in a file that is written to after each."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / FILE
        directory.mkdir(parents=True, exist_ok=True)

    def entries(self) -> list[Entry]:
        """Return what is written, in order; a line that was being written at a kill counts for nothing."""
        text = self._file.read_text("utf-8") if self._file.exists() else ""
        return [_entry(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def write(self, entry: Entry) -> None:
        """Add a round."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")

    def check(self, seed: int, size: str) -> None:
        """Refuse to mix rounds of two campaigns.

        Raises:
            OtherCampaignError: the rounds here follow from another seed, or are of another size.

        """
        for entry in self.entries():
            if (entry.campaign, entry.size) != (seed, size):
                there = f"rounds of seed {entry.campaign} and size {entry.size}"
                raise OtherCampaignError(
                    f"{self._file} holds {there}, these would be of seed {seed} and size {size}: "
                    "give another directory with --results"
                )


def _entry(line: str) -> Entry:
    fields = json.loads(line)
    texts = {name: tuple(fields[name]) for name in ("faults", "did", "findings", "endings")}
    course = {int(second): p99 for second, p99 in fields["course"].items()}
    return Entry(**{**fields, **texts, "course": course})


# -- what they come to --------------------------------------------------------------------------------------

Entries = Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its name, and what stands there for some rounds."""

    name: str
    of: Callable[[Entries], float]


def _sum(*names: str) -> Callable[[Entries], float]:
    return lambda entries: sum(entry.count(name) for entry in entries for name in names)


def _found(*kinds: str) -> Callable[[Entries], float]:
    return lambda entries: sum(entry.found.get(kind, 0) for entry in entries for kind in kinds)


def _disturbed(choose: Callable[[list[int]], float], limit: float) -> Callable[[Entries], float]:
    return lambda entries: choose([disturbed_s(entry.course, limit) for entry in entries])


def _longest_s(name: str) -> Callable[[Entries], float]:
    """Return the most of a count in milliseconds, in seconds; NaN where no round has it."""
    return lambda entries: max((e.counts[name] / 1000 for e in entries if name in e.counts), default=nan)


def columns(limit: float) -> list[Column]:
    """Return the columns, given the p99 above which a second was disturbed."""
    return [
        Column("rounds", len),
        Column("with findings", lambda entries: sum(bool(entry.findings) for entry in entries)),
        Column("samples stored", _sum("samples_acknowledged")),
        Column("covered", lambda entries: sum(entry.samples_covered for entry in entries)),
        Column("dropped", _sum("samples_dropped")),
        Column("unexplained", _sum("samples_unexplained")),
        Column("statements", _sum("detections_disturbed")),
        Column("missing", _found("MISSING")),
        Column("altered", _found("ALTERED")),
        Column("extra", _found("EXTRA")),
        Column("said again", _sum("detections_said_again")),
        Column("dead letters", _sum("dead_letters_due")),
        Column("unplanned ends", lambda entries: sum(len(entry.endings) for entry in entries)),
        Column("Tritons healed", lambda entries: sum(entry.tritons_healed for entry in entries)),
        Column("disturbed, s", _disturbed(median, limit)),
        Column("at most, s", _disturbed(max, limit)),
        Column(
            "worst p99 from append to publication, s",
            lambda entries: max(worst_ms(entry.course) for entry in entries) / 1000,
        ),
        Column("nothing appended, s", _longest_s("longest_unappended_ms")),
        Column("nothing published, s", _longest_s("longest_unpublished_ms")),
    ]


def rows(entries: Entries) -> list[list[str]]:
    """Return the table: what its columns are, a row for each kind, and all of them together."""
    shown = columns(limit_ms(entry.course for entry in entries))
    kinds = sorted({entry.kind for entry in entries})
    by_kind = [(kind, [entry for entry in entries if entry.kind == kind]) for kind in kinds]
    of_all = [("all", entries)] if entries else []
    head = ["kind", *(column.name for column in shown)]
    return [head, *([kind, *(_figure(column.of(of)) for column in shown)] for kind, of in by_kind + of_all)]


def _figure(value: float) -> str:
    if isnan(value):
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def remarks(entries: Entries, left_out: dict[str, str]) -> list[str]:
    """Return what the table does not say: what was found, who ended, what was left out."""
    limit = limit_ms(entry.course for entry in entries)
    found = [f"Round {e.number} ({e.kind}): {text}" for e in entries for text in e.findings]
    ended = [f"Round {e.number} ({e.kind}): ended {text}" for e in entries for text in e.endings]
    missing = [f"{kind} was left out: {reason}" for kind, reason in left_out.items()]
    disturbed = (
        "Disturbed: in how many seconds since a round's first fault, of those in which something was due, "
        f"the p99 was above {limit:.0f} ms; the median and the most of its rounds. The p99 is of the times "
        "from the append of the last frame that decides to the append of the first word. The limit is "
        f"{TIMES_CALM:g} times the median of seconds before a fault, and at least {LEAST_LIMIT_MS:g} ms."
    )
    longest = (
        "Nothing appended, nothing published: the longest time in which a partition got no frame, and in "
        "which nothing was said of one, between its first and its last frame; the most of the rounds that "
        f"measured it ({sum('longest_unappended_ms' in e.counts for e in entries)} of {len(entries)})."
    )
    return [disturbed, longest, *(found or ["No findings."]), *ended, *missing]


def as_text(entries: Entries, left_out: dict[str, str]) -> str:
    """Return it for a terminal."""
    table = rows(entries)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join([*lines, "", *remarks(entries, left_out)])


def as_markdown(entries: Entries, left_out: dict[str, str]) -> str:
    """Return it as a page."""
    head, *body = rows(entries)
    rule = ["---", *("---:" for _ in head[1:])]
    table = [f"| {' | '.join(row)} |" for row in (head, rule, *body)]
    points = [f"- {remark}" for remark in remarks(entries, left_out)]
    return "\n".join(["# Rounds of faults", "", *table, "", *points, ""])
