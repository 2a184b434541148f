"""Fixtures of the tests that run the whole program on a real broker."""

from collections.abc import Iterator
from pathlib import Path
from socket import socket

import pytest

from earwitness.play import clip_pool
from infra.local.kafka import KafkaServer
from infra.local.ports import LOOPBACK
from infra.local.secure import start_secure_kafka
from producers.clips import ClipPool
from producers.sources.files import files_in
from tests.conftest import SHARED_DATA
from tests.integration.harness import RATE_HZ, Programs, Tenant
from tests.integration.quick_model import write_quick_model
from tests.integration.secured import Secured

EVERY_NTH_RECORDING = 8


@pytest.fixture
def tenant(kafka: KafkaServer, topic_prefix: str) -> Tenant:
    """A tenant of this test's own; its topics are not made yet."""
    return Tenant(kafka.bootstrap_servers, topic_prefix)


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker that believes nobody; tests keep apart by their tenants and their people."""
    with start_secure_kafka(tmp_path_factory.mktemp("secure")) as kafka:
        yield Secured(kafka)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Starts programs; none outlives the test."""
    started = Programs(tmp_path)
    yield started
    started.close()


@pytest.fixture(scope="session")
def quick_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that hears much."""
    return write_quick_model(tmp_path_factory.mktemp("model") / "quick")


@pytest.fixture
def port_in_use() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture(scope="session")
def recordings() -> ClipPool:
    """Recorded sounds of ten kinds, or the synthetic scene where there are none."""
    folder = SHARED_DATA / "esc10"
    if not folder.is_dir():
        return clip_pool(None, RATE_HZ)
    return ClipPool.read(files_in(folder)[::EVERY_NTH_RECORDING], RATE_HZ)
