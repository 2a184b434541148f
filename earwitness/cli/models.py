"""Commands about models: where they are served."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earwitness.cli.base import AsJson, app, complain, show, show_table

if TYPE_CHECKING:
    from models.repository import Entry

MODELS = "Models"

models_app = typer.Typer(
    help="Models: train, measure, import, compress, serve, roll out, compare.", no_args_is_help=True
)
app.add_typer(models_app, name="model", rich_help_panel=MODELS)


class Backend(StrEnum):
    """What runs a model inside Triton."""

    PYTHON = "python"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """What TensorRT computes with."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


@models_app.command()
def repository(
    out: Annotated[Path, typer.Option(help="The repository: new, or one that gets more versions.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Such as earwitness-small/2, or a directory. Else the whole catalogue."),
    ] = None,
    backend: Annotated[
        Backend | None,
        typer.Option(
            help="python: ONNX Runtime on the CPU. onnxruntime: on GPUs, or with --cpu. tensorrt: on GPUs, "
            "inside ONNX Runtime. Needed for a new model."
        ),
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=4096, help="Windows of one execution, at least batch.max_windows; 32 at first."
        ),
    ] = None,
    queue_delay_us: Annotated[
        int | None,
        typer.Option(min=0, max=1_000_000, help="How long an idle server waits for company; 0 at first."),
    ] = None,
    instances: Annotated[
        int | None, typer.Option(min=1, max=64, help="On each GPU, or processes on the CPU; 1 at first.")
    ] = None,
    cpu: Annotated[
        bool | None, typer.Option("--cpu/--gpu", help="Where --backend onnxruntime runs; on GPUs at first.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Of tensorrt. fp16 moves scores by some 0.01; int8 needs a quantised model; fp32 at first."
        ),
    ] = None,
    engine_cache: Annotated[
        str | None,
        typer.Option(
            help="The server's own directory for engines of tensorrt. Else it builds at every start."
        ),
    ] = None,
    cuda_graphs: Annotated[
        bool | None,
        typer.Option(
            "--cuda-graphs/--no-cuda-graphs",
            help="TensorRT without ONNX Runtime: float32 input, an engine built beforehand.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a Triton model repository, or add versions to one.

    What is not given stays as the repository has it. All versions of a model are served in one way.
    A server that runs takes a new version when it is told to load the model.

    Example: earwitness model repository --out /srv/models --backend onnxruntime
    """
    from earwitness.repository import starting, write_models

    given = {
        "backend": backend and backend.value,
        "max_batch": max_batch,
        "queue_delay_us": queue_delay_us,
        "instances": instances,
        "cpu": cpu,
        "precision": precision and precision.value,
        "engine_cache": engine_cache,
        "cuda_graphs": cuda_graphs,
    }
    entries = write_models(out, models or [], {k: v for k, v in given.items() if v is not None})
    if as_json:
        for entry in entries:
            show(_as_json(entry))
        return
    show_table(("model", "version", "runtime", "directory", ""), [_row(entry) for entry in entries])
    complain("Start Triton with:")
    for command in starting(out, entries):
        complain(f"  {command}")


def _row(entry: "Entry") -> list[str]:
    state = "added" if entry.added else "was there"
    return [entry.spec.name, entry.spec.version, entry.serving.runtime, str(entry.directory), state]


def _as_json(entry: "Entry") -> str:
    from dataclasses import asdict
    from json import dumps

    said: dict[str, Any] = {
        "model": entry.spec.name,
        "version": entry.spec.version,
        "digest": entry.spec.digest,
        "runtime": entry.serving.runtime,
        "serving": asdict(entry.serving),
        "directory": str(entry.directory),
        "added": entry.added,
    }
    return dumps(said)
