"""A broker -> a real schema registry in a container, where a Docker engine answers."""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from testcontainers.core.container import DockerContainer

from infra.local.ports import LOOPBACK, free_ports
from tests.integration.harness import wait_until

IMAGE = "confluentinc/cp-schema-registry:7.9.0"
START_S = 120.0


@contextmanager
def registry_container(bootstrap_servers: str) -> Iterator[str]:
    """Run Confluent's registry beside a broker that advertises this machine's loopback; yield its URL."""
    url = f"http://{LOOPBACK}:{free_ports(1)[0]}"
    container = DockerContainer(IMAGE).with_kwargs(network_mode="host")
    container = container.with_envs(
        SCHEMA_REGISTRY_HOST_NAME=LOOPBACK,
        SCHEMA_REGISTRY_LISTENERS=url,
        SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS=f"PLAINTEXT://{bootstrap_servers}",
        SCHEMA_REGISTRY_KAFKASTORE_TOPIC=f"_schemas_{time.time_ns()}",
        SCHEMA_REGISTRY_KAFKASTORE_TOPIC_REPLICATION_FACTOR="1",
    )
    with container:
        wait_until(lambda: _answers(url), "the schema registry answers", START_S)
        yield url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/subjects", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
