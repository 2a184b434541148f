"""Commands that make a model smaller or faster, and say what that cost."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli.base import AsJson, complain, show, show_table
from earwitness.cli.models import models_app

if TYPE_CHECKING:
    from models.compress.entry import Entry
    from models.compress.measure import Clip, Comparison
    from models.compress.tune import TuneSettings
    from models.dataset import PCM

Model = Annotated[str, typer.Argument(help="Such as earwitness-small/2, or a directory.")]
Out = Annotated[
    Path, typer.Option(help="The new model's directory; its last two names are name and version.")
]
Data = Annotated[Path, typer.Option(exists=True, file_okay=False, help="A folder with labels.csv.")]
AnyData = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="A folder with labels.csv to measure on; else noise."),
]
Fold = Annotated[
    int | None,
    typer.Option(help="Measure on this fold and leave it out of all else; without it, on what was used."),
]
FullRange = Annotated[
    bool,
    typer.Option("--full-range", help="Weights of 8 bits, not 7: only for processors with VNNI or for ARM."),
]
Steps = Annotated[int, typer.Option(min=20, max=1_000_000, help="Batches of fine-tuning.")]
Rate = Annotated[float, typer.Option("--learning-rate", min=1e-7, max=1.0)]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1)]


@models_app.command()
def quantise(
    model: Model,
    data: Data,
    out: Out,
    fold: Fold = None,
    full_range: FullRange = False,
    as_json: AsJson = False,
) -> None:
    """Quantise a model's network to 8 bits after training, calibrated with windows of recordings.

    Example: earwitness model quantise earwitness-small/2 --data recordings/ --out int8/small/1
    """
    from models.compress.quantise import quantise as compress

    before, windows, clips = _read(model, data, fold)
    _say(before, compress(before, windows, out, reduce_range=not full_range), clips, fold, as_json=as_json)


@models_app.command()
def half(model: Model, out: Out, data: AnyData = None, fold: Fold = None, as_json: AsJson = False) -> None:
    """Make a model's network compute in float16, for GPUs. On a CPU it is no faster.

    Example: earwitness model half earwitness-small/2 --out fp16/small/1
    """
    from models.compress.half import halve

    before, clips = _measured(model, data, fold)
    _say(before, halve(before, out), clips, fold, as_json=as_json)


@models_app.command()
def prune(
    model: Model,
    data: Data,
    out: Out,
    share: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Of the network's multiplications, to be left.")
    ] = 0.5,
    group: Annotated[int, typer.Option(min=1, max=64, help="Channels that go at a time.")] = 8,
    fold: Fold = None,
    steps: Steps = 300,
    learning_rate: Rate = 1e-3,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Take whole channels out of a model's network, and fine-tune what is left on the model's own scores.

    Example: earwitness model prune earwitness-small/2 --data recordings/ --out thin/small/1
    """
    from models.compress.prune import Pruning
    from models.compress.prune import prune as compress

    pruning, settings = Pruning(share, group), _settings(steps, learning_rate, seed)
    before, windows, clips = _read(model, data, fold)
    with progress("pruned, fine-tuning", steps) as tick:
        after = compress(before, windows, out, pruning, settings, tick=tick)
    _say(before, after, clips, fold, as_json=as_json)


@models_app.command()
def qat(
    model: Model,
    data: Data,
    out: Out,
    fold: Fold = None,
    steps: Steps = 300,
    learning_rate: Rate = 2e-4,
    full_range: FullRange = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model on its own scores while it computes in 8 bits, then quantise it.

    Example: earwitness model qat earwitness-small/2 --data recordings/ --out int8/small/1
    """
    from models.compress.qat import quantise_aware

    settings = _settings(steps, learning_rate, seed)
    before, windows, clips = _read(model, data, fold)
    with progress("fine-tuning", steps) as tick:
        after = quantise_aware(before, windows, out, settings, reduce_range=not full_range, tick=tick)
    _say(before, after, clips, fold, as_json=as_json)


@models_app.command()
def edge(
    model: Model,
    out: Annotated[Path, typer.Option(help="A directory for model.ort and what belongs to it.")],
    tflite: Annotated[
        bool, typer.Option("--tflite", help="Write model.tflite as well; needs onnx2tf and tensorflow.")
    ] = False,
    data: AnyData = None,
    fold: Fold = None,
    as_json: AsJson = False,
) -> None:
    """Write a model in the ORT format, for ONNX Runtime Mobile, with the operators that a build of it needs.

    Example: earwitness model edge earwitness-small/2 --out phone/
    """
    from models.compress.edge import export_ort
    from models.compress.tflite import export_tflite, find_converter

    converter = find_converter() if tflite else None
    before, clips = _measured(model, data, fold)
    exported = export_ort(before, out)
    complain(f"{exported.entry.file}; a reduced ONNX Runtime is built with {exported.config}")
    if converter is not None:
        complain(str(export_tflite(before, out, converter)))
    _say(before, exported.entry, clips, fold, as_json=as_json)


def _settings(steps: int, learning_rate: float, seed: int) -> "TuneSettings":
    from models.compress.tune import TuneSettings

    return TuneSettings(steps=steps, learning_rate=learning_rate, seed=seed)


def _read(model: str, data: Path, fold: int | None) -> "tuple[Entry, PCM, tuple[Clip, ...]]":
    """Read a model, windows to work with, and clips to measure on."""
    from models.compress.quantise import calibration_windows

    before, clips = _measured(model, data, fold)
    return before, calibration_windows(data, before.spec, fold), clips


def _measured(model: str, data: Path | None, fold: int | None) -> "tuple[Entry, tuple[Clip, ...]]":
    from models.catalogue import find
    from models.compress.entry import read_entry
    from models.compress.measure import noise_clip, read_clips

    before = read_entry(find(model))
    return before, read_clips(data, before.spec, fold) if data else (noise_clip(before.spec),)


@contextmanager
def progress(name: str, steps: int) -> Iterator[Callable[[float], None]]:
    """Show a bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task(name, total=steps)
        yield lambda loss: bars.update(task, advance=1, description=f"{name}, loss {loss:.3f}")


def _say(
    before: "Entry", after: "Entry", clips: "tuple[Clip, ...]", fold: int | None, *, as_json: bool
) -> None:
    """Measure both, and print what changed."""
    from models.compress.measure import compare

    comparison = compare(before, after, clips)
    if as_json:
        show(dumps({"out": str(after.file), "fold": fold} | comparison.as_dict()))
        return
    show_table(("", "before", "after", "after / before"), rows_of(comparison))
    where = f"{comparison.clips} recordings" if comparison.clips else "noise"
    show(
        f"{comparison.windows} windows of {where}: the same top label in {comparison.agreement:.2%}, "
        f"scores at most {comparison.largest_difference:.3g} apart"
    )


def rows_of(comparison: "Comparison") -> list[list[str]]:
    """Return a table's rows: accuracy, bytes, and the time of a window alone and of 32."""
    both = comparison.before, comparison.after
    rows = [["file, bytes", *(f"{f.file_bytes:,}" for f in both), f"{comparison.size_ratio:.3f}"]]
    for batch in comparison.before.speed:
        turns = [figures.speed[batch] for figures in both]
        times = [f"{t.median_ms:.3f} ({t.least_ms:.3f} to {t.most_ms:.3f})" for t in turns]
        name = f"ms of one core a window, batch {batch}: median (least to most)"
        rows.append([name, *times, f"{comparison.time_ratio(batch):.3f}"])
    accuracy = ["–" if f.clip_accuracy is None else f"{f.clip_accuracy:.2%}" for f in both]
    return [["clip accuracy", *accuracy, ""], *rows]
