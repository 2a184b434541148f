"""The command that makes a catalogue entry of a model that somebody else made."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli.base import AsJson, complain, show
from earwitness.cli.models import models_app

if TYPE_CHECKING:
    from earwitness.importing import Imported


class Activation(StrEnum):
    """What makes scores of a graph's output."""

    NONE = "none"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


@models_app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(help="The .onnx file. It is copied as it is.")],
    labels: Annotated[
        Path,
        typer.Option(
            help="What its outputs are called: .txt, one a line; .csv with display_name, label or name, "
            "and perhaps index."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The catalogue; the model goes to OUT/NAME/VERSION.")],
    licence: Annotated[str, typer.Option(help="Of the model, for its card.")],
    name: Annotated[str | None, typer.Option(help="The file's, where it is not given.")] = None,
    version: Annotated[str, typer.Option(help="A whole number, where Triton is to serve it.")] = "1",
    groups: Annotated[
        Path | None,
        typer.Option(
            help="Labels of yours, made of several of its own, of which the highest counts: .csv with "
            'label,member; or .toml, label = ["member"].'
        ),
    ] = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL", help="Only these, of groups and of its own labels. Else all groups, or all."
        ),
    ] = None,
    sample_rate_hz: Annotated[int, typer.Option(help="What it was made for: no graph says so.")] = 16_000,
    window_samples: Annotated[
        int | None, typer.Option(min=1, help="Needed where the graph takes any length.")
    ] = None,
    hop_samples: Annotated[
        int | None, typer.Option(min=1, help="From one window to the next; half a window, if not given.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Windows at once; any number, or the graph's own, if not given.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="What int16 is multiplied by for float32 input; 1/32768, if not given."),
    ] = None,
    output: Annotated[str | None, typer.Option(help="Needed where several could have the scores.")] = None,
    activation: Annotated[
        Activation, typer.Option(help="What makes scores of logits; none where they are scores.")
    ] = Activation.NONE,
    threshold: Annotated[float, typer.Option(help="Score from which a label counts in a window.")] = 0.5,
    thresholds: Annotated[
        Path | None, typer.Option(help="Of single labels: .csv with label,threshold.")
    ] = None,
    m: Annotated[int, typer.Option("--m", min=1, help="Windows of the last n that must count.")] = 2,
    n: Annotated[int, typer.Option("--n", min=1)] = 3,
    in_silence: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="May be heard in silence, such as Silence itself."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a catalogue entry of a model that somebody else made, by writing its spec.

    It is tried first, and refused where a score depends on what else is in the batch, where it is outside of
    0 to 1, and where silence would be reported.

    Example: earwitness model import yamnet.onnx --labels class_map.csv --groups examples/yamnet-groups.csv
    --licence Apache-2.0 --out catalogue
    """
    from earwitness.importing import Declared, import_model

    declared = Declared(
        labels=labels,
        licence=licence,
        name=name,
        version=version,
        groups=groups,
        report=tuple(report or ()),
        sample_rate_hz=sample_rate_hz,
        window_samples=window_samples,
        hop_samples=hop_samples,
        batch=batch,
        scale=scale,
        output=output,
        activation=activation.value,
        threshold=threshold,
        thresholds=thresholds,
        m=m,
        n=n,
        in_silence=tuple(in_silence or ()),
    )
    _tell(import_model(file, declared, out), as_json)


def _tell(imported: "Imported", as_json: bool) -> None:
    spec, checked = imported.spec, imported.checked
    if as_json:
        from json import dumps

        said = {"model": spec.name, "version": spec.version, "digest": spec.digest}
        rest = {"directory": str(imported.directory), "labels": spec.labels}
        show(
            dumps(
                {**said, **rest, "checks": checked.passed, "warnings": checked.warnings}, ensure_ascii=False
            )
        )
        return
    show(f"{imported.directory}: {len(spec.labels)} labels, {spec.window_s:g} s of {spec.sample_rate_hz} Hz")
    for line in checked.passed:
        show(f"  {line}")
    for warning in checked.warnings:
        complain(f"earwitness: {warning}")
    complain(f"Hear with it: earwitness scan --model {imported.directory} recordings/")
