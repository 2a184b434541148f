"""`earwitness model trigger` makes one for a model that was trained here, and says what it does."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from typer.testing import CliRunner

from earwitness.cli import app
from earwitness.triggering import Wanted, make_trigger, trials, windows_of
from models.compress.entry import Entry
from models.pool import make_pool
from models.recordings import Sources, read_heap
from models.session import open_session, score
from models.stage import Shares, Stage, StageSettings
from models.train import POOL
from models.train_settings import TrainSettings, claim
from models.trigger import TriggerSettings
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, SPEC_FILE, ModelSpec, file_digest, read_spec


@pytest.fixture(name="run", scope="module")
def _run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with windows of the recordings alone."""
    run, sources = tmp_path_factory.mktemp("run"), Sources(data)
    settings = StageSettings(shares=Shares(0.4, 0.2, 0.2, 0.2, variety=0.0, generated=0.0))
    claim(TrainSettings(sources, run))
    make_pool(Stage(read_heap(sources), settings), None, 400, 0, run / POOL, lambda _: None)
    return run


def given(entry: Entry, run: Path, data: Path, out: Path, *more: str) -> list[str]:
    command = ["model", "trigger", str(entry.directory), "--run", str(run), "--data", str(data)]
    return [*command, "--out", str(out), *more]


def with_spec(entry: Entry, directory: Path, **other: object) -> Entry:
    """Copy a model with other values in its spec."""
    shutil.copytree(entry.directory, directory)
    spec = ModelSpec.model_validate(entry.spec.model_dump() | other)
    (directory / SPEC_FILE).write_text(spec.model_dump_json(), encoding="utf-8")
    return Entry(directory, spec)


def test_a_trigger_is_written_and_measured(entry: Entry, data: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "edge" / "1"
    result = CliRunner().invoke(app, given(entry, run, data, out, "--fold", "2", "--steps", "80", "--json"))
    assert result.exit_code == 0, result.output
    said, spec = json.loads(result.stdout), read_spec(out)
    assert spec.reference == "edge/1"
    assert spec.labels == ("sound",)
    assert spec.thresholds["sound"] == said["threshold"]
    assert spec.digest == file_digest(out / MODEL_FILE)
    assert said["chosen"]["right"] >= 0.99 * said["chosen"]["all"] > 0
    assert said["passed"]["right"] > 0.5 * said["passed"]["all"] > 0
    assert said["rejected"]["all"] > 0
    assert said["background"] == "generated noise"
    assert said["after"]["file_bytes"] == (out / MODEL_FILE).stat().st_size
    silent = np.zeros((1, 16_000), np.int16)
    assert score(open_session(out / MODEL_FILE), silent)[0, 0] < said["threshold"]
    assert {file.name for file in out.iterdir()} >= {MODEL_FILE, SPEC_FILE, "model.ort"}
    assert not [other for other in out.parent.iterdir() if other != out]


def test_nothing_of_the_fold_that_measures_is_learned_or_chosen_by(
    entry: Entry, data: Path, run: Path
) -> None:
    [(pool, rows)] = windows_of(run, entry, 2)
    assert set(pool.fold[rows]) == {1}
    chooses, measures = trials(entry, read_heap(Sources(data)), 2)
    assert {row.fold for row in chooses.entries} == {1}
    assert {row.fold for row in measures.entries} == {2}


def never(_: float) -> None:
    """Stand for the progress of what must not begin."""
    raise AssertionError("something was learned")


@pytest.mark.parametrize(
    ("option", "given_as"),
    [
        ("--run", {"run": "{data}"}),
        ("--data", {"data": "{other}"}),
        ("--ambience", {"ambience": "{other}"}),
        ("--out", {"out": "{model}"}),
        ("--out", {"out": "{data}/labels.csv"}),
        ("--out", {"out": "{data}/labels.csv/edge/1"}),
        ("--out", {"out": "{tmp}/no name/1"}),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_learned(
    option: str, given_as: dict[str, str], entry: Entry, data: Path, run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(data, other)
    table = other / "labels.csv"
    table.write_text(table.read_text().replace(",1\n", ",3\n"), encoding="utf-8")
    places = {"data": data, "other": other, "model": entry.directory, "tmp": tmp_path}
    named = {name: Path(text.format(**places)) for name, text in given_as.items()}
    sources = Sources(named.get("data", data), tuple(named[key] for key in ["ambience"] if key in named))
    wanted = Wanted(entry, named.get("run", run), sources, 2, named.get("out", tmp_path / "edge" / "1"))
    before = entry.file.read_bytes()
    with pytest.raises(ConfigurationError) as refused:
        make_trigger(wanted, TriggerSettings(steps=20), never)
    assert option in str(refused.value)
    assert not (tmp_path / "edge").exists()
    assert entry.file.read_bytes() == before


def test_a_fold_that_is_not_there_or_a_folder_without_a_table_is_refused(
    entry: Entry, data: Path, run: Path, tmp_path: Path
) -> None:
    for sources, fold, named in ((Sources(data), 7, "--fold"), (Sources(tmp_path), 2, "labels.csv")):
        wanted = Wanted(entry, run, sources, fold, tmp_path / "edge" / "1")
        with pytest.raises(ConfigurationError, match=named):
            make_trigger(wanted, TriggerSettings(steps=20), never)


def test_ambience_is_that_of_the_run_and_of_the_fold(entry: Entry, data: Path, tmp_path: Path) -> None:
    """One file for each fold; what measures is not what chooses."""
    rooms, rng = tmp_path / "rooms", np.random.default_rng(3)
    rooms.mkdir()
    for number in (1, 2):
        soundfile.write(rooms / f"{number}.wav", rng.integers(-300, 300, 48_000).astype(np.int16), 16_000)
    (rooms / "labels.csv").write_text("path,label\n1.wav,room\n2.wav,room\n", encoding="utf-8")
    sources = Sources(data, (rooms,))
    chooses, measures = trials(entry, read_heap(sources), 2)
    for trial, number in ((chooses, 1), (measures, 2)):
        pcm, _ = soundfile.read(rooms / f"{number}.wav", dtype="int16")
        [behind] = trial.backgrounds
        assert np.array_equal(behind.pcm, pcm)
    run, stage = (
        tmp_path / "run",
        StageSettings(shares=Shares(0.4, 0.2, 0.2, 0.2, variety=0.0, generated=0.0)),
    )
    claim(TrainSettings(sources, run))
    make_pool(Stage(read_heap(sources), stage), None, 200, 0, run / POOL, lambda _: None)
    settings = TriggerSettings(shape="small", steps=20)
    made = make_trigger(Wanted(entry, run, sources, 2, tmp_path / "edge" / "1"), settings, lambda _: None)
    assert made.background == "ambience"
    assert made.figures.rejected.all == 5
    with pytest.raises(ConfigurationError, match="--ambience"):
        make_trigger(Wanted(entry, run, Sources(data, (data,)), 2, tmp_path / "edge" / "2"), settings, never)


@pytest.mark.parametrize(
    ("other", "named"), [({"hop_samples": 4000}, "8000 apart"), ({"sample_rate_hz": 8000}, "16000 Hz")]
)
def test_a_model_that_hears_other_windows_is_refused(
    other: dict[str, int], named: str, entry: Entry, data: Path, run: Path, tmp_path: Path
) -> None:
    changed = with_spec(entry, tmp_path / "three" / "2", **other)
    result = CliRunner().invoke(app, given(changed, run, data, tmp_path / "edge" / "1"))
    assert isinstance(result.exception, ConfigurationError), result.output
    assert named in str(result.exception)


def test_a_model_that_detects_nothing_has_no_trigger(
    entry: Entry, data: Path, run: Path, tmp_path: Path
) -> None:
    deaf = with_spec(entry, tmp_path / "three" / "2", m=300, n=300)
    out = tmp_path / "edge" / "1"
    result = CliRunner().invoke(app, given(deaf, run, data, out, "--steps", "20"))
    assert isinstance(result.exception, ConfigurationError), result.output
    assert "detects something" in str(result.exception)
    assert not out.exists()


def test_a_model_with_another_front_end_is_refused(
    entry: Entry, data: Path, run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "three" / "2"
    shutil.copytree(entry.directory, other)
    graph = onnx.load(other / MODEL_FILE)
    network = next(node for node in graph.graph.node if node.name.startswith("/network/")).input[0]
    louder = onnx.helper.make_node("Add", [network, network], ["louder"], "/louder")
    at = next(i for i, node in enumerate(graph.graph.node) if network in node.input)
    for node in graph.graph.node:
        node.input[:] = ["louder" if name == network else name for name in node.input]
    graph.graph.node.insert(at, louder)
    onnx.save(graph, other / MODEL_FILE)
    told = entry.spec.model_dump() | {"digest": file_digest(other / MODEL_FILE)}
    (other / SPEC_FILE).write_text(ModelSpec.model_validate(told).model_dump_json(), encoding="utf-8")
    changed = Entry(other, read_spec(other))
    result = CliRunner().invoke(app, given(changed, run, data, tmp_path / "edge" / "1", "--steps", "20"))
    assert isinstance(result.exception, ConfigurationError), result.output
    assert "front end" in str(result.exception)
