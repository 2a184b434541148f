"""Options -> the Kafka that `infra.local.kafka` starts, in a container, where a Docker engine answers.

Needs the `dev` extra. The broker has to advertise its port, so one of this machine's is chosen
before the container starts.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from infra.local.kafka import DEFAULTS, START_TIMEOUT_S, wait_for_kafka
from infra.local.ports import LOOPBACK, free_ports

IMAGE = "apache/kafka:4.1.0"
PORT, CONTROLLER_PORT = 9092, 9093
STOP_TIMEOUT_S = 15


def docker_answers() -> bool:
    """Return whether this machine has a Docker engine that we may use."""
    try:
        client = docker.from_env()
    except DockerException:
        return False
    client.close()
    return True


@dataclass(frozen=True, slots=True)
class KafkaContainer:
    """One broker and controller in a container; it keeps its log while it is stopped or killed."""

    container: DockerContainer
    bootstrap_servers: str
    start_timeout_s: float

    def start(self) -> None:
        """Start the broker again and wait until it answers."""
        self.container.get_wrapped_container().start()
        self.wait_until_it_answers()

    def stop(self) -> bool:
        """End the broker in order if it lets itself be; return whether it did."""
        container = self.container.get_wrapped_container()
        container.stop(timeout=STOP_TIMEOUT_S)
        return bool(container.wait()["StatusCode"] != 137)

    def kill(self) -> None:
        """End the broker as a crash would."""
        self.container.get_wrapped_container().kill()

    def wait_until_it_answers(self) -> None:
        """Wait until a client gets an answer.

        Raises:
            ServerStartError: the container ended or took more than `start_timeout_s` seconds.

        """
        wait_for_kafka(self.bootstrap_servers, self.start_timeout_s, self._running, self._output)

    def _running(self) -> bool:
        container = self.container.get_wrapped_container()
        container.reload()
        return bool(container.status == "running")

    def _output(self) -> str:
        return b"".join(self.container.get_logs()).decode(errors="replace")


@contextmanager
def start_kafka_container(
    server_options: Mapping[str, str] | None = None, start_timeout_s: float = START_TIMEOUT_S
) -> Iterator[KafkaContainer]:
    """Run a cluster of one node in a container, which is removed at the end.

    Raises:
        ServerStartError: the broker did not start; the message quotes the end of its log.

    """
    bootstrap_servers = f"{LOOPBACK}:{(port := free_ports(1)[0])}"
    environment = container_environment(bootstrap_servers, server_options or {})
    container = DockerContainer(IMAGE).with_bind_ports(PORT, port).with_envs(**environment)
    with container:
        kafka = KafkaContainer(container, bootstrap_servers, start_timeout_s)
        kafka.wait_until_it_answers()
        yield kafka


def container_environment(advertised: str, overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the image's environment, which names a server option `a.b` as `KAFKA_A_B`."""
    options = {
        **_read_properties(DEFAULTS),
        "node.id": "1",
        "controller.quorum.voters": f"1@localhost:{CONTROLLER_PORT}",
        "listeners": f"PLAINTEXT://:{PORT},CONTROLLER://:{CONTROLLER_PORT}",
        "advertised.listeners": f"PLAINTEXT://{advertised}",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        **overrides,
    }
    return {f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in options.items()}


def _read_properties(file: Path) -> dict[str, str]:
    lines = (line.strip() for line in file.read_text("utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
