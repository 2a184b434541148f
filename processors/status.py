"""HTTP for operators: /metrics (Prometheus), /healthz (the process works), /readyz (it takes part)."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from processors.membership import StatusSettings
from schemas.errors import ConfigurationError


@asynccontextmanager
async def serve_status(
    settings: StatusSettings, registry: CollectorRegistry, ready: Callable[[], bool]
) -> AsyncIterator[int]:
    """Serve status while the context lasts; give the port.

    Raises:
        ConfigurationError: the address cannot be used.

    """
    runner = web.AppRunner(_routes(registry, ready), access_log=None)
    await runner.setup()
    try:
        await _listen(runner, settings)
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: StatusSettings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as exc:
        address = f"{settings.host}:{settings.port}"
        raise ConfigurationError("status", address, f"a free address: {exc.strerror or exc}") from exc


def _routes(registry: CollectorRegistry, ready: Callable[[], bool]) -> web.Application:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if ready():
            return web.Response(text="ready\n")
        return web.Response(text="not ready: no partitions assigned yet\n", status=503)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return app
