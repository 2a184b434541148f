"""The command line explains itself, and says in one line and one exit code what went wrong."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from earwitness.cli import WENT_WRONG, WRONG_SETTINGS, app, main
from earwitness.embedded import embedded_broker
from schemas.topics import Topics

SECRET = "correct horse battery staple"  # noqa: S105 - nobody's


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command below a group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


ALL = sorted(commands(typer.main.get_command(app)))
NAMES = [" ".join(path) for path in ALL]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the program as a shell would; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["earwitness", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What the program said on standard error, which must be one line of its own."""

    def of_the_last_run() -> str:
        (line,) = capsys.readouterr().err.splitlines()
        return str(line)

    return of_the_last_run


def test_the_commands_are_those_that_the_readme_shows() -> None:
    assert {"demo", "work", "capture", "simulate", "watch", "scan"} < set(NAMES)
    assert {"topics create", "topics describe"} < set(NAMES)


@pytest.mark.parametrize("path", ALL, ids=NAMES)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...], flag: str) -> None:
    result = CliRunner().invoke(app, [*path, flag])
    assert result.exit_code == 0
    assert f"Example: earwitness {' '.join(path)}" in click.unstyle(result.stdout)


def test_without_a_command_it_says_what_there_is() -> None:
    shown = click.unstyle(CliRunner().invoke(app, []).output)
    for name in ("demo", "work", "topics"):
        assert name in shown


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_an_unknown_option_is_a_wrong_setting(path: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, [*path, "--nonsense"]).exit_code == WRONG_SETTINGS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["work", "--set", "nonsense"], "--set is 'nonsense'; accepted: KEY=VALUE, such as"),
        (["work", "--set", "nonsense=1"], "nonsense is 'unknown'; accepted: kafka, registry"),
        (["work", "-s", "batch.max_windows=0"], "batch.max_windows is 0; accepted: 1 to 4096"),
        (["work", "-m", "no-such-model"], "model.path is 'no-such-model'; accepted: a directory with"),
        (["work", "--config", "none.toml"], "--config is 'none.toml'; accepted: a TOML file that exists"),
        (["work", "--group", ""], "worker.group is ''; accepted: a name"),
        (["watch", "-b", ""], "kafka.bootstrap_servers is ''; accepted"),
        (["scan", "x.wav", "-s", "log.level=loud"], "log.level is 'loud'; accepted"),
        (["capture", "x.wav", "--sensor", "a", "--encoding", "MP3"], "--encoding is 'MP3'; accepted: PCM"),
        (["capture", "x.wav", "--sensor", "a", "--frame-ms", "0"], "frame_ms is 0; accepted: 1 to 1000"),
        (["simulate", "--phases", "of the moon"], "--phases is 'of the moon'; accepted: "),
        (["topics", "create", "-s", "topics.tenants=[]"], "topics.tenants is '[]'; accepted"),
    ],
)
def test_wrong_settings_end_with_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, complaint: Callable[[], str], arguments: list[str], message: str
) -> None:
    assert run(monkeypatch, *arguments) == WRONG_SETTINGS == 2
    assert complaint().startswith(f"earwitness: {message}")


def test_what_went_wrong_ends_with_1_and_one_line(
    monkeypatch: pytest.MonkeyPatch, complaint: Callable[[], str], tiny_model: Path
) -> None:
    assert run(monkeypatch, "scan", "missing.wav", "-m", str(tiny_model)) == WENT_WRONG == 1
    assert complaint() == ("earwitness: cannot capture from missing.wav: there is no such file or folder")


def test_secrets_are_in_no_complaint(monkeypatch: pytest.MonkeyPatch, complaint: Callable[[], str]) -> None:
    assert run(monkeypatch, "work", "-s", f"kafka.sasl_pasword={SECRET}") == WRONG_SETTINGS
    assert SECRET not in complaint()
    monkeypatch.setenv("EARWITNESS_KAFKA__SASL_PASSWORD", SECRET)
    monkeypatch.setenv("EARWITNESS_KAFKA__SASL_USERNAME", "worker")
    assert run(monkeypatch, "topics", "describe") == WRONG_SETTINGS
    line = complaint()
    assert line.startswith("earwitness: kafka.security_protocol is 'PLAINTEXT'; accepted: SASL_PLAINTEXT")
    assert SECRET not in line


def test_a_worker_refuses_to_start_without_its_topics(
    monkeypatch: pytest.MonkeyPatch, complaint: Callable[[], str], tiny_model: Path
) -> None:
    with embedded_broker((Topics().frames,)) as broker:
        arguments = ["-b", broker, "-m", str(tiny_model), "-s", "kafka.embedded=true"]
        assert run(monkeypatch, "work", *arguments) == WRONG_SETTINGS
        assert complaint().startswith("earwitness: topic audio.detections is 'missing'; accepted: a topic")


@pytest.mark.parametrize(("level", "root"), [("warning", logging.WARNING), ("debug", logging.DEBUG)])
def test_the_level_of_the_log_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, complaint: Callable[[], str], level: str, root: int
) -> None:
    run(monkeypatch, "scan", "missing.wav", "-s", f"log.level={level}", "-m", "none")
    assert logging.getLogger().level == root
    complaint()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_what_is_typed(shell: str) -> None:
    shown = CliRunner().invoke(app, ["--show-completion", shell], prog_name="earwitness").output
    assert "_EARWITNESS_COMPLETE" in shown
