"""Programs out of Debian's packages: fetched for real, into a cache of the test's own."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.debian import Program, find_program
from infra.local.errors import MissingToolError

pytestmark = pytest.mark.skipif(
    not Path("/var/lib/dpkg/status").exists(), reason="not a Debian, so it has no packages of Debian's"
)
RUN_S = 60


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A kcat that was fetched although this machine may have one."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EARWITNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield find_program("kcat", fetch=True)


def output_of(program: Program, *arguments: str) -> str:
    done = subprocess.run(
        program.command(*arguments),
        env={**os.environ, **program.environment},
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_fetched_program_runs(fetched: Program) -> None:
    assert "/cache" in str(fetched.path)
    assert "kcat - Apache Kafka producer and consumer tool" in output_of(fetched, "-V")


def test_it_is_fetched_once(fetched: Program) -> None:
    written_ns = fetched.path.stat().st_ctime_ns
    assert find_program("kcat", fetch=True) == fetched
    assert fetched.path.stat().st_ctime_ns == written_ns


def test_the_folders_of_its_libraries_go_before_those_that_are_set(
    fetched: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/theirs")
    assert Program(fetched.path, (tmp_path,)).environment == {"LD_LIBRARY_PATH": f"{tmp_path}:/theirs"}


def test_a_program_on_the_path_is_taken_as_it_is() -> None:
    program = find_program("sh")
    assert program.environment == {}
    assert output_of(program, "-c", "echo here") == "here\n"


def test_a_package_that_does_not_hold_the_program_is_refused(fetched: Program) -> None:
    with pytest.raises(MissingToolError, match="kcat, which holds no program called kafkacat-2"):
        find_program("kafkacat-2", "kcat", fetch=True)


def test_a_package_that_nobody_has_is_refused_with_apts_reason(fetched: Program) -> None:
    with pytest.raises(MissingToolError, match=r"apt-get install earwitness-none(.|\n)*Unable to locate"):
        find_program("earwitness-none")


def test_a_machine_without_apt_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARWITNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"`apt-get install kcat`.*apt-get is not on this machine"):
        find_program("kcat")
