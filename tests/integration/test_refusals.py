"""`earwitness work` with what cannot work: one line that names it, soon, and no secret in it."""

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local.kafka import KafkaServer
from infra.local.ports import LOOPBACK, free_ports
from schemas.model import MODEL_FILE, SPEC_FILE
from tests.integration.harness import DEADLINE_S, Tenant, command, variables, worker_settings
from tests.integration.quick_model import write_quick_model

SECRET = "hunter2-and-a-half"  # noqa: S105 - so that it can be looked for
WITHIN_S = 30
pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True, slots=True)
class Refused:
    """How a program ended."""

    status: int
    output: str
    line: str


@pytest.fixture(scope="module")
def tenant(kafka: KafkaServer) -> Tenant:
    """A tenant with which a worker could work; every test spoils one thing."""
    return Tenant(kafka.bootstrap_servers, "refusals").create(partitions=2)


@pytest.fixture
def spoiled_model(tmp_path: Path) -> Path:
    """A model of this test's own."""
    return write_quick_model(tmp_path / "spoiled")


def refused(
    directory: Path, settings: Mapping[str, object], *arguments: str, environment: Mapping[str, str] = {}
) -> Refused:
    """Run `earwitness work` until it refuses."""
    secret = {"registry.password": SECRET}
    told = {"PATH": "/usr/bin:/bin", **variables({**secret, **settings}), **environment}
    done = subprocess.run(
        command("work", *arguments), env=told, cwd=directory, capture_output=True, text=True, timeout=WITHIN_S
    )
    output = done.stdout + done.stderr
    assert done.returncode not in (0, None), output
    assert "Traceback" not in output
    assert SECRET not in output
    said = [line for line in done.stderr.splitlines() if line.startswith("earwitness: ")]
    assert len(said) == 1, output
    assert done.stderr.splitlines()[-1] == said[0], output
    return Refused(done.returncode, output, said[0])


def make_topic(tenant: Tenant, name: str, partitions: int, config: dict[str, str] | None = None) -> None:
    admin = AdminClient(dict(tenant.client))
    made = admin.create_topics([NewTopic(name, partitions, 1, config=config or {})])
    made[name].result(DEADLINE_S)


@pytest.fixture(scope="module")
def unreachable(
    tenant: Tenant, quick_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Refused]:
    """Refusals of brokers with which there is no talking, all at once: each takes its time to be sure."""
    sasl = {
        "kafka.security_protocol": "SASL_PLAINTEXT",
        "kafka.sasl_mechanism": "PLAIN",
        "kafka.sasl_username": "anna",
        "kafka.sasl_password": SECRET,
    }
    told = {
        "nobody": {"kafka.bootstrap_servers": f"{LOOPBACK}:{free_ports(1)[0]}"},
        "no such name": {"kafka.bootstrap_servers": "kafka.invalid:9092"},
        "another protocol": sasl,
    }
    directory, base = tmp_path_factory.mktemp("unreachable"), worker_settings(tenant, quick_model)
    with ThreadPoolExecutor() as pool:
        ended = {name: pool.submit(refused, directory, {**base, **wrong}) for name, wrong in told.items()}
        return {name: one.result() for name, one in ended.items()}


@pytest.mark.parametrize(
    ("which", "named"),
    [
        ("nobody", f"kafka.bootstrap_servers is '{LOOPBACK}:"),
        ("no such name", "kafka.bootstrap_servers is 'kafka.invalid:9092'"),
        ("another protocol", "kafka.bootstrap_servers is"),
    ],
)
def test_a_broker_with_which_there_is_no_talking(
    which: str, named: str, unreachable: dict[str, Refused]
) -> None:
    line = unreachable[which].line
    assert named in line
    assert "it says: " in line


def test_an_unknown_setting_in_a_flag(tenant: Tenant, quick_model: Path, tmp_path: Path) -> None:
    line = refused(tmp_path, worker_settings(tenant, quick_model), "-s", "batch.max_widows=4").line
    assert "batch.max_widows" in line
    assert "batch.max_windows" in line


def test_a_password_under_a_misspelt_name(tenant: Tenant, quick_model: Path, tmp_path: Path) -> None:
    misspelt = f"kafka.sasl_pasword={SECRET}"
    assert (
        "kafka.sasl_pasword" in refused(tmp_path, worker_settings(tenant, quick_model), "-s", misspelt).line
    )


def test_an_unknown_group_of_settings_in_a_flag(tenant: Tenant, quick_model: Path, tmp_path: Path) -> None:
    line = refused(tmp_path, worker_settings(tenant, quick_model), "-s", "bach.max_windows=4").line
    assert "bach" in line


@pytest.mark.parametrize("name", ["EARWITNESS_BATCH__MAX_WIDOWS", "EARWITNESS_BACH__MAX_WINDOWS"])
def test_an_unknown_setting_in_the_environment(
    name: str, tenant: Tenant, quick_model: Path, tmp_path: Path
) -> None:
    told = worker_settings(tenant, quick_model)
    line = refused(tmp_path, told, environment={name: "4"}).line
    assert name.removeprefix("EARWITNESS_").split("__")[1].lower() in line.lower()


def test_an_unknown_setting_in_the_file(tenant: Tenant, quick_model: Path, tmp_path: Path) -> None:
    (tmp_path / "earwitness.toml").write_text("[batch]\nmax_widows = 4\n")
    assert "batch.max_widows" in refused(tmp_path, worker_settings(tenant, quick_model)).line


def test_a_file_that_is_no_toml(tenant: Tenant, quick_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("batch max_windows 4\n")
    line = refused(tmp_path, worker_settings(tenant, quick_model), "--config", str(file)).line
    assert "mine.toml" in line


def test_a_file_that_is_not_there(tenant: Tenant, quick_model: Path, tmp_path: Path) -> None:
    line = refused(tmp_path, worker_settings(tenant, quick_model), "--config", "nowhere.toml").line
    assert "nowhere.toml" in line


def test_a_model_that_is_not_there(tenant: Tenant, tmp_path: Path) -> None:
    line = refused(tmp_path, worker_settings(tenant, tmp_path / "nowhere")).line
    assert "model.path" in line
    assert "nowhere" in line


def test_a_model_with_other_bytes_than_its_spec_says(
    tenant: Tenant, spoiled_model: Path, tmp_path: Path
) -> None:
    with (spoiled_model / MODEL_FILE).open("ab") as file:
        file.write(b"\0")
    line = refused(tmp_path, worker_settings(tenant, spoiled_model)).line
    assert "model.path" in line
    assert "SHA-256" in line


def test_a_model_whose_spec_says_another_window(tenant: Tenant, spoiled_model: Path, tmp_path: Path) -> None:
    _respell(spoiled_model, window_samples=12_000)
    assert "window_samples" in refused(tmp_path, worker_settings(tenant, spoiled_model)).line


def test_a_topic_that_is_not_there(tenant: Tenant, quick_model: Path, tmp_path: Path) -> None:
    nobody = Tenant(tenant.servers, "nobody")
    line = refused(tmp_path, worker_settings(nobody, quick_model)).line
    assert "nobody.audio.frames" in line
    assert "topics create" in line


def test_frames_that_would_carry_their_senders_clocks(
    tenant: Tenant, quick_model: Path, tmp_path: Path
) -> None:
    clocks = Tenant(tenant.servers, "clocks")
    make_topic(clocks, clocks.topics.frames, 2, {"message.timestamp.type": "CreateTime"})
    clocks.create(partitions=2)
    line = refused(tmp_path, worker_settings(clocks, quick_model)).line
    assert "message.timestamp.type of clocks.audio.frames" in line
    assert "LogAppendTime" in line


def test_outputs_with_another_partition_count_than_the_frames(
    tenant: Tenant, quick_model: Path, tmp_path: Path
) -> None:
    uneven = Tenant(tenant.servers, "uneven")
    make_topic(uneven, uneven.topics.coverage, 3)
    uneven.create(partitions=2)
    line = refused(tmp_path, worker_settings(uneven, quick_model)).line
    assert "partition count of uneven.audio.coverage is 3; accepted: 2" in line


def test_a_status_port_that_is_in_use(
    port_in_use: int, tenant: Tenant, quick_model: Path, tmp_path: Path
) -> None:
    line = refused(tmp_path, {**worker_settings(tenant, quick_model), "status.port": port_in_use}).line
    assert f"status is '{LOOPBACK}:{port_in_use}'" in line


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("model.m", 4, "model.m is 4; accepted: at most model.n, 3"),
        ("window.hop_s", 1.5, "window.hop_s"),
        ("model.thresholds", '{"loud": 1.5}', "model.thresholds.loud"),
        ("model.thresholds", '{"silence": 0.5}', "silence"),
        ("detect.segment_windows", 0, "detect.segment_windows"),
        ("detect.idle_s", -1, "detect.idle_s"),
        ("batch.max_backlog_windows", 4, "batch.max_backlog_windows"),
        ("worker.begin_at", "yesterday", "worker.begin_at"),
        ("kafka.security_protocol", "PLAIN", "kafka.security_protocol"),
        ("status.port", 70_000, "status.port"),
    ],
)
def test_values_that_cannot_work(
    key: str, value: object, named: str, tenant: Tenant, quick_model: Path, tmp_path: Path
) -> None:
    ended = refused(tmp_path, {**worker_settings(tenant, quick_model), key: value})
    assert named in ended.line
    assert ended.status == 2


def test_a_secret_that_cannot_be_read_is_not_repeated(
    tenant: Tenant, quick_model: Path, tmp_path: Path
) -> None:
    told = {**worker_settings(tenant, quick_model), "kafka.client": f'{{"sasl.password": ["{SECRET}"]}}'}
    assert "kafka.client" in refused(tmp_path, told).line


def _respell(model: Path, **changed: object) -> None:
    spec = json.loads((model / SPEC_FILE).read_text())
    (model / SPEC_FILE).write_text(json.dumps({**spec, **changed}))
