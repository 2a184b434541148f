"""`earwitness work` and `doctor` with a Triton that serves something else: what is wrong, and where."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from infra.local.triton import start_triton
from infra.local.triton_installation import TritonInstallation
from models.repository import write_repository
from tests.integration.commands import BROKEN, WELL, WRONG_SETTINGS, found, run, settings_of
from tests.integration.harness import Tenant
from tests.integration.quick_model import write_quick_model
from tests.processors.tiny_model import write_model

Spoil = Callable[[Path], None]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def tenant(kafka: KafkaServer, triton_installation: TritonInstallation) -> Tenant:
    """A tenant with which a worker could work."""
    return Tenant(kafka.bootstrap_servers, "triton-refusals").create(partitions=2)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository that serves the quick model as it is."""
    write_quick_model(tmp_path / "quick")
    write_repository(tmp_path / "repository", [tmp_path / "quick"], {"backend": "python"})
    return tmp_path / "repository"


def edited(old: str, new: str) -> Spoil:
    """Return what puts something else into the configuration."""

    def spoil(repository: Path) -> None:
        config = repository / "quick" / "config.pbtxt"
        text = config.read_text("utf-8")
        assert old in text
        config.write_text(text.replace(old, new), "utf-8")

    return spoil


def without(name: str) -> Spoil:
    """Return what takes a file of the version away."""
    return lambda repository: (repository / "quick" / "1" / name).unlink()


def other_shape(repository: Path) -> None:
    """Serve another model under the same name, which Triton finds nothing wrong with."""
    shutil.rmtree(repository)
    write_model(repository.parent / "other", name="quick")
    write_repository(repository, [repository.parent / "other"], {"backend": "python"})


def other_version(repository: Path) -> None:
    (repository / "quick" / "1").rename(repository / "quick" / "2")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(other_shape, "shape of input 'audio' is [-1, 3200]; accepted: [-1, 16000]", id="shape"),
        pytest.param(edited("earwitness.digest.1", "earwitness.digest.9"), "digest.1 is None", id="digest"),
        pytest.param(without("model.onnx"), "model.onnx", id="model-missing"),
        pytest.param(other_version, "version", id="version"),
    ],
)
def test_a_repository_that_does_not_fit_is_refused_at_start_and_named_by_the_doctor(
    tenant: Tenant, repository: Path, spoil: Spoil, said: str
) -> None:
    spoil(repository)
    with start_triton(repository, ["quick"], tolerant=True) as triton:
        where = {
            **settings_of(tenant, repository.parent / "quick"),
            "scorer.kind": "triton",
            "scorer.endpoints": triton.url,
            "scorer.start_timeout_s": 20,
        }
        done = run(where, "work")
        assert done.code == WRONG_SETTINGS, done.said
        assert f"scorer.endpoints: {triton.url}, model quick/1" in done.said
        assert said in done.said
        assert "Traceback" not in done.said
        looked = run(where, "doctor", "--json", "--only", "scoring")
        assert looked.code == BROKEN
        assert said in found(looked.lines, "scoring", "broken")


def test_a_triton_that_nobody_started_is_waited_for_and_then_named(tenant: Tenant, repository: Path) -> None:
    where = {
        **settings_of(tenant, repository.parent / "quick"),
        "scorer.kind": "triton",
        "scorer.endpoints": "127.0.0.1:1",
        "scorer.start_timeout_s": 1,
    }
    done = run(where, "work")
    assert done.code == WRONG_SETTINGS, done.said
    assert "127.0.0.1:1 is away" in done.said


def test_a_worker_that_cannot_start_says_nothing_of_the_tritons_that_it_let_go(
    tenant: Tenant, repository: Path, port_in_use: int
) -> None:
    where = {
        **settings_of(tenant, repository.parent / "quick"),
        "scorer.kind": "triton",
        "scorer.endpoints": "127.0.0.1:1",
        "scorer.fallback": "onnx",
        "scorer.start_timeout_s": 1,
        "status.port": port_in_use,
    }
    done = run(where, "work")
    assert done.code == WRONG_SETTINGS, done.said
    assert f"status is '127.0.0.1:{port_in_use}'" in done.said
    assert "ended" not in done.said
    assert "Traceback" not in done.said


def test_the_doctor_asks_the_tritons_and_says_what_counts(tenant: Tenant, repository: Path) -> None:
    with start_triton(repository, ["quick"]) as triton:
        where = {
            **settings_of(tenant, repository.parent / "quick"),
            "scorer.kind": "triton",
            "scorer.endpoints": triton.url,
        }
        done = run(where, "doctor", "--json", "--only", "scoring")
        assert done.code == WELL, done.out
        well = found(done.lines, "scoring", "ok")
        assert f"Triton {triton.url}: serves quick/1 as triton/" in well
        assert "all frames are heard by quick/1" in well
