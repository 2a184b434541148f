"""The command that measures a model: earwitness model evaluate."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli.base import complain, print_table, show, table_of
from earwitness.cli.models import models_app
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from earwitness.evaluation.evaluate import Figures
    from earwitness.evaluation.evidence import Begin, EvaluateSettings, Evidence
    from earwitness.evaluation.material import Part
    from earwitness.evaluation.report import Report
    from earwitness.evaluation.thresholds import Choice
    from models.dataset import Entry

Folders = list[Path] | None


@models_app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Such as earwitness-small/2, or a directory.")],
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="A folder with labels.csv: path, label, fold.")
    ],
    fold: Annotated[
        list[int] | None, typer.Option(help="Only rows of this fold; may be given more than once.")
    ] = None,
    background: Annotated[
        Folders,
        typer.Option(
            exists=True, file_okay=False, help="What streams are laid over; else generated noise. Repeatable."
        ),
    ] = None,
    negatives: Annotated[
        Folders,
        typer.Option(exists=True, file_okay=False, help="Sound in which nothing is to be found. Repeatable."),
    ] = None,
    noise_hours: Annotated[
        float | None, typer.Option(min=0, max=1000, help="Generated negatives; 0.5 unless --quick.")
    ] = None,
    passes: Annotated[
        int | None, typer.Option(min=0, max=100, help="How often each recording is in a stream; 1 at first.")
    ] = None,
    alarms: Annotated[
        int | None,
        typer.Option(
            min=0, max=10_000, help="Generated alarms of each label at each SNR; 20 unless --quick."
        ),
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="Labels, besides ambiguous and thunderstorm, that are no negatives. Repeatable."),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness/--no-robustness", help="Curves over noise, gain, rooms, rates, losses."),
    ] = True,
    choose_thresholds: Annotated[
        bool,
        typer.Option(
            "--choose-thresholds",
            help="Choose thresholds and m of n on this data, which is then validation data, and write them.",
        ),
    ] = False,
    false_alarms_per_hour: Annotated[
        float, typer.Option(min=0.001, max=1000, help="What --choose-thresholds keeps to, over all labels.")
    ] = 1.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Little of everything: to see that it works.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    out: Annotated[Path | None, typer.Option(help="A folder for report.json and pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Measure a model on recordings that it never learned from, through the pipeline that runs live.

    Clip accuracy; event F1 and PSDS on streams that are made of the recordings; false alarms an hour; what
    noise, gain, rooms, sample rates and lost frames cost; calibration. The same seed gives the same figures.

    Example: earwitness model evaluate earwitness-small/2 --data recordings/ --negatives speech/ --json
    """
    from earwitness.evaluation.evaluate import evaluate as measure
    from earwitness.evaluation.material import Part, read_entries, read_unlabelled
    from earwitness.evaluation.thresholds import check_writable
    from models.catalogue import find

    settings = _settings(quick, seed, noise_hours, passes, alarms, leave_out, robustness)
    directory, sources = find(model), _sources(negatives)
    if choose_thresholds:
        check_writable(directory)
    if out is not None:
        _make(out)
    behind = tuple(entry for folder in background or () for entry in read_unlabelled(folder))
    part = Part(directory, read_entries(data, fold or ()), behind)
    heard = {name: read_unlabelled(folder) for name, folder in sources.items()}
    if choose_thresholds:
        _check_negatives(directory, heard, settings)
    with _progress() as begin:
        figures, evidence = measure([part], heard, settings, begin)
    choice = _chosen(evidence, settings, false_alarms_per_hour) if choose_thresholds else None
    report = _report(
        part, [data, *(background or ()), *sources.values()], settings, figures, evidence, choice
    )
    _deliver(report, out, as_json=as_json)


def _settings(
    quick: bool,
    seed: int,
    noise_hours: float | None,
    passes: int | None,
    alarms: int | None,
    leave_out: list[str] | None,
    robustness: bool,
) -> "EvaluateSettings":
    from earwitness.evaluation.evidence import QUICK, EvaluateSettings

    base = replace(QUICK if quick else EvaluateSettings(), seed=seed)
    return replace(
        base,
        noise_hours=base.noise_hours if noise_hours is None else noise_hours,
        passes=base.passes if passes is None else passes,
        alarms=base.alarms if alarms is None else alarms,
        left_out=tuple(dict.fromkeys((*base.left_out, *(leave_out or ())))),
        most_robustness_recordings=base.most_robustness_recordings if robustness else 0,
    )


def _sources(negatives: Folders) -> dict[str, Path]:
    sources = {str(folder): folder for folder in negatives or ()}
    if len(sources) != len(negatives or ()):
        raise ConfigurationError("--negatives", [str(n) for n in negatives or ()], "every folder once")
    return sources


def _check_negatives(
    model: Path, negatives: "Mapping[str, Sequence[Entry]]", settings: "EvaluateSettings"
) -> None:
    """Refuse to choose by nothing, before anything is heard."""
    from earwitness.evaluation.material import NOISE_STREAM_S, allowed
    from schemas.model import read_spec

    labels = read_spec(model).labels
    heard = any(allowed(entries, labels, settings.left_out) for entries in negatives.values())
    if not heard and not round(settings.noise_hours * 3600 / NOISE_STREAM_S):
        accepted = "more than 0, or --negatives with other labels than the model's: to --choose-thresholds by"
        raise ConfigurationError("--noise-hours", settings.noise_hours, accepted)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").touch()
    except OSError as exc:
        raise ConfigurationError("--out", str(out), f"a folder that may be written: {exc.strerror}") from exc


@contextmanager
def _progress() -> Iterator["Begin"]:
    """Show bars on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:

        def begin(name: str, steps: int) -> Callable[[], object]:
            task = bars.add_task(name, total=steps or None)
            return lambda: bars.advance(task)

        yield begin


def _chosen(evidence: "Evidence", settings: "EvaluateSettings", per_hour: float) -> "Choice":
    from earwitness.evaluation.thresholds import choose_thresholds

    audible = [scene for snr_db, scenes in evidence.alarms.items() if snr_db >= 0 for scene in scenes]
    heard = [negative.heard for negative in evidence.negatives]
    return choose_thresholds([*evidence.scenes, *audible], heard, per_hour, settings.events)


def _report(
    part: "Part",
    folders: Sequence[Path],
    settings: "EvaluateSettings",
    figures: "Figures",
    evidence: "Evidence",
    choice: "Choice | None",
) -> "Report":
    """Write what was chosen, and decide everything that was heard again by it."""
    from earwitness.evaluation.evaluate import data_digest, measure
    from earwitness.evaluation.report import Report
    from earwitness.evaluation.thresholds import write_choice

    spec = evidence.spec
    if choice is not None:
        spec = write_choice(part.model, choice)
        decided = evidence.decided_by(spec)
        figures = replace(measure(decided, settings), robustness=figures.robustness)
    data = {
        "folders": [str(folder) for folder in folders],
        "recordings": len(part.entries),
        "folds": sorted({entry.fold for entry in part.entries if entry.fold is not None}),
        "digest": data_digest(part.entries),
    }
    return Report(spec, data, settings, figures, choice)


def _deliver(report: "Report", out: Path | None, *, as_json: bool) -> None:
    from earwitness.evaluation.draw import draw
    from earwitness.evaluation.report import tables

    if out is not None:
        (out / "report.json").write_text(report.as_json() + "\n", "utf-8")
        for file in draw(report.figures, out):
            complain(f"{file}")
    if as_json:
        show(report.as_json())
        return
    for title, columns, rows in tables(report):
        show(f"\n{title}")
        print_table(table_of(columns, rows))
