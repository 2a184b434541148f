"""Fixtures of all tests: real servers, started once and only when a test asks for them.

Where a server cannot be started the tests that need it fail, unless this machine plainly has no way
to run one and is not a build machine (`CI=true`): a test that never runs must not look green.
"""

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest

from infra.local.errors import MissingToolError
from infra.local.java import find_java
from infra.local.kafka import KafkaServer, start_kafka
from infra.local.kafka_docker import docker_answers, start_kafka_container
from infra.local.triton import TritonServer, start_triton
from infra.local.triton_installation import TritonInstallation, install_triton

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

TritonServers = Callable[..., TritonServer]
"""Starts a Triton, with the arguments of `start_triton`."""


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Leave the root logger as it was: a command that ran in this process would log to a closed stream."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """One broker for the whole session; tests keep apart by their topics and groups."""
    with _kafka_of_this_machine() as server:
        yield server


@pytest.fixture(scope="session")
def triton_installation() -> TritonInstallation:
    """A Triton that can be started; fixtures with a scope of their own call `start_triton`."""
    try:
        return install_triton()
    except MissingToolError as missing:
        _give_up(f"no Triton on this machine: {missing}")


@pytest.fixture
def triton_servers(triton_installation: TritonInstallation) -> Iterator[TritonServers]:
    """Start Tritons, each on a model repository; none outlives the test."""
    with ExitStack() as started:

        def start(*given: Any, **options: Any) -> TritonServer:
            server = started.enter_context(start_triton(*given, **options))
            started.callback(server.kill)  # to stop in order takes seconds, and leaves no less behind
            return server

        yield start


@pytest.fixture
def topic_prefix() -> str:
    """A name that begins this test's topics and groups and no other test's."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The recordings and models that lie beside the repository, where there are any."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no recordings beside the repository (../shared/data)")
    return SHARED_DATA


def _kafka_of_this_machine() -> AbstractContextManager[KafkaServer]:
    if docker_answers():
        return start_kafka_container()
    try:
        find_java()
    except MissingToolError as missing:
        _give_up(f"no Kafka on this machine: {missing}; and no Docker engine answers")
    return start_kafka()


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
