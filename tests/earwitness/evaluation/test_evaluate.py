"""One command measures a model, the same every time, and says what it cannot measure."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from earwitness.cli import app
from earwitness.evaluation.evaluate import evaluate
from earwitness.evaluation.evidence import QUICK
from earwitness.evaluation.material import Part, read_entries
from earwitness.evaluation.report import Report
from earwitness.evaluation.robustness import Point
from models.catalogue import find, names
from models.dataset import read_labels
from schemas.errors import ConfigurationError
from schemas.model import read_spec
from tests.conftest import REPOSITORY, SHARED_DATA
from tests.earwitness.evaluation.folders import write_folder, write_recordings
from tests.processors.tiny_model import write_model


def run(model: Path, data: Path, *more: str) -> Result:
    quick = ("--quick", "--noise-hours", "0.02")
    return CliRunner().invoke(app, ["model", "evaluate", str(model), "--data", str(data), *quick, *more])


def document(model: Path, data: Path, *more: str) -> dict[str, Any]:
    result = run(model, data, "--json", "--no-robustness", *more)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_recordings(tmp_path / "data")


def test_everything_is_in_one_document(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    quiet = write_folder(tmp_path / "quiet", [("speech", 0.2, 0.7, 1)] * 9 + [("loud", 0.9, 1.0, 1)])
    found = document(tiny_model, data, "--negatives", str(quiet), "--background", str(quiet))
    assert found["model"]["digest"] == read_spec(tiny_model).digest
    assert (found["accuracy"], found["recordings"]) == (1.0, 6)
    assert found["interval"] == pytest.approx([0.6097, 1.0], abs=1e-4)
    assert found["confusion"] == {"labels": ["loud"], "counts": [[6]]}
    assert found["events"]["events"] == 6
    assert 0 <= found["events"]["psds"]["psds_1"] <= 1
    source, noise = found["false_alarms"]["sources"]
    assert (source["recordings"], source["left_out"]) == (9, 1)
    assert noise["all"]["hours"] == pytest.approx(1 / 60, rel=0.01)
    assert found["calibration"]["windows"] > 0
    assert found["settings"]["seed"] == 0
    assert len(found["data"]["digest"]) == 64


def test_the_same_seed_gives_the_same_document(tiny_model: Path, data: Path) -> None:
    assert document(tiny_model, data, "--seed", "3") == document(tiny_model, data, "--seed", "3")


def test_a_fold_alone_is_measured_where_it_is_asked_for(tiny_model: Path, data: Path) -> None:
    found = document(tiny_model, data, "--fold", "2")
    assert (found["recordings"], found["data"]["folds"]) == (3, [2])
    with pytest.raises(ConfigurationError, match=r"folds of the table: \[1, 2\]"):
        read_entries(data, [7])


def test_a_person_sees_tables_and_gets_pictures(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    result = run(tiny_model, data, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "clip accuracy" in result.stdout
    assert "sample_rate_hz" in result.stdout
    pictures = {"confusion.png", "events.png", "false_alarms.png", "robustness.png", "reliability.png"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == pictures | {"report.json"}
    assert json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["accuracy"] == 1.0


def test_thresholds_are_chosen_and_written(tmp_path: Path, data: Path) -> None:
    before = write_model(tmp_path / "model", thresholds={"loud": 0.01, "high": 0.01})
    found = document(tmp_path / "model", data, "--choose-thresholds", "--false-alarms-per-hour", "1000")
    after = read_spec(tmp_path / "model")
    chosen = {label: of["threshold"] for label, of in found["thresholds"]["labels"].items()}
    assert after.thresholds == chosen == found["model"]["thresholds"]
    assert after.digest == before.digest
    assert found["false_alarms"]["all"]["count"] <= found["thresholds"]["allowed_per_hour"] * 0.02


def test_several_models_are_measured_as_one(tiny_model: Path, data: Path) -> None:
    parts = [Part(tiny_model, read_entries(data, [fold])) for fold in (1, 2)]
    negatives = {"quiet": read_labels(data)}
    figures, evidence = evaluate(parts, negatives, replace(QUICK, most_robustness_recordings=0))
    assert figures.clips.accuracy.all == 6
    assert figures.false_alarms.sources[0].recordings == 1
    assert sum(n.source == "quiet" for n in evidence.negatives) == 1
    assert sum(len(scene.truth) for scene in evidence.scenes) == 6


def test_models_of_different_labels_are_not_measured_as_one(
    tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    write_model(tmp_path / "other", labels=("a", "b"), thresholds={"a": 0.5, "b": 0.5})
    parts = [Part(model, read_labels(data)) for model in (tiny_model, tmp_path / "other")]
    with pytest.raises(ConfigurationError, match="models of the same labels"):
        evaluate(parts, {}, QUICK)


def test_negatives_alone_are_measured_and_the_rest_is_said_to_be_missing(
    tiny_model: Path, tmp_path: Path
) -> None:
    found = document(tiny_model, write_folder(tmp_path / "speech", [("speech", 0.1, 1.0, 1)]))
    assert (found["accuracy"], found["events"], found["calibration"]) == (None, None, None)


def test_nothing_of_training_is_needed_to_measure() -> None:
    program = "import sys, earwitness.evaluation.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=REPOSITORY).returncode == 0


def test_backgrounds_that_the_model_knows_are_refused(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    loud = write_folder(tmp_path / "loud", [("loud", 0.9, 1.0, 1)])
    result = run(tiny_model, data, "--background", str(loud))
    assert isinstance(result.exception, ConfigurationError)
    assert "--background is ['loud']" in str(result.exception)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="../shared/data with ESC-10 is not here")
def test_the_shipped_model_knows_recordings_that_it_learned_from() -> None:
    data = SHARED_DATA / "esc10"
    entries = read_labels(data)[::20]
    settings = replace(
        QUICK, most_stream_recordings=16, alarms=2, most_robustness_recordings=0, noise_hours=0
    )
    figures, _ = evaluate([Part(find("earwitness-small/2"), entries)], {}, settings)
    assert figures.clips.accuracy.value is not None
    assert figures.clips.accuracy.value >= 0.8
    assert set(figures.alarms) == {0.0}
    assert figures.events is not None
    assert figures.events.psds["psds_2"] > 0.3


def test_labels_that_the_model_does_not_know_are_shown(tiny_model: Path, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "mine", [("Loud", 0.9, 1.0, 1), ("loud", 0.9, 1.0, 1)])
    assert document(tiny_model, data)["unknown_labels"] == {"Loud": 1}
    assert "Loud (1)" in run(tiny_model, data, "--no-robustness").stdout


def test_thresholds_are_not_chosen_for_a_model_that_ships(data: Path) -> None:
    result = run(Path(names()[0]), data, "--choose-thresholds")
    assert isinstance(result.exception, ConfigurationError)
    assert "copy its directory" in str(result.exception)


def test_without_negatives_thresholds_are_not_chosen_and_nothing_is_heard(tmp_path: Path, data: Path) -> None:
    write_model(tmp_path / "model")
    negatives = write_folder(tmp_path / "known", [("loud", 0.9, 1.0, 1), ("music", 0.1, 1.0, 1)])
    options = ("--negatives", str(negatives), "--leave-out", "music", "--noise-hours", "0")
    result = run(tmp_path / "model", data, "--choose-thresholds", *options)
    assert isinstance(result.exception, ConfigurationError)
    assert "--noise-hours is 0.0; accepted: more than 0, or --negatives" in str(result.exception)


def test_labels_that_are_left_out_are_so_besides_those_that_always_are(tiny_model: Path, data: Path) -> None:
    found = document(tiny_model, data, "--leave-out", "music")
    assert found["settings"]["left_out"] == ["ambiguous", "thunderstorm", "music"]


def test_a_figure_that_is_no_number_is_never_written(tiny_model: Path, data: Path) -> None:
    figures, evidence = evaluate(
        [Part(tiny_model, read_entries(data))], {}, replace(QUICK, most_robustness_recordings=0)
    )
    broken = replace(figures, robustness={"x": (Point(float("nan"), figures.clips.accuracy),)})
    with pytest.raises(ValueError, match="not JSON compliant"):
        Report(evidence.spec, {}, QUICK, broken).as_json()
