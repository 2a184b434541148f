"""Command line: rounds of faults against a running system, as many in all as are asked for, and their ledger.

python -m tests.chaos --rounds 100           goes on after the last round that is in the ledger
python -m tests.chaos --rounds 3 --kind worker_kill
python -m tests.chaos report --markdown docs/chaos.md
"""

import shutil
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from infra.local.errors import LocalServerError
from infra.local.installation import locked
from tests.chaos.faults import kinds_here, left_out
from tests.chaos.ledger import Ledger, OtherCampaignError, as_markdown, as_text
from tests.chaos.plan import Plan, plan_of
from tests.chaos.round import play_round
from tests.chaos.stage import FULL, SMALL, Size
from tests.chaos.system import running_system

RESULTS = Path("build/chaos")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Results = Annotated[Path, typer.Option(help="Where the ledger and evidence are kept.")]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds there are to be in all.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the campaign; with the number it decides a round.")] = 1,
    kind: Annotated[str | None, typer.Option(help="Play only this kind of fault.")] = None,
    results: Results = RESULTS,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the evidence of clean rounds, too.")] = False,
    small: Annotated[bool, typer.Option("--small", help="Shorter rounds, as the tests play them.")] = False,
) -> None:
    """Play rounds."""
    if context.invoked_subcommand is not None:
        return
    kinds = kinds_here()
    if kind is not None and kind not in kinds:
        raise typer.BadParameter(left_out().get(kind, f"one of {', '.join(kinds)}"), param_hint="--kind")
    size = SMALL if small else FULL
    campaign = Campaign(Choice(seed, tuple(kinds), kind), results, size, keep=keep)
    with locked(results / "lock"):
        campaign.ledger.check(seed, size.name)
        campaign.play(rounds)
    entries = campaign.ledger.entries()
    typer.echo(as_text(entries, left_out()))
    raise typer.Exit(int(any(entry.findings for entry in entries)))


@app.command()
def report(
    results: Results = RESULTS,
    markdown: Annotated[Path | None, typer.Option(help="Write it here as a page.")] = None,
) -> None:
    """Say what the rounds come to."""
    entries = Ledger(results).entries()
    typer.echo(as_text(entries, left_out()))
    if markdown is not None:
        markdown.write_text(as_markdown(entries, left_out()), "utf-8")


@dataclass(frozen=True, slots=True)
class Choice:
    """What rounds follow from; `only` one kind, if not each of them in turn."""

    seed: int
    kinds: tuple[str, ...]
    only: str | None

    def plan(self, number: int) -> Plan:
        """Plan a round."""
        return plan_of(self.seed, number, self.kinds, self.only)


class Campaign:
    """Rounds that follow from one seed; each needs only its number."""

    def __init__(self, choice: Choice, results: Path, size: Size, *, keep: bool) -> None:
        self.ledger = Ledger(results)
        self._choice, self._size, self._keep = choice, size, keep
        self._results = results.absolute()

    def play(self, rounds: int) -> None:
        """Play until there are so many rounds in the ledger; a system that was left ill is started anew."""
        while self._next() <= rounds:
            directory = self._results / "systems" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
            if self._play_on(directory, rounds):
                shutil.rmtree(directory)  # what workers said is of interest only where something was found

    def _play_on(self, directory: Path, rounds: int) -> bool:
        """Play on one system, to the end or to the first finding; return whether all was well."""
        with running_system(directory) as system:
            while (number := self._next()) <= rounds:
                plan = self._choice.plan(number)
                evidence = self._results / "evidence" / f"round-{number:04d}"
                entry = play_round(system, plan, self._size, evidence, keep=self._keep)
                self.ledger.write(entry)
                typer.echo(entry.as_line())
                if entry.findings:
                    return False
        return not self._keep

    def _next(self) -> int:
        return max((entry.number for entry in self.ledger.entries()), default=0) + 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except (LocalServerError, OtherCampaignError) as exc:
        typer.echo(f"error: {exc}", err=True)
        sys.exit(2)
