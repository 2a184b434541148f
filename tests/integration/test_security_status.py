"""Status is served to this machine alone, unless somebody says otherwise."""

import asyncio
import socket

import psutil
import pytest

from processors.membership import StatusSettings
from processors.metrics import Metrics
from processors.status import serve_status

TIMEOUT_S = 5.0


def another_address() -> str:
    """Return an address of this machine that is not 127.0.0.1: of a network, or else of loopback."""
    found = [address for addresses in psutil.net_if_addrs().values() for address in addresses]
    ours = [
        one.address for one in found if one.family is socket.AF_INET and not one.address.startswith("127.")
    ]
    return ours[0] if ours else "127.0.0.2"


async def connected(host: str, port: int) -> bool:
    """Say whether somebody listens."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.mark.parametrize(("settings", "open_to_others"), [({}, False), ({"host": "0.0.0.0"}, True)])  # noqa: S104
async def test_status_is_on_loopback_unless_told_otherwise(
    settings: dict[str, str], open_to_others: bool
) -> None:
    status = StatusSettings(port=0, **settings)
    async with serve_status(status, Metrics().registry, lambda: True) as port:
        assert await connected("127.0.0.1", port)
        assert await connected(another_address(), port) is open_to_others
