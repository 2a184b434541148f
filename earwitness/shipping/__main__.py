"""command line -> the catalogue that ships.

python -m earwitness.shipping --data ../shared/data --run build/models
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from earwitness.shipping.recipe import Recipe, make_catalogue, parted
from earwitness.training import progress_of
from infra.local import sounds
from infra.local.errors import LocalServerError
from models.catalogue import CATALOGUE
from models.fit import FitSettings
from models.recordings import Sources
from models.teacher import TeacherSettings
from models.train_settings import TrainSettings
from schemas.errors import EarwitnessError

LICENCE = "Apache-2.0; what it was trained on has licences of its own, see CARD.md"
EMBEDDING = "yamnet_frames/global_average_pooling2d/Mean_Squeeze__272:0"
"""What YAMNet's last layer is given, `float32[1024]`."""


def main(
    data: Annotated[Path, typer.Option(help="Folder with esc10/, ambience/ and models/yamnet/.")] = Path(
        "../shared/data"
    ),
    run: Annotated[
        Path | None, typer.Option(help="The run folder: new, or one to go on with; build/models at first.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The catalogue that the models go into; the one that ships, with --quick another."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Networks trained at once.")] = 2,
    seeds: Annotated[
        int,
        typer.Option(min=1, max=10, help="Of networks without each fold; all but the first only measure."),
    ] = 3,
    bfloat16: Annotated[
        bool, typer.Option(help="Train in bfloat16: for processors that have it, else slower.")
    ] = True,
    quick: Annotated[
        bool, typer.Option("--quick", help="Everything, but so little of it that nothing is learned.")
    ] = False,
) -> None:
    """Train, choose thresholds, measure, make smaller, and write the cards."""
    console = Console(stderr=True)
    run = run or Path("build/models-quick" if quick else "build/models")
    out = out or (run / "catalogue" if quick else CATALOGUE)
    try:
        recipe = _recipe(data, run, processes, seeds, bfloat16)
        with progress_of(console) as say:
            figures = make_catalogue(_quick(recipe) if quick else recipe, out, say)
    except (EarwitnessError, LocalServerError) as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(code=2) from error
    console.print(f"accuracy {figures['accuracy']['mean']:.3f}; cards and models in {out}")


def _recipe(data: Path, run: Path, processes: int, seeds: int, bfloat16: bool) -> Recipe:
    settings = TrainSettings(
        Sources(data / "esc10", (data / "ambience",), (sounds.training(),)),
        run,
        licence=LICENCE,
        teacher=TeacherSettings(data / "models" / "yamnet" / "yamnet.onnx", EMBEDDING),
        seeds=tuple(range(seeds)),
        fit=FitSettings(bfloat16=bfloat16),
        processes=processes,
    )
    return Recipe(settings, *parted(sounds.held_out(), sounds.training()))


def _quick(recipe: Recipe) -> Recipe:
    """Return a recipe that shows within minutes that everything works."""
    train = recipe.train
    return replace(
        recipe,
        train=replace(
            train,
            seeds=(0,),
            fit=replace(train.fit, steps=100),
            windows=1500,
            pretrain_steps=50,
            pretrain_windows=500,
            generated=60,
            variety=50,
            speeds=(1.0,),
        ),
        choosing={name: entries[::50] for name, entries in recipe.choosing.items()},
        testing={name: entries[::200] for name, entries in recipe.testing.items()},
        evaluate=replace(recipe.evaluate, passes=1, alarms=4, noise_hours=0.1, most_robustness_recordings=8),
        patterns=1,
        trigger=replace(recipe.trigger, steps=200),
    )


if __name__ == "__main__":
    typer.run(main)
