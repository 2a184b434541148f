"""The consumers of `examples/`, which use nothing of ours, on a real broker, with everything said twice.

A worker hears a fleet and publishes; then its records are said again as a re-run would, ACTIVE after ENDED,
and among them comes what a later release, a tool or an accident may leave in a topic.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Producer

from infra.local.debian import find_program
from infra.local.errors import LocalServerError
from infra.local.installation import cache_directory
from infra.local.java import find_java, find_maven
from infra.local.kafka import KafkaServer
from producers.clips import ClipPool
from producers.fleet import FleetSettings
from schemas.detection import Detection, DetectionState
from tests.conftest import REPOSITORY, _give_up
from tests.integration.harness import (
    CODEC,
    DEADLINE_S,
    IDLE_AND_MARGIN_S,
    Appended,
    Programs,
    Tenant,
    by_id,
    play,
    unended,
    wait_until,
)

EXAMPLES, SCHEMAS = REPOSITORY / "examples" / "consumers", REPOSITORY / "schemas" / "avro"
PARTITIONS, SENSORS, SECONDS = 4, 6, 16.0
IDLE_S = "5"
INSTALL_S = 300
JUNK = b"neither JSON nor Avro"
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Served:
    """A tenant whose detections a worker has published, and what they come to."""

    tenant: Tenant
    detections: dict[str, Detection]
    records: list[Appended]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the consumers in Python and JavaScript are told."""
        where = ("--broker", self.tenant.servers, "--topic", self.tenant.topics.detections)
        return (*where, "--schemas", str(SCHEMAS), "--until-idle", IDLE_S)


@pytest.fixture(scope="module")
def served(
    kafka: KafkaServer, quick_model: Path, recordings: ClipPool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Served]]:
    """One tenant in JSON and one in Avro."""
    programs = Programs(tmp_path_factory.mktemp("consumers"))
    tenants = {form: Tenant(kafka.bootstrap_servers, f"consumers-{form}") for form in ("json", "avro")}
    try:
        for form, tenant in tenants.items():
            tenant.create(PARTITIONS)
            fleet = FleetSettings(SENSORS, "hörsaal-{:02d}", seconds=SECONDS, speed=None)
            play(tenant, fleet, recordings).finish()
            programs.work(tenant, quick_model, output__format=form)
        yield {form: _served(tenant) for form, tenant in tenants.items()}
    finally:
        programs.close()


def _served(tenant: Tenant) -> Served:
    wait_until(lambda: len(tenant.silent()) == SENSORS, "all are SILENT", IDLE_AND_MARGIN_S + DEADLINE_S)
    said, records = tenant.detections(), tenant.read(tenant.topics.detections)
    assert said
    assert unended(said) == set()
    _say_again(tenant, records)
    return Served(tenant, by_id(said), records)


def _say_again(tenant: Tenant, records: list[Appended]) -> None:
    """Append all of it again, in order, what began once more, and what no worker of today writes."""
    producer, topic = Producer(tenant.client), tenant.topics.detections
    active = [record for record in records if b"ACTIVE" in (record.value or b"")]
    for record in (*records, *active):
        producer.produce(topic, record.value, record.key, record.partition)
    producer.produce(topic, None, b"tool", 0)
    producer.produce(topic, JUNK, b"tool", 0)
    for record in records:
        if record.value is not None and record.value[:1] == b"{":
            producer.produce(topic, later(record.value), record.key, record.partition)
    assert producer.flush(DEADLINE_S) == 0


def later(value: bytes) -> bytes:
    """Return what a later release may write: a field more."""
    return json.dumps({**json.loads(value), "later": {"id": "none", "state": "ACTIVE"}}).encode()


def check(served: Served, output: str) -> None:
    """Check a consumer's lines: each tells news, and the last of each id is what our own reader says."""
    lines = output.splitlines()
    assert len(lines) == len(set(lines))
    said = [Detection.from_wire(_known(json.loads(line))) for line in lines]
    assert {detection.id: detection for detection in said} == served.detections == by_id(said)
    states = [(detection.id, detection.state) for detection in said]
    for detection_id in served.detections:
        begun, ended = ((detection_id, state) for state in DetectionState)
        assert states.count(begun) == 1
        assert states.index(begun) < states.index(ended)


def _known(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name in Detection.__slots__}


def run(command: Sequence[str | Path], directory: Path | None = None, within_s: float = DEADLINE_S) -> str:
    """Run a program to its end; return what it printed to standard output."""
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=within_s, cwd=directory)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


# -- what the README's contract says of the records -------------------------------------------------------


def test_all_that_is_said_about_a_sensor_is_in_the_partition_of_its_frames(served: dict[str, Served]) -> None:
    for one in served.values():
        for record in one.records:
            assert record.key is not None
            assert record.partition == (murmur2(record.key) & 0x7FFFFFFF) % PARTITIONS
            detection = CODEC.decode(Detection, record.value)
            assert (record.key.decode(), record.partition) == (detection.sensor, detection.partition)


def test_a_worker_says_active_then_ended_once_for_each_id(served: dict[str, Served]) -> None:
    for one in served.values():
        said = [CODEC.decode(Detection, record.value) for record in one.records]
        for detection_id in one.detections:
            states = [found.state for found in said if found.id == detection_id]
            assert states == [DetectionState.ACTIVE, DetectionState.ENDED]


def test_what_goes_on_goes_on_from_one_that_ended_before_where_it_starts(served: dict[str, Served]) -> None:
    for one in served.values():
        ended: set[tuple[str, str, str, str, int]] = set()
        chained = 0
        for found in (CODEC.decode(Detection, record.value) for record in one.records):
            of = (found.sensor, found.epoch, found.label, found.decision_digest)
            if found.state is DetectionState.ENDED:
                ended.add((*of, found.end_sample))
            elif found.continued:
                assert (*of, found.start_sample) in ended
                chained += 1
        assert chained > 0


# -- Python -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "avro"])
def test_python_has_each_detection_once(served: dict[str, Served], form: str) -> None:
    python = (sys.executable, "-I", str(EXAMPLES / "python" / "consume.py"))
    check(served[form], run((*python, *served[form].arguments)))


def test_python_goes_on_where_its_database_stands(served: dict[str, Served], tmp_path: Path) -> None:
    one, file = served["json"], tmp_path / "detections.db"
    python = (sys.executable, "-I", str(EXAMPLES / "python" / "consume.py"))
    arguments = (*one.arguments, "--database", str(file), "--group", f"{one.tenant.name}-table")
    check(one, run((*python, *arguments)))
    assert run((*python, *arguments)) == ""
    rows = sqlite3.connect(file).execute("SELECT id, state FROM detections").fetchall()
    assert dict(rows) == {found.id: found.state for found in one.detections.values()}


def test_python_says_when_it_lacks_a_schema(served: dict[str, Served], tmp_path: Path) -> None:
    python = (sys.executable, "-I", str(EXAMPLES / "python" / "consume.py"))
    command = (*python, *served["avro"].arguments, "--schemas", str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert "no schema d06961a348c5f088 among those of --schemas" in done.stderr


# -- JavaScript ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The consumer with the packages that its lock file names, beside it."""
    directory = tmp_path_factory.mktemp("javascript")
    for name in ("package.json", "package-lock.json", "consume.js"):
        shutil.copy(EXAMPLES / "javascript" / name, directory)
    if shutil.which("node") is None or shutil.which("npm") is None:
        _give_up("no node and npm on this machine (Debian and Ubuntu: `apt-get install nodejs npm`)")
    run(("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"), directory, INSTALL_S)
    return directory / "consume.js"


@pytest.mark.parametrize("form", ["json", "avro"])
def test_javascript_has_each_detection_once(served: dict[str, Served], javascript: Path, form: str) -> None:
    check(served[form], run(("node", str(javascript), *served[form].arguments)))


def test_javascript_says_when_it_lacks_a_schema(
    served: dict[str, Served], javascript: Path, tmp_path: Path
) -> None:
    command = ("node", str(javascript), *served["avro"].arguments, "--schemas", str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert "no schema d06961a348c5f088 in --schemas" in done.stderr


# -- Java ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def java() -> tuple[str, ...]:
    """A Java with Kafka's tools on its class path, fetched as the example says."""
    pom = EXAMPLES / "java" / "pom.xml"
    jars = cache_directory() / "kafka-tools" / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    try:
        launcher = find_java().launcher
        if not jars.exists():
            _fetch_jars(pom, jars)
    except LocalServerError as missing:
        _give_up(str(missing))
    if "jdk.compiler" not in run((launcher, "--list-modules")):
        _give_up(
            "this Java runs no source files (Debian and Ubuntu: `apt-get install openjdk-17-jdk-headless`)"
        )
    return str(launcher), "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"


def _fetch_jars(pom: Path, jars: Path) -> None:
    scratch = jars.with_name(f"{jars.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    own = shutil.copy(pom, scratch)
    goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={scratch / 'lib'}")
    run((find_maven(), "-q", "-B", "-f", own, *goal), within_s=INSTALL_S)
    (scratch / "lib").rename(jars)
    shutil.rmtree(scratch)


@pytest.fixture(scope="module")
def printed(served: dict[str, Served], java: tuple[str, ...]) -> bytes:
    """What Kafka's own console consumer prints of the detections in JSON, as the example calls it."""
    tenant = served["json"].tenant
    command = (
        *java,
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        *("--bootstrap-server", tenant.servers, "--topic", tenant.topics.detections),
        *("--from-beginning", "--property", "print.key=true", "--timeout-ms", f"{IDLE_S}000"),
    )
    done = subprocess.run(command, capture_output=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_javas_console_consumer_prints_sensors_and_objects(served: dict[str, Served], printed: bytes) -> None:
    records = served["json"].records
    assert {(r.key or b"") + b"\t" + (r.value or b"") for r in records} < set(printed.splitlines())


def test_java_has_each_detection_once_from_those_lines(
    served: dict[str, Served], java: tuple[str, ...], printed: bytes
) -> None:
    upsert = (*java, str(EXAMPLES / "java" / "Upsert.java"))
    done = subprocess.run(upsert, input=printed, capture_output=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    check(served["json"], done.stdout.decode())
    assert done.stderr.decode().splitlines() == [f"not a detection in JSON: {JUNK.decode()}"]


# -- kcat ---------------------------------------------------------------------------------------------------


def test_kcat_shows_json_with_its_key(served: dict[str, Served]) -> None:
    one, kcat = served["json"], find_program("kcat")
    arguments = ("-C", "-q", "-e", "-o", "beginning", "-f", "%k %s\\n", "-t", one.tenant.topics.detections)
    done = subprocess.run(
        kcat.command("-b", one.tenant.servers, *arguments),
        env={**os.environ, **kcat.environment},
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    assert {(r.key or b"") + b" " + (r.value or b"") for r in one.records} < set(done.stdout.splitlines())
