"""command line -> model directory: trains with the sounds that `producers` can generate.

python -m earwitness.train --data ../shared/data --out models/catalogue/earwitness-small/1
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from models.features import RATE_HZ
from models.fit import FitSettings, Tick
from models.recordings import FOLDS
from models.train import Trained, TrainSettings, train
from producers.sources import sounds
from schemas.errors import EarwitnessError

SYNTHETIC_S = 6.0
"""Length of a generated sound: one and a half patterns of a smoke alarm."""
BACKGROUND_SHARE = 0.3


def synthesise(rng: np.random.Generator) -> tuple[NDArray[np.float64], str]:
    """Generate a smoke alarm, a siren or a background, and say which."""
    if rng.random() < BACKGROUND_SHARE:
        return sounds.ambience(rng, SYNTHETIC_S, RATE_HZ, _background(rng)), "background"
    return sounds.draw_alert(rng, SYNTHETIC_S, RATE_HZ)


def main(
    data: Annotated[Path, typer.Option(help="Directory with esc10/ and ambience/.")] = Path("../shared/data"),
    out: Annotated[Path, typer.Option(help="Where the model goes: …/<name>/<version>.")] = Path(
        "models/catalogue/earwitness-small/1"
    ),
    folds: Annotated[str, typer.Option(help="Folds to hold out in turn, or none.")] = "1,2,3,4",
    quick: Annotated[bool, typer.Option(help="A useless model within a minute.")] = False,
) -> None:
    """Train, test and export a model."""
    console = Console()
    settings = TrainSettings(data=data, out=out, folds=_folds(folds))
    if quick:
        settings = quick_settings(data, out)
    try:
        trained = train_with_progress(settings, console)
    except EarwitnessError as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(code=2) from error
    console.print(f"{out}: {trained.spec.digest}")


def quick_settings(data: Path, out: Path) -> TrainSettings:
    """Return settings that show within a minute that everything works, and give a useless model."""
    fit = FitSettings(steps=80)
    return TrainSettings(data, out, (4,), fit, speeds=(1.0,), synthetic=60, trials=4)


def train_with_progress(settings: TrainSettings, console: Console) -> Trained:
    """Train with a bar for each network that is trained."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("loss {task.fields[loss]:.2f}"), console=console) as progress:

        def begin(name: str, steps: int) -> Tick:
            task = progress.add_task(name, total=steps, loss=float("nan"))
            return lambda loss: progress.update(task, advance=1, loss=loss)

        return train(settings, synthesise, begin)


def _folds(text: str) -> tuple[int, ...]:
    if text in {"", "none"}:
        return ()
    try:
        return tuple(int(fold) for fold in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r}; accepted: none, or some of {FOLDS}") from None


def _background(rng: np.random.Generator) -> sounds.Background:
    return sounds.Background(
        slope_db_per_octave=rng.uniform(-9.0, 1.0),
        swell_db=rng.uniform(0.0, 6.0),
        hum_hz=float(rng.choice([50.0, 60.0])),
        hum_db=rng.uniform(-40.0, 3.0),
    )


if __name__ == "__main__":
    typer.run(main)
