"""How a stranger's graph is fed and read is found out, or it is refused with the reason."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from models.foreign import PCM_SCALE, check_size, feeding, output_of, read_graph
from schemas.errors import ConfigurationError
from schemas.model import ModelInput
from tests.models.foreign_graphs import (
    COLUMNS,
    WINDOW,
    bands,
    several_outputs,
    two_inputs,
    with_custom_operator,
    with_weights_beside,
)

Dims = Sequence[int | str]


@pytest.mark.parametrize(
    ("shape", "kind", "batch", "rank"),
    [
        (("B", WINDOW), "float32", None, None),
        ((1, WINDOW), "float32", 1, None),
        ((4, WINDOW), "int16", 4, None),
        ((WINDOW,), "float32", 1, 1),
        (("B", WINDOW), "int16", None, None),
    ],
)
def test_how_a_graph_is_fed_is_what_its_input_says(
    tmp_path: Path, shape: Dims, kind: str, batch: int | None, rank: int | None
) -> None:
    fed = feeding(read_graph(bands(tmp_path / "m.onnx", shape, kind), "m"))
    scale = PCM_SCALE if kind == "float32" else 1.0
    wanted = {"name": "sound", "dtype": kind, "scale": scale, "batch": batch, "rank": rank}
    assert (fed.input, fed.window_samples) == (ModelInput.model_validate(wanted), WINDOW)
    assert output_of(read_graph(tmp_path / "m.onnx", "m"), fed, COLUMNS) == "scores"


def test_what_is_given_fills_in_what_a_graph_leaves_open(tmp_path: Path) -> None:
    graph = read_graph(bands(tmp_path / "m.onnx", ("B", "samples")), "m")
    fed = feeding(graph, WINDOW, 1, 0.5)
    assert (fed.window_samples, fed.input.batch, fed.input.scale) == (WINDOW, 1, 0.5)


@pytest.mark.parametrize(
    ("shape", "kind", "given", "message"),
    [
        (("B", "samples"), "float32", {}, "--window-samples is None; accepted: the samples of a window"),
        (("B", WINDOW), "float32", {"window_samples": 8}, "--window-samples is 8; accepted: 390, which is"),
        (
            (1, WINDOW),
            "float32",
            {"batch": 2},
            "--batch is 2; accepted: 1, which is all that the graph takes",
        ),
        ((WINDOW,), "float32", {"batch": 2}, "--batch is 2; accepted: 1, which is all that the graph takes"),
        (("B", WINDOW), "float32", {"scale": 0.0}, "--scale is 0.0; accepted: more than 0"),
        (("B", WINDOW), "int16", {"scale": 0.5}, "--scale is 0.5; accepted: nothing: sound tensor(int16)"),
        (("B", 1, WINDOW), "float32", {}, "tensor(float)[any, 1, 390]'; accepted: int16 or float32"),
        (("B", WINDOW), "float64", {}, "tensor(double)[any, 390]'; accepted: int16 or float32"),
        (("B", WINDOW), "float32", {"batch": 4097}, "--batch is 4097; accepted: 1 to 4096"),
    ],
)
def test_an_input_that_cannot_be_fed_is_refused(
    tmp_path: Path, shape: Dims, kind: str, given: dict[str, int], message: str
) -> None:
    graph = read_graph(bands(tmp_path / "m.onnx", shape, kind), "m")
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        feeding(graph, **given)


def test_of_several_outputs_with_as_many_columns_one_has_to_be_named(tmp_path: Path) -> None:
    graph = read_graph(several_outputs(tmp_path / "m.onnx"), "m")
    fed = feeding(graph)
    with pytest.raises(ConfigurationError, match="one of the outputs with 4 columns: scores, other_scores"):
        output_of(graph, fed, COLUMNS)
    assert output_of(graph, fed, COLUMNS, "other_scores") == "other_scores"
    assert output_of(graph, fed, WINDOW) == "inside"


@pytest.mark.parametrize(
    ("labels", "named", "message"),
    [
        (5, None, "--labels is '5 labels'; accepted: as many as an output has columns: inside [2, 390], sc"),
        (5, "scores", "--labels is '5 labels'; accepted: as many as an output has columns: scores [2, 4]"),
        (4, "score", "--output is 'score'; accepted: an output of the graph with scores: inside"),
    ],
)
def test_labels_that_no_output_has_are_refused_with_what_there_is(
    tmp_path: Path, labels: int, named: str | None, message: str
) -> None:
    graph = read_graph(several_outputs(tmp_path / "m.onnx"), "m")
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        output_of(graph, feeding(graph), labels, named)


def test_scores_that_are_not_one_row_a_window_are_refused(tmp_path: Path) -> None:
    head = [onnx.helper.make_node("Concat", ["bands", "bands"], ["scores"], axis=0)]
    path = bands(tmp_path / "m.onnx", (1, WINDOW), head=head, outputs={"scores": (2, COLUMNS)})
    graph = read_graph(path, "m")
    with pytest.raises(ConfigurationError, match=r"shape of output scores is \[2, 4\]; accepted: \[1, 4\]"):
        output_of(graph, feeding(graph), COLUMNS)


def test_a_graph_that_does_not_run_as_it_says_is_refused(tmp_path: Path) -> None:
    path = bands(tmp_path / "m.onnx", ("B", "samples"))
    graph = read_graph(path, "m")
    with pytest.raises(ConfigurationError, match=r"runs on silence of shape \[2, 8\], or --batch 1"):
        output_of(graph, feeding(graph, 8), COLUMNS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (with_custom_operator, "loads as it comes. It uses operators of org.example.ears"),
        (
            with_weights_beside,
            "one file that has all weights: its digest covers them; not also ['weights.bin']",
        ),
        (two_inputs, "with inputs sound tensor(float)[any, 390], rate tensor(float)[1]"),
    ],
)
def test_a_graph_that_could_not_be_run_elsewhere_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        read_graph(make(tmp_path / "m.onnx"), "m")


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x09", bytes(range(256))])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ConfigurationError, match="FILE is 'm'"):
        read_graph(tmp_path / "m.onnx", "m")


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"FILE is .*m.onnx'; accepted: an .onnx file"):
        check_size(tmp_path / "m.onnx")
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(ConfigurationError, match=r"1073741825 bytes'; accepted: an \.onnx file of 1 to 10"):
        check_size(tmp_path / "large.onnx")


def test_silence_has_the_shape_that_the_graph_takes(tmp_path: Path) -> None:
    fed = feeding(read_graph(bands(tmp_path / "m.onnx", (WINDOW,)), "m"))
    assert fed.silence().shape == (WINDOW,)
    assert fed.silence().dtype == np.float32
