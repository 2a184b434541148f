"""`earwitness model trigger`: a tiny model in front of one that was trained here."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.base import AsJson, show, show_table
from earwitness.cli.compress import Fold, Model, Out, Seed, progress, rows_of
from earwitness.cli.models import models_app


@models_app.command()
def trigger(
    model: Model,
    run: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="The run folder that the model was trained in.")
    ],
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="What the run learned from.")],
    out: Out,
    ambience: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="The run's ambience; without one, generated noise."),
    ] = None,
    fold: Fold = None,
    steps: Annotated[int, typer.Option(min=20, max=1_000_000, help="Batches to learn from.")] = 6000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Train a trigger: a tiny model that lets through what the model would detect, and little else.

    Example: earwitness model trigger run/seed-0/all/a/1 --run run --data recordings/ --out edge/trigger/1
    """
    from earwitness.triggering import Wanted, make_trigger
    from models.catalogue import find
    from models.compress.entry import read_entry
    from models.compress.measure import compare, noise_clip
    from models.recordings import Sources
    from models.trigger import TriggerSettings

    before, sources = read_entry(find(model)), Sources(data, tuple(ambience or ()))
    settings = TriggerSettings(steps=steps, seed=seed)
    with progress("trigger", steps) as tick:
        made = make_trigger(Wanted(before, run, sources, fold, out), settings, tick)
    comparison = compare(before, made.entry, (noise_clip(before.spec),))
    if as_json:
        speed = {"before": asdict(comparison.before), "after": asdict(comparison.after)}
        show(dumps({"out": str(made.entry.file), "fold": fold} | made.as_dict() | speed))
        return
    show_table(("", "model", "trigger", "trigger / model"), rows_of(comparison)[1:])
    passed, rejected, chosen = made.figures.passed, made.figures.rejected, made.chosen
    show(
        f"At {made.threshold:g} it passes {passed.right} of {passed.all} of the model's detections, and "
        f"rejects {rejected.right} of {rejected.all} windows of {made.background}; of the detections that "
        f"the threshold was chosen by it passes {chosen.right} of {chosen.all}"
    )
