"""Nothing -> the one running system that all rounds disturb: brokers, Tritons, workers, and what fleets play.

with running_system(directory) as system:
    system.cluster.nodes[0].kill()
    system.heal()                       # whatever was broken is whole again, or said to be not
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it exports them without saying so
    AdminClient,
    OffsetSpec,
)
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from earwitness.play import clip_pool
from earwitness.topics import TopicAdmin
from infra.local.errors import LocalServerError
from infra.local.kafka import QUIET_CLIENT, KafkaCluster, KafkaNode, Listener, start_cluster
from infra.local.triton import TritonServer
from producers.clips import ClipPool
from producers.sources.files import files_in
from schemas.model import ModelSpec, read_spec
from schemas.topics import Topics
from tests.chaos.fleet import write_pool
from tests.chaos.network import FarHost, far_host, why_not
from tests.chaos.workers import Workers
from tests.conftest import SHARED_DATA
from tests.integration.harness import Tenant, worker_settings
from tests.integration.quick_model import write_quick_model
from tests.integration.tritons import scored_by, tritons

TENANT, PARTITIONS, REPLICAS = "chaos", 4, 3
RATES_HZ = 16_000, 48_000
EVERY_NTH_RECORDING = 16
FAR, RESIDENTS = "FAR", ("one", "two")
IN_SYNC_S, READY_S, ANSWER_S, LOOK_S, ATTEMPTS = 60.0, 60.0, 5.0, 0.2, 2


@dataclass(slots=True)
class System:
    """What is disturbed; two workers have their seats for good."""

    directory: Path
    cluster: KafkaCluster
    tritons: list[TritonServer]
    workers: Workers
    model: Path
    pools: dict[int, Path]
    far: FarHost | None
    tritons_healed: int = 0
    admin: AdminClient = field(init=False)
    spec: ModelSpec = field(init=False)

    def __post_init__(self) -> None:
        self.admin = AdminClient({"bootstrap.servers": self.servers, **QUIET_CLIENT})
        self.spec = read_spec(self.model)

    @property
    def servers(self) -> str:
        """Where clients connect."""
        return self.cluster.bootstrap_servers

    @property
    def partitions(self) -> range:
        """The partitions of each topic."""
        return range(PARTITIONS)

    @property
    def tenant(self) -> Tenant:
        """Whose topics they are."""
        return Tenant(self.servers, TENANT)

    @property
    def topics(self) -> Topics:
        """The names of its topics."""
        return Topics(TENANT)

    def worker_settings(self, **more: object) -> dict[str, object]:
        """Return what a worker that asks the Tritons is told."""
        told = {**scored_by(self.tritons), **more}
        named = {key.replace("__", "."): value for key, value in told.items()}
        return {**worker_settings(self.tenant, self.model), **named}

    def far_settings(self) -> dict[str, object]:
        """Return what a worker on the far host is told: it scores in process, to the same bit."""
        assert self.far is not None
        reached = {
            "kafka.bootstrap_servers": self.cluster.addresses(FAR),
            "status.host": self.far.far_address,
        }
        return {**self.near_settings(), **reached}

    def near_settings(self) -> dict[str, object]:
        """Return what a worker that scores in process is told."""
        return worker_settings(self.tenant, self.model)

    def ends(self, topics: Sequence[str]) -> dict[str, dict[int, int]]:
        """Return the ends of every partition's log, by topic."""
        end = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic, n): end for topic in topics for n in self.partitions}
        answers = self.admin.list_offsets(asked, request_timeout=READY_S)
        ends: dict[str, dict[int, int]] = {topic: {} for topic in topics}
        for at, answer in answers.items():
            ends[at.topic][at.partition] = answer.result().offset
        return ends

    def dismiss_guests(self) -> None:
        """Have the workers leave that were not there from the start."""
        for name in set(self.workers.names) - set(RESIDENTS):
            self.workers.remove(name)

    def leader(self, partition: int) -> KafkaNode:
        """Return the broker that leads a partition of the frames."""
        found = self.admin.list_topics(self.topics.frames, ANSWER_S).topics[self.topics.frames]
        return self._node(found.partitions[partition].leader)

    def controller(self) -> KafkaNode:
        """Return the active controller, as the node that knows the newest epoch of the quorum names it."""
        states = [_quorum(node) for node in self.cluster.nodes if node.running]
        return self._node(max((state["leaderEpoch"], state["leaderId"]) for state in states)[1])

    def heal(self) -> list[str]:
        """Bring back whatever is away, and wait until all is whole; return what is not."""
        brokers = self._heal_brokers()
        servers = [self._heal_triton(server) for server in self.tritons]
        found = (brokers, *servers, self.workers.ready(READY_S))
        return [what for what in found if what is not None]

    def heal_tritons(self) -> None:
        """Start Tritons that do not answer anew."""
        for server in self.tritons:
            self._heal_triton(server)

    def _heal_brokers(self) -> str | None:
        try:
            for node in self.cluster.nodes:
                node.thaw()
            self.cluster.start()
        except LocalServerError as exc:
            return f"brokers: {exc}"
        deadline_s = time.monotonic() + IN_SYNC_S
        while not self._in_sync():
            if time.monotonic() > deadline_s:
                return f"brokers: not all replicas in sync within {IN_SYNC_S:g} s"
            Event().wait(LOOK_S)
        return None

    def _in_sync(self) -> bool:
        try:
            topics = self.admin.list_topics(timeout=ANSWER_S).topics.values()
        except KafkaException:
            return False
        return all(
            len(part.isrs) == REPLICAS and part.leader > 0
            for topic in topics
            for part in topic.partitions.values()
        )

    def _heal_triton(self, server: TritonServer) -> str | None:
        server.thaw()
        if server.running and any(_scores(server, self.spec) for _ in range(ATTEMPTS)):
            return None
        self.tritons_healed += 1
        server.kill()
        try:
            server.start()
        except LocalServerError as exc:
            return f"Triton: {exc}"
        return None

    def _node(self, number: int) -> KafkaNode:
        return next(node for node in self.cluster.nodes if node.plan.node_id == number)


@contextmanager
def running_system(directory: Path) -> Iterator[System]:
    """Start it all, with two workers that are ready; at the end nothing is left running.

    Raises:
        LocalServerError: a server is missing or did not start.

    """
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        far = None if why_not() else stack.enter_context(far_host())
        listeners = {FAR: Listener(far.near_address)} if far is not None else {}
        cluster = stack.enter_context(start_cluster(3, listeners=listeners))
        model = write_quick_model(directory / "quick")
        servers = stack.enter_context(tritons(directory / "repository", model, 2))
        for server in servers:
            stack.callback(server.kill)  # to stop in order takes seconds, and leaves no less behind
        workers = Workers(directory)
        stack.callback(workers.close)
        _create_topics(cluster)
        system = System(directory, cluster, servers, workers, model, _pools(directory), far)
        for name in RESIDENTS:
            workers.add(name, system.worker_settings())
        missing = system.heal()
        assert not missing, missing
        yield system


def _create_topics(cluster: KafkaCluster) -> None:
    tenant = Tenant(cluster.bootstrap_servers, TENANT)
    TopicAdmin(tenant.client).create(tenant.topics, PARTITIONS, REPLICAS, 1.0)


def _pools(directory: Path) -> dict[int, Path]:
    return {rate: write_pool(_pool(rate), directory / f"pool-{rate}.npz") for rate in RATES_HZ}


def _pool(rate_hz: int) -> ClipPool:
    folder = SHARED_DATA / "esc10"
    if not folder.is_dir():
        return clip_pool(None, rate_hz)
    return ClipPool.read(_some(files_in(folder)), rate_hz)


def _some(files: Sequence[Path]) -> Sequence[Path]:
    return files[::EVERY_NTH_RECORDING]


def _quorum(node: KafkaNode) -> dict[str, int]:
    file = node.plan.directory / "data/__cluster_metadata-0/quorum-state"
    found: dict[str, int] = json.loads(file.read_text("utf-8"))
    return found


def _scores(server: TritonServer, spec: ModelSpec) -> bool:
    """Say whether a Triton answers an inference: one that says it is ready may have stopped doing that."""
    window = np.zeros((1, spec.window_samples), np.int16)
    audio = InferInput(spec.input.name, list(window.shape), "INT16")
    audio.set_data_from_numpy(window)
    client = InferenceServerClient(server.url)
    try:
        client.infer(spec.name, [audio], client_timeout=ANSWER_S)
    except InferenceServerException:
        return False
    finally:
        client.close()
    return True
