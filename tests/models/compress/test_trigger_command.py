"""`earwitness model trigger` makes one for a model that was trained here, and says what it does."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from earwitness.cli import app
from models.compress.entry import Entry
from models.pool import make_pool
from models.recordings import Sources, read_heap
from models.stage import Shares, Stage, StageSettings
from models.train import POOL
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, read_spec


@pytest.fixture(name="run", scope="module")
def _run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with windows of the recordings alone."""
    run = tmp_path_factory.mktemp("run")
    settings = StageSettings(shares=Shares(alone=0.4, pair=0.2, stream=0.2, nothing=0.2, variety=0.0))
    make_pool(Stage(read_heap(Sources(data)), settings), None, 400, 0, run / POOL, lambda _: None)
    return run


def test_a_trigger_is_written_and_measured_on_the_fold_that_it_left_out(
    entry: Entry, data: Path, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "edge" / "1"
    given = ["model", "trigger", str(entry.directory), "--run", str(run), "--data", str(data)]
    result = CliRunner().invoke(app, [*given, "--fold", "2", "--steps", "80", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    said, spec = json.loads(result.stdout), read_spec(out)
    assert spec.reference == "edge/1"
    assert spec.labels == ("sound",)
    assert spec.thresholds["sound"] == said["threshold"]
    assert said["passed"]["all"] > 0
    assert said["passed"]["right"] > 0.5 * said["passed"]["all"]
    assert said["rejected"]["all"] > 0
    assert said["after"]["file_bytes"] == (out / MODEL_FILE).stat().st_size


@pytest.mark.parametrize(
    ("more", "named"),
    [(["--fold", "7"], "--fold"), (["--run", "."], "--run")],
)
def test_what_cannot_be_is_refused(
    more: list[str], named: str, entry: Entry, data: Path, run: Path, tmp_path: Path
) -> None:
    given = ["model", "trigger", str(entry.directory), "--run", str(run), "--data", str(data)]
    result = CliRunner().invoke(app, [*given, *more, "--out", str(tmp_path / "edge" / "1")])
    assert isinstance(result.exception, ConfigurationError)
    assert named in str(result.exception)
    assert not (tmp_path / "edge").exists()
