"""Packets of one host -> another: a bad network, in a process of its own that is also the far host.

It opens a TUN device, leaves for a network namespace of its own, opens a second one there, and passes IP
packets between the two: late, not always, or not at all. Both devices and the namespace go when it ends,
which it does when its standard input closes: nothing is left behind by a parent that was killed.

    near device ──► heap of (due, packet) ──► far device, in the namespace      and the other way round

Run as `relay.py NEAR FAR`, or with no names to be no more than the namespace. Each line that it reads,
`DELAY_S JITTER_S LOSS`, it answers with the same line once it holds.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from time import monotonic

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
"""From linux/sched.h and linux/if_tun.h."""
PACKET_BYTES, LINE_BYTES = 65_535, 4096
STDIN, STDOUT = 0, 1


@dataclass(slots=True)
class Line:
    """What lies between two devices: how late packets come, in seconds, and which share of them is lost."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    _under_way: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _chance: random.Random = field(default_factory=random.Random)

    def become(self, delay_s: float, jitter_s: float, loss: float) -> None:
        """Change; with everything lost, so is what is under way."""
        self.delay_s, self.jitter_s, self.loss = delay_s, jitter_s, loss
        if loss >= 1:
            self._under_way.clear()

    def send(self, packet: bytes, device: int, now_s: float) -> None:
        """Take a packet for a device. Without jitter none overtakes another."""
        if self._chance.random() >= self.loss:
            due_s = now_s + max(0.0, self.delay_s + self._chance.uniform(-self.jitter_s, self.jitter_s))
            heapq.heappush(self._under_way, (due_s, next(self._numbers), device, packet))

    def deliver(self, now_s: float) -> float | None:
        """Hand over what is due; return how many seconds later there is more to do, or None."""
        while self._under_way and self._under_way[0][0] <= now_s:
            _, _, device, packet = heapq.heappop(self._under_way)
            with suppress(OSError):  # the device is not up yet, or has no room: one packet more is lost
                os.write(device, packet)
        return self._under_way[0][0] - now_s if self._under_way else None


def open_tun(name: str) -> int:
    """Make a TUN device in the network namespace that we are in; it lasts as long as it is open."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def leave() -> None:
    """Go on in a new network namespace."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no new network namespace")


def pass_on(devices: list[int]) -> None:
    """Pass packets between two devices, or none, until standard input closes."""
    line, wait_s = Line(), None
    across = dict(zip(devices, reversed(devices), strict=True))
    while True:
        for ready in select.select([STDIN, *devices], [], [], wait_s)[0]:
            if ready != STDIN:
                _take_all(ready, across[ready], line)
            elif words := os.read(STDIN, LINE_BYTES):
                line.become(*map(float, words.split()))
                os.write(STDOUT, words)
            else:
                return
        wait_s = line.deliver(monotonic())


def _take_all(device: int, other: int, line: Line) -> None:
    with suppress(BlockingIOError):
        while True:
            line.send(os.read(device, PACKET_BYTES), other, monotonic())


def main(near: str | None = None, far: str | None = None) -> None:
    """Run as described above."""
    devices = [] if near is None else [open_tun(near)]
    leave()
    if far is not None:
        devices.append(open_tun(far))
    os.write(STDOUT, b"ready\n")
    pass_on(devices)


if __name__ == "__main__":
    main(*sys.argv[1:])
