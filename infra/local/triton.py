"""Model repository -> a real NVIDIA Triton on this machine, without Docker, and its load generator.

    with start_triton(repository, ["earwitness-small"]) as triton:
        InferenceServerClient(triton.url)

The server has the python backend and runs on the CPU; each model runs in a process of its own (a stub), which
shares memory with the server. Models are loaded by name only (explicit control). A server keeps its ports
while it is stopped or killed, so `start` brings it back where clients look for it.
"""

import os
import re
import shutil
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event
from typing import NamedTuple

from infra.local.debian import Program
from infra.local.errors import LocalServerError, ServerStartError, tail
from infra.local.ports import LOOPBACK, free_ports
from infra.local.process import GuardedProcess
from infra.local.triton_installation import TritonInstallation, install_triton

START_TIMEOUT_S, STOP_TIMEOUT_S, PORT_TIMEOUT_S, ANSWER_TIMEOUT_S, POLL_S = 60.0, 15.0, 2.0, 1.0, 0.05
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it; only names of our own are touched
COMPLAINT = re.compile(r"E\d{4} |error: |\[libprotobuf ERROR|\S*tritonserver: ")
OTHER_LINE = re.compile(r"[IW]\d{4} |[+|]|Error: Failed to initialize NVML|Usage: ")
HARMLESS = "CudaDriverHelper has not been initialized"


class Ports(NamedTuple):
    """Where one server listens."""

    grpc: int
    http: int
    metrics: int


@dataclass(frozen=True, slots=True)
class TritonPlan:
    """What one server serves, and where."""

    repository: Path
    models: tuple[str, ...]
    ports: Ports
    directory: Path
    tolerant: bool = False
    options: tuple[str, ...] = ()
    shared_memory_prefix: str = field(default_factory=lambda: f"earwitness-{uuid.uuid4().hex[:12]}-")

    @property
    def arguments(self) -> list[str]:
        """The plan as arguments of tritonserver."""
        return [
            f"--model-repository={self.repository.absolute()}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in self.models),
            f"--exit-on-error={str(not self.tolerant).lower()}",
            *(f"--{each}-address={LOOPBACK}" for each in Ports._fields),
            *(f"--{each}-port={port}" for each, port in self.ports._asdict().items()),
            f"--backend-config=python,shm-region-prefix-name={self.shared_memory_prefix}",
            *self.options,
        ]

    @property
    def ready_paths(self) -> list[str]:
        """What has to answer 200 over HTTP before the server counts as started."""
        if self.tolerant:  # HTTP opens after every model was tried
            return ["/v2/health/live"]
        return ["/v2/health/ready", *(f"/v2/models/{name}/ready" for name in self.models)]


@dataclass(slots=True)
class TritonServer:
    """One Triton in a process of its own, with its models' stubs as children."""

    installation: TritonInstallation
    plan: TritonPlan
    start_timeout_s: float = START_TIMEOUT_S
    _process: GuardedProcess | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    @property
    def url(self) -> str:
        """Where gRPC clients connect, as `host:port`."""
        return f"{LOOPBACK}:{self.plan.ports.grpc}"

    @property
    def http_url(self) -> str:
        """Where HTTP clients connect, as `host:port`, which is how Triton's clients want it."""
        return f"{LOOPBACK}:{self.plan.ports.http}"

    @property
    def metrics_url(self) -> str:
        """Where its metrics can be read."""
        return f"http://{LOOPBACK}:{self.plan.ports.metrics}/metrics"

    @property
    def log_file(self) -> Path:
        """What the server printed, over all its starts."""
        return self.plan.directory / "triton.log"

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._process is not None and self._process.exit_status is None

    @property
    def pid(self) -> int:
        """The process id of the server that was started last."""
        return self._started().pid

    def start(self) -> None:
        """Start the server, on the ports it had before, and wait until it and its models are ready.

        Raises:
            ServerStartError: it ended, or was not ready within `start_timeout_s` seconds; the message
                quotes what its log says of the reason.

        """
        if self.running:
            return
        self.plan.directory.mkdir(parents=True, exist_ok=True)
        deadline_s = time.monotonic() + self.start_timeout_s
        self._wait_for_ports()
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        command = self.installation.command(*self.plan.arguments)
        self._process = GuardedProcess(command, self.log_file, self.installation.environment)
        try:
            self._wait_until_ready(deadline_s)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """End the server in order, or kill it after `timeout_s` seconds; return which it was.

        It finishes the requests that it has, then unloads its models: about 3 s.
        """
        process = self._process
        if process is None or not self.running:
            self.kill()
            return True
        process.thaw()  # a frozen one would not hear
        os.kill(process.pid, signal.SIGTERM)
        ended = process.wait(timeout_s)
        self.kill()
        return ended

    def kill(self) -> None:
        """End the server and its stubs at once, as a machine's crash would, and clear their shared memory.

        Shared memory of clients is the clients': it stays.
        """
        if self._process is not None:
            if self.running:  # so its number is still its own; the stubs are in its group
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
        for segment in SHARED_MEMORY.glob(f"{self.plan.shared_memory_prefix}*"):
            segment.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop the server's process until `thaw`: it accepts connections and never answers.

        Its stubs go on: one in the middle of a batch finishes it, and the answer leaves after `thaw`.
        """
        self._started().freeze()

    def thaw(self) -> None:
        """Let a frozen server go on; it answers then what was asked meanwhile."""
        self._started().thaw()

    def wait(self) -> None:
        """Wait until the server ends by itself."""
        self._started().wait()

    def _started(self) -> GuardedProcess:
        if self._process is None:
            raise LocalServerError(f"the Triton at {self.url} was never started")
        return self._process

    def _wait_for_ports(self) -> None:
        """Wait until nobody listens on our ports: another's answers would pass for the server's own."""
        deadline_s, waiting = time.monotonic() + PORT_TIMEOUT_S, Event()
        for port in self.plan.ports:
            while not _is_free(port):
                # A stub that was just killed may hold a port for a moment.
                if time.monotonic() > deadline_s:
                    raise ServerStartError("Triton", f"cannot listen on {LOOPBACK}:{port}, which is taken")
                waiting.wait(POLL_S)

    def _wait_until_ready(self, deadline_s: float) -> None:
        waiting = Event()
        for path in self.plan.ready_paths:
            while not self._answers(path):
                if not self.running:
                    raise ServerStartError("Triton", "ended before it was ready", self._complaints())
                if time.monotonic() > deadline_s:
                    reason = f"did not answer {path} within {self.start_timeout_s:g} s"
                    raise ServerStartError("Triton", reason, self._complaints())
                waiting.wait(POLL_S)

    def _answers(self, path: str) -> bool:
        connection = HTTPConnection(LOOPBACK, self.plan.ports.http, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _complaints(self) -> str:
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return complaints(log.read().decode("utf-8", "replace")) or tail(self.log_file)


def complaints(log: str) -> str:
    """Return the lines of a log that say what went wrong, each with the lines that go on from it."""
    kept: list[str] = []
    keeping = False
    for line in log.splitlines():
        if COMPLAINT.match(line):
            keeping = HARMLESS not in line
        elif OTHER_LINE.match(line):
            keeping = False
        if keeping and line.strip():
            kept.append(line)
    return "\n".join(kept)


def perf_analyzer() -> Program:
    """Return NVIDIA's load generator; run its `command(…)` with its `environment` added.

    Raises:
        MissingToolError: it cannot run on this machine.
        ServerStartError: the packages could not be fetched.

    """
    return install_triton().perf_analyzer


@contextmanager
def start_triton(
    repository: Path,
    models: Sequence[str] = (),
    *,
    grpc_port: int | None = None,
    http_port: int | None = None,
    metrics_port: int | None = None,
    tolerant: bool = False,
    options: Sequence[str] = (),
    directory: Path | None = None,
    start_timeout_s: float = START_TIMEOUT_S,
) -> Iterator[TritonServer]:
    """Run a Triton with these models of a repository; others can be loaded by its API.

    `tolerant` starts it although models cannot be loaded (`--exit-on-error=false`): those are then not ready,
    and neither is the server as a whole, while the others answer. `options` are further arguments of
    tritonserver. The log is kept where a `directory` is given.

    Raises:
        MissingToolError: Triton cannot run on this machine.
        ServerStartError: it could not be fetched or did not start; the message quotes its log.

    """
    installation = install_triton()
    home = directory or Path(tempfile.mkdtemp(prefix="earwitness-triton-"))
    given = (grpc_port, http_port, metrics_port)
    ports = [port if port is not None else free for port, free in zip(given, free_ports(3), strict=True)]
    plan = TritonPlan(repository, tuple(models), Ports(*ports), home, tolerant, tuple(options))
    server = TritonServer(installation, plan, start_timeout_s)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        if directory is None:
            shutil.rmtree(home, ignore_errors=True)


def _is_free(port: int) -> bool:
    with socket.socket() as attempt:
        # As servers do: what is left of closed connections is no hindrance.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
