"""Command line: real servers on this machine, in the foreground or made ready for later."""

import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from infra.local.debian import find_program
from infra.local.errors import LocalServerError, ServerStartError, tail
from infra.local.kafka import install as install_kafka
from infra.local.kafka import start_kafka
from infra.local.rtsp import gstreamer
from infra.local.triton import start_triton
from infra.local.triton_installation import install_triton

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
    """Fetch the servers, so that the first start is quick, and the programs that tests call.

    Whatever is missing is named, and does not keep the rest from being fetched; then the exit status is 1.
    """
    wanted: dict[str, Callable[[], Path]] = {
        "Kafka": lambda: install_kafka().jars[0].parent,
        "Triton": lambda: install_triton().home,
        "GStreamer's RTSP server": lambda: gstreamer().interpreter,
        **{name: partial(_program, name) for name in PROGRAMS},
    }
    found = [_fetched(name, fetch) for name, fetch in wanted.items()]
    if not all(found):
        raise typer.Exit(1)


def _fetched(name: str, fetch: Callable[[], Path]) -> bool:
    try:
        typer.echo(f"{name}: {fetch()}")
    except LocalServerError as missing:
        typer.echo(f"{name}: {missing}", err=True)
        return False
    return True


def _program(name: str) -> Path:
    return find_program(name).path


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
