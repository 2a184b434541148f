"""Command line: real servers on this machine, in the foreground or made ready for later."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.local.debian import find_program
from infra.local.errors import LocalServerError, MissingToolError, ServerStartError, tail
from infra.local.kafka import install as install_kafka
from infra.local.kafka import start_kafka
from infra.local.rtsp import gstreamer
from infra.local.triton import install as install_triton
from infra.local.triton import start_triton

PROGRAMS = ("kcat", "sox")
"""What the tests and the README call besides servers."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def kafka(
    port: Annotated[int, typer.Option(help="Port that clients connect to.")] = 9092,
    directory: Annotated[
        Path | None, typer.Option(help="Keep the log here instead of dropping it at the end.")
    ] = None,
) -> None:
    """Run a Kafka broker until Ctrl-C."""
    with start_kafka(port=port, directory=directory) as node:
        typer.echo(node.bootstrap_servers)
        node.wait()
        typer.echo(f"the broker ended; see {node.log_file}", err=True)


@app.command()
def triton(
    repository: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Model repository to serve.")
    ],
    model: Annotated[list[str] | None, typer.Option(help="Model to load; by default every one.")] = None,
    grpc_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of gRPC clients.")] = 8001,
    http_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of HTTP clients.")] = 8000,
    metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port that metrics are read from.")
    ] = 8002,
    directory: Annotated[Path | None, typer.Option(help="Keep the log here.")] = None,
) -> None:
    """Run an NVIDIA Triton on the CPU until Ctrl-C.

    Example: python -m infra.local triton --repository models --model earwitness-small
    """
    models = model or sorted(config.parent.name for config in repository.glob("*/config.pbtxt"))
    with start_triton(
        repository,
        models,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        directory=directory,
    ) as server:
        typer.echo(f"gRPC {server.url}, HTTP {server.http_url}, {server.metrics_url}: {', '.join(models)}")
        server.wait()
        raise ServerStartError("Triton", "ended by itself", tail(server.log_file))


@app.command()
def install() -> None:
    """Fetch the servers, so that the first start is quick, and the programs that tests call."""
    installation = install_kafka()
    typer.echo(f"Kafka: {installation.jars[0].parent}")
    for name in PROGRAMS:
        try:
            typer.echo(f"{name}: {find_program(name).path}")
        except MissingToolError as missing:  # the servers do without
            typer.echo(f"{name}: {missing}", err=True)
    try:
        typer.echo(f"GStreamer's RTSP server: {gstreamer().interpreter}")
    except MissingToolError as missing:
        typer.echo(f"GStreamer's RTSP server: {missing}", err=True)
    try:
        typer.echo(f"Triton: {install_triton().home}")
    except LocalServerError as missing:
        typer.echo(f"Triton: {missing}", err=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; an ordinary `kill` ends servers in order, as Ctrl-C does."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _interrupt)
    try:
        app()
    except LocalServerError as exc:
        typer.echo(f"error: {exc}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
