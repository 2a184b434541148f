"""Options -> a real Kafka broker on this machine, without Docker.

    with start_kafka() as kafka:
        Producer({"bootstrap.servers": kafka.bootstrap_servers})

    with start_cluster(3) as cluster:       # replication 3, minimum in-sync 2; one of them may be killed
        cluster.nodes[0].kill()

A node keeps its ports and its directory while it is stopped or killed, so `start` brings the same
broker back with the same log. Java and, the first time, Maven have to be on the machine.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local.errors import LocalServerError, ServerStartError, tail
from infra.local.installation import KafkaInstallation, install_kafka
from infra.local.ports import LOOPBACK, free_ports
from infra.local.process import GuardedProcess

FAILOVER = {
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "2000",
}
"""Of a cluster: a killed leader, or controller, is replaced within about 4 s."""
CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
DEFAULTS = Path(__file__).with_name("broker.properties")
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
DUMP_TIMEOUT_S = 120.0
FORMAT_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 0.5
WARM_UP_TIMEOUT_S = 30.0
Configuration = dict[str, str | int | float | bool]
QUIET_CLIENT: Configuration = {
    "log_level": 0,
    "reconnect.backoff.max.ms": 200,
    "socket.timeout.ms": 5000,
}


class KafkaServer(Protocol):
    """A broker to test against, wherever it runs."""

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect, as `host:port`."""

    def start(self) -> None:
        """Start the broker and wait until it answers."""

    def stop(self) -> bool:
        """End the broker in order if it lets itself be; return whether it did."""

    def kill(self) -> None:
        """End the broker as a crash would."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One more way in, besides plain text on loopback: a host to listen on, and the protocol spoken there."""

    host: str
    protocol: str = "PLAINTEXT"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """Where one node of a cluster lives; `further` has each further listener's name and port."""

    node_id: int
    broker_port: int
    controller_port: int
    directory: Path
    further: Mapping[str, tuple[Listener, int]] = field(default_factory=dict)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients of this node connect."""
        return f"{LOOPBACK}:{self.broker_port}"

    def address(self, listener: str) -> str:
        """Return where clients of a further listener connect, as `host:port`."""
        way, port = self.further[listener]
        return f"{way.host}:{port}"

    @property
    def voter(self) -> str:
        """This node as the controllers' quorum names it."""
        return f"{self.node_id}@{LOOPBACK}:{self.controller_port}"


@dataclass(slots=True)
class KafkaNode:
    """One broker and controller in a process of its own."""

    installation: KafkaInstallation
    plan: NodePlan
    server_options: Mapping[str, str]
    start_timeout_s: float = START_TIMEOUT_S
    class_dump: Path | None = None
    _process: GuardedProcess | None = field(default=None, init=False)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect, as `host:port`."""
        return self.plan.bootstrap_servers

    @property
    def log_file(self) -> Path:
        """What the broker printed, over all its starts."""
        return self.plan.directory / "broker.log"

    @property
    def running(self) -> bool:
        """Whether the broker's process is there."""
        return self._process is not None and self._process.exit_status is None

    @property
    def pid(self) -> int:
        """The process id of the broker that was started last."""
        return self._started().pid

    def start(self) -> None:
        """Start the broker and wait until it answers.

        Raises:
            ServerStartError: it ended, or did not answer within `start_timeout_s` seconds.

        """
        if not self.running:
            self.launch()
            self.wait_until_it_answers()

    def launch(self) -> None:
        """Start the broker's process, which answers once most of its cluster are there."""
        properties = self._write_properties()
        if not (self._data / "meta.properties").exists():
            self._format(properties)
        self._process = GuardedProcess(
            self.installation.command("kafka.Kafka", str(properties), dump=self.class_dump),
            self.log_file,
            self.installation.environment,
        )

    def wait_until_it_answers(self) -> None:
        """Wait for a broker that was launched.

        Raises:
            ServerStartError: it ended, or did not answer within `start_timeout_s` seconds.

        """
        try:
            wait_for_kafka(
                self.bootstrap_servers,
                self.start_timeout_s,
                lambda: self.running,
                lambda: tail(self.log_file),
            )
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """End the broker in order, or kill it after `timeout_s` seconds; return which it was."""
        return self._process is None or self._process.stop(timeout_s)

    def kill(self) -> None:
        """End the broker as a crash would."""
        if self._process is not None:
            self._process.kill()

    def freeze(self) -> None:
        """Stop the broker's process from running, as a stalled machine would, until `thaw`."""
        self._started().freeze()

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self._started().thaw()

    def wait(self) -> None:
        """Wait until the broker ends by itself."""
        self._started().wait()

    @property
    def _data(self) -> Path:
        return self.plan.directory / "data"

    def _started(self) -> GuardedProcess:
        if self._process is None:
            raise LocalServerError(f"the broker at {self.bootstrap_servers} was never started")
        return self._process

    def _write_properties(self) -> Path:
        self.plan.directory.mkdir(parents=True, exist_ok=True)
        properties = self.plan.directory / "server.properties"
        lines = "".join(f"{key}={value}\n" for key, value in self.server_options.items())
        properties.write_text(DEFAULTS.read_text("utf-8") + lines, "utf-8")
        return properties

    def _format(self, properties: Path) -> None:
        arguments = ("format", "-t", CLUSTER_ID, "-c", str(properties))
        done = subprocess.run(  # noqa: S603 - a Java found on the path, no shell
            self.installation.command("kafka.tools.StorageTool", *arguments),
            env=self.installation.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=FORMAT_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise ServerStartError("Kafka", f"refused its settings ({properties})", done.stdout)


def wait_for_kafka(
    bootstrap_servers: str,
    timeout_s: float,
    running: Callable[[], bool],
    output: Callable[[], str],
) -> None:
    """Wait until a broker answers a client.

    Raises:
        ServerStartError: `running` turned false or `timeout_s` seconds passed before it answered.

    """
    deadline_s = time.monotonic() + timeout_s
    client = AdminClient({"bootstrap.servers": bootstrap_servers, **QUIET_CLIENT})
    while not _answers(client):
        if not running():
            raise ServerStartError("Kafka", "ended before it answered", output())
        if time.monotonic() > deadline_s:
            raise ServerStartError("Kafka", f"did not answer within {timeout_s:g} s", output())


def install() -> KafkaInstallation:
    """Fetch Kafka into the cache unless it is there, and archive its classes for quicker starts.

    Raises:
        MissingToolError: Java, or Maven where there is something to fetch, is missing.
        ServerStartError: Maven could not fetch the jars.

    """
    return install_kafka(_warm_up)


@dataclass(frozen=True, slots=True)
class KafkaCluster:
    """Nodes that are brokers and controllers, each in a process of its own."""

    nodes: tuple[KafkaNode, ...]

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect, as `host:port,host:port`."""
        return ",".join(node.bootstrap_servers for node in self.nodes)

    def addresses(self, listener: str) -> str:
        """Return where clients of a further listener connect, as `host:port,host:port`."""
        return ",".join(node.plan.address(listener) for node in self.nodes)

    def start(self) -> None:
        """Start every node that does not run, and wait until all answer.

        Raises:
            ServerStartError: one ended, or did not answer in time.

        """
        for node in self.nodes:
            if not node.running:
                node.launch()
        for node in self.nodes:
            node.wait_until_it_answers()

    def kill(self) -> None:
        """End all nodes as a crash would: in order they may wait for each other for ever."""
        for node in self.nodes:
            node.kill()


@contextmanager
def start_cluster(
    nodes: int = 3,
    server_options: Mapping[str, str] | None = None,
    *,
    listeners: Mapping[str, Listener] | None = None,
    directory: Path | None = None,
    start_timeout_s: float = START_TIMEOUT_S,
) -> Iterator[KafkaCluster]:
    """Run a cluster; its directory is removed at the end unless one is given.

    Raises:
        MissingToolError: Java or Maven is missing.
        ServerStartError: a broker did not start; the message quotes the end of its log.

    """
    installation = install()
    with _home(directory) as home:
        plans = _plans(home, nodes, listeners=listeners)
        options = [node_options(plan, plans, {**FAILOVER, **(server_options or {})}) for plan in plans]
        members = [
            KafkaNode(installation, plan, o, start_timeout_s) for plan, o in zip(plans, options, strict=True)
        ]
        cluster = KafkaCluster(tuple(members))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.kill()


@contextmanager
def start_kafka(
    server_options: Mapping[str, str] | None = None,
    *,
    port: int | None = None,
    listeners: Mapping[str, Listener] | None = None,
    directory: Path | None = None,
    start_timeout_s: float = START_TIMEOUT_S,
) -> Iterator[KafkaNode]:
    """Run a cluster of one node; its directory is removed at the end unless one is given.

    Raises:
        MissingToolError: Java or Maven is missing.
        ServerStartError: the broker did not start; the message quotes the end of its log.

    """
    installation = install()
    with _home(directory) as home:
        plan = _plans(home, 1, port, listeners)[0]
        options = node_options(plan, [plan], server_options or {})
        with _running(KafkaNode(installation, plan, options, start_timeout_s)) as node:
            yield node


@contextmanager
def _home(directory: Path | None) -> Iterator[Path]:
    """Give the directory, or else one that is removed at the end."""
    if directory is not None:
        yield directory
        return
    home = Path(tempfile.mkdtemp(prefix="earwitness-kafka-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def node_options(plan: NodePlan, cluster: Sequence[NodePlan], overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the server options that make a node a member of its cluster."""
    replicas, in_sync = str(min(3, len(cluster))), str(min(2, len(cluster)))
    broker = ",".join(
        [
            f"PLAINTEXT://{plan.bootstrap_servers}",
            *(f"{name}://{plan.address(name)}" for name in plan.further),
        ]
    )
    protocols = {name: listener.protocol for name, (listener, _) in plan.further.items()}
    protocols |= {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    return {
        "node.id": str(plan.node_id),
        "controller.quorum.voters": ",".join(member.voter for member in cluster),
        "listeners": f"{broker},CONTROLLER://{LOOPBACK}:{plan.controller_port}",
        "advertised.listeners": broker,
        "listener.security.protocol.map": ",".join(f"{name}:{spoken}" for name, spoken in protocols.items()),
        "log.dirs": str(plan.directory / "data"),
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        **overrides,
    }


def _plans(
    home: Path, nodes: int, port: int | None = None, listeners: Mapping[str, Listener] | None = None
) -> list[NodePlan]:
    listeners = listeners or {}
    ports = iter(free_ports((2 + len(listeners)) * nodes))
    return [
        NodePlan(
            node_id=node_id,
            broker_port=port if port is not None and node_id == 1 else next(ports),
            controller_port=next(ports),
            directory=home / f"node-{node_id}",
            further={name: (listener, next(ports)) for name, listener in listeners.items()},
        )
        for node_id in range(1, 1 + nodes)
    ]


@contextmanager
def _running(node: KafkaNode) -> Iterator[KafkaNode]:
    node.start()
    try:
        yield node
    finally:
        node.stop()


def _answers(client: AdminClient) -> bool:
    try:
        return bool(client.list_topics(timeout=CONNECT_TIMEOUT_S).brokers)
    except KafkaException:
        return False


def _warm_up(installation: KafkaInstallation, class_dump: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="earwitness-kafka-") as home:
        plan = _plans(Path(home), 1)[0]
        node = KafkaNode(installation, plan, node_options(plan, [plan], {}), class_dump=class_dump)
        node.start()
        _use(node.bootstrap_servers)
        if not node.stop(DUMP_TIMEOUT_S):
            raise ServerStartError("Kafka", "did not archive its classes", tail(node.log_file))


def _use(bootstrap_servers: str) -> None:
    """Do once what tests do, so that the classes for it are loaded, too; failing does no harm."""
    servers: Configuration = {"bootstrap.servers": bootstrap_servers, **QUIET_CLIENT}
    admin = AdminClient(servers)
    consumer = Consumer({**servers, "group.id": "warm-up", "auto.offset.reset": "earliest"})
    with suppress(KafkaException):
        admin.create_topics([NewTopic("warm-up", 1, 1)])["warm-up"].result(WARM_UP_TIMEOUT_S)
        producer = Producer({**servers, "enable.idempotence": True})
        producer.produce("warm-up", b"", b"key")
        producer.flush(WARM_UP_TIMEOUT_S)
        consumer.subscribe(["warm-up"])
        consumer.poll(WARM_UP_TIMEOUT_S)
        consumer.commit(asynchronous=False)
    consumer.close()
