"""A stranger's file becomes a model of the catalogue that scores as the file does, or is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from earwitness.cli import app
from earwitness.import_checks import signals
from models.catalogue import find, names
from processors.score import OnnxScorer
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, file_digest, read_spec
from tests.models.foreign_graphs import (
    RATE_HZ,
    WINDOW,
    bands,
    expected,
    high_in_silence,
    logits,
    not_a_number_when_loud,
    quantised_by_company,
    random,
    several_outputs,
)

LABELS = ("low", "middle", "high", "top")
PCM_SCALE = 1 / 32_768
MANY = 500


def run(file: Path, *more: str, labels: tuple[str, ...] = LABELS) -> Result:
    """Import a file into the catalogue beside it."""
    listed = file.with_name("labels.txt")
    listed.write_text("\n".join(labels), "utf-8")
    given = ["--labels", str(listed), "--out", str(file.parent / "out"), "--licence", "MIT; somebody"]
    return CliRunner().invoke(app, ["model", "import", str(file), *given, "--sample-rate-hz", "8000", *more])


def imported(file: Path, *more: str, labels: tuple[str, ...] = LABELS) -> Path:
    result = run(file, *more, labels=labels)
    assert result.exit_code == 0, result.output + str(result.exception)
    return file.parent / "out" / file.stem / "1"


def refusal(file: Path, *more: str, labels: tuple[str, ...] = LABELS) -> str:
    """Return why a file is refused; nothing of it is left in the catalogue."""
    result = run(file, *more, labels=labels)
    assert isinstance(result.exception, ConfigurationError), result.output
    assert not (file.parent / "out").exists()
    return str(result.exception)


def theirs(model: Path, pcm: NDArray[np.int16], output: str = "scores", scale: float = PCM_SCALE) -> Any:
    """What ONNX Runtime gives for the file itself, one window after another."""
    session = onnxruntime.InferenceSession(str(model))
    (node,) = session.get_inputs()
    floats = node.type == "tensor(float)"
    rows = pcm.astype(np.float32) * np.float32(scale) if floats else pcm
    feed = [row if len(node.shape) == 1 else row[None] for row in rows]
    return np.concatenate([np.reshape(session.run([output], {node.name: row})[0], (1, -1)) for row in feed])


def ours(directory: Path, pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    return OnnxScorer(directory, read_spec(directory)).run(pcm)


def pcm() -> NDArray[np.int16]:
    return signals(9, WINDOW, RATE_HZ)


@pytest.mark.parametrize("shape", [("B", WINDOW), (1, WINDOW), (WINDOW,)])
@pytest.mark.parametrize("kind", ["float32", "int16"])
def test_scores_are_those_of_the_file(tmp_path: Path, shape: tuple[int | str, ...], kind: str) -> None:
    # PCM as it is would be far outside of 0 to 1.
    more = ["--activation", "sigmoid", "--threshold", "0.75"] if kind == "int16" else []
    directory = imported(bands(tmp_path / "m.onnx", shape, kind), *more)
    raw = theirs(tmp_path / "m.onnx", pcm()).astype(np.float64)
    np.testing.assert_allclose(raw, expected(pcm(), 1.0 if kind == "int16" else PCM_SCALE), rtol=1e-4)
    wanted = 1 / (1 + np.exp(-raw)) if kind == "int16" else raw
    np.testing.assert_allclose(ours(directory, pcm()), wanted, atol=1e-6)
    spec = read_spec(directory)
    assert (spec.window_samples, spec.hop_samples, spec.sample_rate_hz) == (WINDOW, WINDOW // 2, RATE_HZ)
    assert (spec.labels, spec.output.width, spec.m, spec.n) == (LABELS, None, 2, 3)


def test_the_file_is_copied_as_it_is_and_the_directory_is_a_model_of_the_catalogue(tmp_path: Path) -> None:
    directory = imported(bands(tmp_path / "m.onnx"))
    assert (directory / MODEL_FILE).read_bytes() == (tmp_path / "m.onnx").read_bytes()
    assert read_spec(directory).digest == file_digest(tmp_path / "m.onnx")
    assert names(tmp_path / "out") == ["m/1"]
    assert find("m/1", tmp_path / "out") == directory
    assert sorted(path.name for path in directory.iterdir()) == ["CARD.md", "model.onnx", "spec.json"]
    assert [path.name for path in directory.parent.iterdir()] == ["1"]


def test_the_card_says_what_it_is_and_what_was_tried(tmp_path: Path) -> None:
    directory = imported(several_outputs(tmp_path / "m.onnx"), "--output", "scores", "--report", "top")
    card = (directory / "CARD.md").read_text("utf-8")
    assert "`m.onnx`" in card
    assert file_digest(tmp_path / "m.onnx") in card
    assert "MIT; somebody" in card
    assert "| top | 0.5 | itself |" in card
    assert "the file names 4 labels, 1 are reported" in card
    assert re.search(r"Every window alone, and in \d+ batches of up to 64: scores are equal to the bit", card)


def test_a_named_output_of_several_is_used(tmp_path: Path) -> None:
    several_outputs(tmp_path / "m.onnx")
    assert "one of the outputs with 4 columns: scores, other_scores" in refusal(tmp_path / "m.onnx")
    directory = imported(tmp_path / "m.onnx", "--output", "other_scores")
    np.testing.assert_allclose(
        ours(directory, pcm()), theirs(tmp_path / "m.onnx", pcm(), "other_scores"), atol=1e-6
    )


def test_of_five_hundred_labels_groups_get_their_highest_member_and_the_rest_is_left_out(
    tmp_path: Path,
) -> None:
    labels = tuple(f"class {at}" for at in range(MANY))
    (tmp_path / "groups.csv").write_text(
        "label,member\nours,class 7\nours,class 499\nours,class 0\nother,class 3\n", "utf-8"
    )
    file = bands(tmp_path / "m.onnx", columns=MANY)
    directory = imported(
        file,
        *("--groups", str(tmp_path / "groups.csv"), "--report", "class 12", "--report", "ours"),
        labels=labels,
    )
    raw, spec = theirs(file, pcm()), read_spec(directory)
    assert (spec.labels, spec.output.width) == (("class 12", "ours"), MANY)
    wanted = np.stack([raw[:, 12], raw[:, [7, 499, 0]].max(axis=1)], axis=1)
    assert ours(directory, pcm()).shape == (9, 2)
    np.testing.assert_allclose(ours(directory, pcm()), wanted, atol=1e-7)
    assert "| ours | 0.5 | class 7; class 499; class 0 |" in (directory / "CARD.md").read_text("utf-8")


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_logits_are_refused_until_it_is_said_what_makes_scores_of_them(
    tmp_path: Path, activation: str
) -> None:
    file = logits(tmp_path / "m.onnx")
    message = refusal(file)
    assert message.startswith("the model's output is 'from -6 to ")
    assert "pass --activation sigmoid where several labels may hold at once, --activation softmax" in message
    raw = theirs(imported(file, "--activation", activation) / MODEL_FILE, pcm()).astype(np.float64)
    shares = np.exp(raw - raw.max(axis=1, keepdims=True))
    wanted = 1 / (1 + np.exp(-raw)) if activation == "sigmoid" else shares / shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours(tmp_path / "out/m/1", pcm()), wanted, atol=1e-6)


def test_an_activation_on_top_of_scores_is_warned_of(tmp_path: Path) -> None:
    result = run(bands(tmp_path / "m.onnx"), "--activation", "softmax")
    assert "are these scores already? Then pass --activation none instead of softmax" in result.output


@pytest.mark.parametrize("shape", [("B", WINDOW), (4, WINDOW)])
def test_scores_that_depend_on_their_company_are_refused_with_by_how_much(
    tmp_path: Path, shape: tuple[int | str, ...]
) -> None:
    message = refusal(quantised_by_company(tmp_path / "m.onnx", shape=shape))
    found = re.search(r"the score of a window is 'off by up to (\S+) from what it is alone", message)
    assert found
    assert 1e-4 < float(found[1]) < 0.1
    assert re.search(r"in batches of 2, 3", message)
    assert ("--batch 1" in message) == (shape[0] == "B")


def test_what_depends_on_its_company_can_be_kept_alone(tmp_path: Path) -> None:
    directory = imported(quantised_by_company(tmp_path / "m.onnx"), "--batch", "1")
    np.testing.assert_array_equal(ours(directory, pcm()), theirs(tmp_path / "m.onnx", pcm()))


@pytest.mark.parametrize(
    ("make", "more", "message"),
    [
        (not_a_number_when_loud, (), r"the model's output is 'not a number, or infinite, for \d+ of 64"),
        (random, (), "different by .* when it is scored once more.*an operator is random"),
        (high_in_silence, (), "what is heard in silence is 'low 1, middle 1, high 1, top 1'"),
        (bands, ("--hop-samples", "391"), "hop_samples 391 is more than window_samples 390"),
        (bands, ("--m", "4"), "m 4 of n 3 windows can never be reached"),
        (bands, ("--name", "../up"), "name: String should match pattern"),
        (bands, ("--version", "a/b"), "version: String should match pattern"),
        (bands, ("--threshold", "0"), "thresholds.low: Input should be greater than 0"),
        (bands, ("--sample-rate-hz", "10"), "sample_rate_hz: Input should be greater than"),
        (bands, ("--in-silence", "hush"), "--in-silence is .'hush'.; accepted: labels that are reported"),
        (bands, ("--licence", " "), "--licence is ' '"),
        (bands, ("--output", "none"), "--output is 'none'; accepted: an output of the graph"),
    ],
)
def test_what_cannot_be_trusted_or_cannot_work_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], more: tuple[str, ...], message: str
) -> None:
    assert re.search(message, refusal(make(tmp_path / "m.onnx"), *more))


def test_labels_may_be_heard_in_silence_where_that_is_said(tmp_path: Path) -> None:
    said = [word for label in LABELS for word in ("--in-silence", label)]
    directory = imported(high_in_silence(tmp_path / "m.onnx"), *said)
    assert "allowed to reach their thresholds: low, middle, high, top" in (directory / "CARD.md").read_text()


def test_another_number_of_labels_is_refused(tmp_path: Path) -> None:
    message = refusal(bands(tmp_path / "m.onnx"), labels=LABELS[:3])
    assert message == "--labels is '3 labels'; accepted: as many as an output has columns: scores [2, 4]"


def test_thresholds_of_single_labels_go_before_the_common_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,threshold\nhigh,0.25\n")
    more = ["--thresholds", str(tmp_path / "t.csv"), "--threshold", "0.75", "--m", "1", "--n", "1"]
    spec = read_spec(imported(bands(tmp_path / "m.onnx"), *more))
    assert spec.thresholds == {"low": 0.75, "middle": 0.75, "high": 0.25, "top": 0.75}
    assert (spec.m, spec.n) == (1, 1)
    (tmp_path / "t.csv").write_text("label,threshold\nhiss,0.25\n")
    odd = run(tmp_path / "m.onnx", "--version", "2", *more)
    assert "--thresholds is ['hiss']; accepted: labels that are reported" in str(odd.exception)


def test_a_version_that_is_there_is_never_changed(tmp_path: Path) -> None:
    directory = imported(bands(tmp_path / "m.onnx"))
    before = (directory / "spec.json").read_bytes()
    again = run(tmp_path / "m.onnx", "--threshold", "0.9")
    assert "a version that is not there yet" in str(again.exception)
    assert (directory / "spec.json").read_bytes() == before


def test_what_was_made_is_told_as_json(tmp_path: Path) -> None:
    result = run(bands(tmp_path / "m.onnx"), "--json")
    said = json.loads(result.stdout)
    assert said["directory"] == str(tmp_path / "out/m/1")
    assert said["labels"] == list(LABELS)
    assert len(said["checks"]) == 4
    assert said["warnings"] == []


def test_signals_go_from_hardly_audible_to_clipped_and_no_two_are_alike() -> None:
    peaks = np.abs(signals(64, WINDOW, RATE_HZ).astype(int)).max(axis=1)
    assert peaks[0] == 3
    assert peaks[-1] >= 32_767
    assert (np.diff(np.minimum(peaks, 32_767)) >= 0).all()
    assert len(np.unique(signals(64, WINDOW, RATE_HZ), axis=0)) == 64
