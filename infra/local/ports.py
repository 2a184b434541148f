"""Nothing -> TCP ports of this machine that nobody listens on."""

import random
import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"
# Below the range from which systems take the local end of outgoing connections.
LOWEST, HIGHEST = 15_000, 30_000
ATTEMPTS = 200


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that could be bound a moment ago.

    Raises:
        OSError: not enough free ports were found.

    """
    ports: list[int] = []
    with ExitStack() as held:
        for _ in range(ATTEMPTS):
            if len(ports) == count:
                return ports
            attempt = held.enter_context(socket.socket())
            port = random.randint(LOWEST, HIGHEST)  # noqa: S311 - spreads, hides nothing
            try:
                attempt.bind((LOOPBACK, port))
            except OSError:
                continue
            ports.append(port)
    raise OSError(f"no {count} free ports between {LOWEST} and {HIGHEST}")
