"""Nothing -> a far host: a network namespace of this machine, and a link to it that can be made bad.

    with far_host() as far:
        with start_kafka(listeners={"FAR": Listener(far.near_address)}) as node:
            subprocess.Popen(far.command(["earwitness", "work", "-b", node.plan.address("FAR")]))
            far.worsen(delay_ms=50, jitter_ms=10, loss=0.01)     # each way
            far.cut()
            far.mend()

The namespace has a loopback of its own and no way out but the link. Where the kernel has netem the link is a
pair of veth devices with `tc netem` at both ends; elsewhere a process of ours passes packets on (`relay`).
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from pathlib import Path

RELAY = Path(__file__).with_name("relay.py")
TUN = Path("/dev/net/tun")
SUBNETS = IPv4Network("198.18.0.0/15")
"""Set apart for tests of networks between hosts: https://www.rfc-editor.org/rfc/rfc2544."""
PREFIX_BITS, ATTEMPTS = 30, 100
MTU_BYTES = 9000
QUEUED_PACKETS = 10_000
STOP_S = 5.0
_NETEM_PROBE = "ip link set lo up && tc qdisc add dev lo root netem delay 1ms"
_link_numbers = count()


@dataclass(frozen=True, slots=True)
class FarHost:
    """A host at the other end of a link: programs started with `command` run there.

    `near_address` is ours on that link, `far_address` its own. `devices` are our end and its end.
    """

    near_address: str
    far_address: str
    devices: tuple[str, str]
    netem: bool
    _process: "subprocess.Popen[bytes]"

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs another one there, as the same process."""
        return ["nsenter", f"--net=/proc/{self._process.pid}/ns/net", "--", *argv]

    def worsen(self, *, delay_ms: float = 0.0, jitter_ms: float = 0.0, loss: float = 0.0) -> None:
        """Have packets come late, each way, by `delay_ms` ± `jitter_ms`; a share `loss` of them never does.

        What is not given is as in a good network. Holds for what is sent once this has returned.
        """
        if self.netem:
            self._shape(delay_ms, jitter_ms, loss)
        else:
            self._tell(f"{delay_ms / 1000} {jitter_ms / 1000} {loss}")

    def cut(self) -> None:
        """Let nothing through, either way, and tell nobody."""
        self.worsen(loss=1.0)

    def mend(self) -> None:
        """Make it a good network again."""
        self.worsen()

    def _tell(self, line: str) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{line}\n".encode())
        stdin.flush()
        assert stdout.readline().decode() == f"{line}\n", "the far host's relay has ended"

    def _shape(self, delay_ms: float, jitter_ms: float, loss: float) -> None:
        for device, where in zip(self.devices, ([], self.command([])), strict=True):
            netem = f"tc qdisc replace dev {device} root netem limit {QUEUED_PACKETS}".split()
            netem += f"delay {delay_ms}ms {jitter_ms}ms loss {100 * loss}%".split()
            _run([*where, *netem])


def why_not() -> str | None:
    """Return why there can be no far host on this machine, or None where there can."""
    missing = [tool for tool in ("ip", "nsenter", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is needed and was not found (Debian: iproute2, util-linux)"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if not _may(["unshare", "--net", "true"]):
        return "no network namespace may be made here"
    if not (has_netem() or os.access(TUN, os.R_OK | os.W_OK)):
        return f"the kernel has no netem (sch_netem), and there is no {TUN} to do without"
    return None


def has_netem() -> bool:
    """Say whether the kernel delays and loses packets for us."""
    return shutil.which("tc") is not None and _may(["unshare", "--net", "sh", "-c", _NETEM_PROBE])


@contextmanager
def far_host(*, netem: bool | None = None) -> Iterator[FarHost]:
    """Run a far host, with a good network at first; the link is gone at the end, also if we are killed.

    The namespace goes with the last program that runs there. `netem`: by default, where the kernel has it.
    """
    netem = has_netem() if netem is None else netem
    number = f"{os.getpid()}x{next(_link_numbers)}"
    near, far = devices = f"ewn{number}", f"ewf{number}"
    process = subprocess.Popen(
        [sys.executable, "-I", str(RELAY), *(() if netem else devices)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", "the far host did not start"
        near_address, far_address = map(str, _free_subnet().hosts())
        host = FarHost(near_address, far_address, devices, netem, process)
        if netem:
            _run(f"ip link add {near} type veth peer name {far} netns {process.pid}".split())
        _bring_up([], near, near_address)
        _bring_up(host.command([]), far, far_address)
        _run(host.command(["ip", "link", "set", "lo", "up"]))
        yield host
    finally:
        _end(process)


def _bring_up(where: list[str], device: str, address: str) -> None:
    _run([*where, *f"ip address add {address}/{PREFIX_BITS} dev {device}".split()])
    _run([*where, *f"ip link set {device} mtu {MTU_BYTES} up".split()])


def _free_subnet() -> IPv4Network:
    """Return one of four addresses that no device of ours is in; by chance, so that two runs do not meet."""
    devices = json.loads(_run(["ip", "-json", "-4", "address"]))
    ours = [IPv4Address(address["local"]) for device in devices for address in device.get("addr_info", ())]
    for _ in range(ATTEMPTS):
        start = random.randrange(0, SUBNETS.num_addresses, 4)  # noqa: S311 - spreads, hides nothing
        subnet = IPv4Network((SUBNETS[start], PREFIX_BITS))
        if not any(address in subnet for address in ours):
            return subnet
    raise OSError(f"no free subnet found in {SUBNETS}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.communicate(timeout=STOP_S)  # closes its standard input
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _may(command: list[str]) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def _run(command: list[str]) -> str:
    """Run a command that has to work, and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
