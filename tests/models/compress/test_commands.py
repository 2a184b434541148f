"""`earwitness model quantise, half, prune, qat, edge` write a model and say what it gained and cost."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from earwitness.cli import app
from models.compress import tflite
from models.compress.entry import Entry, read_entry
from schemas.errors import ConfigurationError


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("quantise", []),
        ("half", []),
        ("prune", ["--share", "0.7", "--group", "4", "--steps", "20"]),
        ("qat", ["--steps", "20"]),
    ],
)
def test_a_command_writes_a_model_and_prints_both_as_json(
    command: str, more: list[str], entry: Entry, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / command / "2"
    given = ["model", command, str(entry.directory), "--data", str(data), "--fold", "2", "--out", str(out)]
    result = CliRunner().invoke(app, [*given, *more, "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["fold"] == 2
    assert said["clips"] == 12
    assert said["before"]["clip_accuracy"] == 1.0
    assert said["after"]["model"] == f"{command}/2"
    assert said["after"]["file_bytes"] == read_entry(out).file.stat().st_size
    assert said["time_ratio"]["32"] > 0.0


def test_the_edge_needs_no_recordings_and_prints_a_table(entry: Entry, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["model", "edge", str(entry.directory), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "64 windows of noise: the same top label in 100.00%" in result.stdout
    assert {file.name for file in tmp_path.iterdir()} == {
        "model.ort",
        "required_operators.config",
        "spec.json",
    }


def test_without_its_converter_tflite_says_how_to_install_it(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(
        app, ["model", "edge", str(entry.directory), "--out", str(tmp_path / "out"), "--tflite"]
    )
    assert isinstance(result.exception, ConfigurationError)
    assert tflite.INSTALL in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which(tflite.PROGRAM) is None, reason="onnx2tf is not on the PATH")
@pytest.mark.timeout(900)
def test_tflite_gives_the_same_scores(entry: Entry, tmp_path: Path) -> None:
    """The command itself refuses a file whose scores differ."""
    out, before = tmp_path / "out", entry.file.read_bytes()
    result = CliRunner().invoke(app, ["model", "edge", str(entry.directory), "--out", str(out), "--tflite"])
    assert result.exit_code == 0, result.output
    assert (out / tflite.TFLITE_FILE).stat().st_size > 10_000
    assert entry.file.read_bytes() == before, "the converter writes over what it is given"


def test_a_share_that_cannot_be_reached_is_refused(entry: Entry, data: Path, tmp_path: Path) -> None:
    given = ["model", "prune", str(entry.directory), "--data", str(data), "--out", str(tmp_path / "a" / "1")]
    result = CliRunner().invoke(app, [*given, "--share", "0.01", "--group", "8", "--steps", "20"])
    assert isinstance(result.exception, ConfigurationError)
    assert "share" in str(result.exception)
