"""The far host's network is as bad as it was told to be, and TCP and Kafka get through all but a cut."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local.kafka import QUIET_CLIENT, Listener, start_kafka
from tests.chaos.network import FarHost, far_host, has_netem, why_not
from tests.integration.harness import wait_until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no far host: {why_not()}")

WITHIN_S, CUT_FOR_S = 20.0, 1.0
DELAY_MS = 40.0
ECHO = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as us:
    while said := us.recv(65536):
        us.sendall(said)
"""
READER = """
import sys
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "far", "auto.offset.reset": "earliest"})
consumer.subscribe(["words"])
for _ in range(int(sys.argv[2])):
    while (message := consumer.poll(1.0)) is None or message.error():
        pass
    print(message.value().decode(), flush=True)
"""


MAKER = """
from tests.chaos.network import far_host
with far_host() as far:
    print(far.devices[0], flush=True)
    input()
"""


@pytest.fixture(params=["netem", "relay"])
def far(request: pytest.FixtureRequest) -> Iterator[FarHost]:
    netem = request.param == "netem"
    if netem and not has_netem():
        pytest.skip("the kernel has no netem (sch_netem)")
    with far_host(netem=netem) as host:
        yield host


@contextmanager
def _echo(far: FarHost) -> Iterator[socket.socket]:
    """Give a connection to a program on the far host that says again what it hears."""
    with socket.create_server((far.near_address, 0)) as server:
        server.settimeout(WITHIN_S)
        port = str(server.getsockname()[1])
        command = far.command([sys.executable, "-I", "-c", ECHO, far.near_address, port])
        with subprocess.Popen(command) as program:
            try:
                connection, peer = server.accept()
                assert peer[0] == far.far_address
                with connection:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.settimeout(WITHIN_S)
                    yield connection
            finally:
                program.kill()


def _heard(connection: socket.socket, size: int) -> bytes:
    heard = b""
    while len(heard) < size:
        heard += connection.recv(size - len(heard))
    return heard


def _round_trip_ms(connection: socket.socket) -> float:
    since_s = time.monotonic()
    connection.sendall(b"!")
    assert _heard(connection, 1) == b"!"
    return 1000 * (time.monotonic() - since_s)


def test_a_round_trip_takes_twice_the_delay_and_less_once_the_network_is_mended(far: FarHost) -> None:
    with _echo(far) as connection:
        far.worsen(delay_ms=DELAY_MS)
        assert min(_round_trip_ms(connection) for _ in range(5)) >= 2 * DELAY_MS
        far.mend()
        assert min(_round_trip_ms(connection) for _ in range(5)) < 2 * DELAY_MS


def test_what_is_sent_arrives_whole_although_packets_are_lost_and_overtake_each_other(far: FarHost) -> None:
    said = os.urandom(400_000)
    with _echo(far) as connection:
        far.worsen(delay_ms=2, jitter_ms=2, loss=0.05)
        connection.sendall(said)
        assert _heard(connection, len(said)) == said


def test_through_a_cut_comes_nothing_and_what_was_said_meanwhile_comes_once_it_is_mended(
    far: FarHost,
) -> None:
    with _echo(far) as connection:
        _round_trip_ms(connection)
        far.cut()
        connection.sendall(b"who is there?")
        connection.settimeout(CUT_FOR_S)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        far.mend()
        connection.settimeout(WITHIN_S)
        assert _heard(connection, 13) == b"who is there?"


def test_two_far_hosts_are_apart_from_each_other(far: FarHost) -> None:
    with far_host() as other, _echo(far) as connection, _echo(other) as other_connection:
        assert far.near_address != other.near_address
        far.cut()
        assert _round_trip_ms(other_connection) < 1000 * CUT_FOR_S
        far.mend()
        assert _round_trip_ms(connection) < 1000 * WITHIN_S


def test_nothing_is_left_of_a_far_host_whose_maker_was_killed() -> None:
    command = [sys.executable, "-c", MAKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        device = process.stdout.readline().decode().strip()
        assert device in _devices()
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: device not in _devices(), "its devices are gone", WITHIN_S)


def _devices() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_a_consumer_on_the_far_host_reads_what_a_broker_here_holds(far: FarHost) -> None:
    with start_kafka(listeners={"FAR": Listener(far.near_address)}) as node:
        servers = {"bootstrap.servers": node.bootstrap_servers, **QUIET_CLIENT}
        admin = AdminClient(servers)  # gone, it would take its request with it
        admin.create_topics([NewTopic("words", 1, 1)])["words"].result(WITHIN_S)
        producer = Producer(servers)
        for word in ("first", "second"):
            producer.produce("words", word)
        assert producer.flush(WITHIN_S) == 0
        far.worsen(delay_ms=20, jitter_ms=5, loss=0.01)
        command = far.command([sys.executable, "-c", READER, node.plan.address("FAR"), "2"])
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["first", "second"], done.stderr
