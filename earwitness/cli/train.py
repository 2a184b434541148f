"""`earwitness model train`: recordings in, a run folder with models out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli.base import AsJson, complain, show, show_table
from earwitness.cli.models import models_app
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from models.train import Trained
    from models.train_settings import TrainSettings

QUICK_STEPS, QUICK_WINDOWS, QUICK_SOUNDS = 120, 1500, 60


@models_app.command()
def train(
    run: Annotated[Path, typer.Option(help="The run folder: new, or one to go on with.")],
    data: Annotated[Path, typer.Option(help="Folder with labels.csv: path, label, fold.")],
    ambience: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of long backgrounds, also with labels.csv; held out by fold as well."),
    ] = None,
    variety: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of anything else, with labels.csv: nothing is to be found in it."),
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--label", help="A label to learn; by default all of the data's.")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="ONNX file of a model to learn from, such as YAMNet.")
    ] = None,
    teacher_embedding: Annotated[
        str | None, typer.Option(help="The tensor before the teacher's last layer.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the model is called.")] = "earwitness-small",
    version: Annotated[str, typer.Option(help="Its version.")] = "2",
    licence: Annotated[str | None, typer.Option(help="Of the model, for its spec.")] = None,
    fold: Annotated[
        list[int] | None, typer.Option(help="Hold out only these folds in turn; by default all.")
    ] = None,
    validation_fold: Annotated[
        int | None, typer.Option(help="A fold to stop early by, neither learnt nor tested.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="One set of networks for each; 0 by default.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000)] = 5000,
    windows: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Windows of mixed streams to make beforehand.")
    ] = 48_000,
    generated: Annotated[
        int, typer.Option(min=0, max=100_000, help="Alarms, sirens and noises to generate; 0: only the data.")
    ] = 3000,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Networks trained at once.")] = 1,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Nearly twice as fast on processors that have it, else slower.")
    ] = False,
    final: Annotated[bool, typer.Option(help="Also train a network on all folds.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="A poor model within a minute or two.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train networks without each fold, and one on all of them: what measures, and what ships.

    A run that was stopped goes on where it was.

    Example: earwitness model train --data sounds --teacher yamnet.onnx --teacher-embedding NAME --run runs/1
    """
    from earwitness.training import train_with_progress
    from models.fit import FitSettings
    from models.recordings import Sources
    from models.teacher import TeacherSettings
    from models.train_settings import NO_LICENCE, TrainSettings

    if teacher is not None and teacher_embedding is None:
        accepted = "the name of a tensor; a wrong one names some that there are"
        raise ConfigurationError("--teacher-embedding", None, accepted)
    settings = TrainSettings(
        sources=Sources(data, tuple(ambience or ()), tuple(variety or ())),
        run=run,
        name=name,
        version=version,
        licence=licence or NO_LICENCE,
        classes=tuple(classes or ()),
        teacher=TeacherSettings(teacher, teacher_embedding) if teacher and teacher_embedding else None,
        folds=tuple(fold) if fold else None,
        validation_fold=validation_fold,
        seeds=tuple(seed) if seed else (0,),
        final=final,
        fit=FitSettings(steps=steps, bfloat16=bfloat16),
        windows=windows,
        generated=generated,
        processes=processes,
    )
    trained = train_with_progress(_quick(settings) if quick else settings)
    _tell(settings, trained, as_json=as_json)


def _quick(settings: "TrainSettings") -> "TrainSettings":
    fit = replace(settings.fit, steps=QUICK_STEPS)
    generated = min(settings.generated, QUICK_SOUNDS)
    return replace(
        settings, fit=fit, speeds=(1.0,), windows=QUICK_WINDOWS, generated=generated, pretrain_steps=0
    )


def _tell(settings: "TrainSettings", trained: "list[Trained]", *, as_json: bool) -> None:
    if as_json:
        for one in trained:
            show(_as_json(one))
        return
    rows = [[one.job.name, _share(one.accuracy), str(one.directory)] for one in trained]
    show_table(("training", "held-out recordings right", "model"), rows)
    complain(f"Curves: {settings.run / 'curves.png'}. Next: earwitness model evaluate --help")


def _share(accuracy: float) -> str:
    return "" if accuracy != accuracy else f"{accuracy:.3f}"


def _as_json(one: "Trained") -> str:
    from json import dumps

    said = {
        "training": one.job.name,
        "seed": one.job.seed,
        "held_out": one.job.held_out,
        "accuracy": None if one.accuracy != one.accuracy else one.accuracy,
        "loss": one.course.losses[-1],
        "directory": str(one.directory),
    }
    return dumps(said)
