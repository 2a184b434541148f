"""A graph is fed as its spec says, gives what its spec says, or is refused with the reason."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from processors.readout import Readout
from processors.score import OnnxScorer, ScorerSettings
from schemas.errors import ConfigurationError, ScorerError
from schemas.model import MODEL_FILE, ModelInput, ModelOutput, ModelSpec, file_digest
from tests.models.foreign_graphs import COLUMNS, bands, expected
from tests.models.foreign_graphs import WINDOW as BANDS_WINDOW
from tests.processors.tiny_model import (
    LABELS,
    WINDOW,
    expected_raw,
    loudness,
    loudness_of_one_length,
    loudness_that_fails_when_loud,
    write_model,
)

Pcm = NDArray[np.int16]
EPSILON = 2e-6


def windows(count: int, seed: int = 0) -> Pcm:
    """Draw windows of noise, each of another loudness; int16[count, WINDOW]."""
    rng = np.random.default_rng(seed)
    loudest = rng.integers(1, 32_767, size=(count, 1))
    return rng.integers(-loudest, loudest + 1, size=(count, WINDOW)).astype(np.int16)


def scorer_of(directory: Path, **spec: Any) -> OnnxScorer:
    """Write a model and load it."""
    return OnnxScorer(directory, write_model(directory, **spec))


def test_int16_goes_in_as_it_is(tmp_path: Path) -> None:
    pcm = windows(3)
    scores = scorer_of(tmp_path).run(pcm)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected_raw(pcm), atol=EPSILON)


def test_float32_input_is_scaled(tmp_path: Path) -> None:
    pcm = windows(3)
    scores = scorer_of(tmp_path, input={"dtype": "float32", "scale": 0.5}).run(pcm)
    np.testing.assert_allclose(scores, expected_raw(pcm) / 2, atol=EPSILON)


@pytest.mark.parametrize("given_windows", [1, 3, 4, 5, 8, 9])
def test_a_graph_of_one_batch_size_takes_any_number_of_windows(tmp_path: Path, given_windows: int) -> None:
    pcm = windows(given_windows)
    scores = scorer_of(tmp_path, input={"batch": 4}).run(pcm)
    assert scores.shape == (given_windows, len(LABELS))
    np.testing.assert_allclose(scores, expected_raw(pcm), atol=EPSILON)


def test_sigmoid_makes_probabilities_of_logits(tmp_path: Path) -> None:
    pcm = windows(4)
    scores = scorer_of(tmp_path, output={"activation": "sigmoid"}).run(pcm)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-expected_raw(pcm))), atol=EPSILON)


def test_sigmoid_of_a_huge_logit_is_zero_or_one_and_warns_of_nothing(tmp_path: Path) -> None:
    fed = {"dtype": "float32", "scale": 1000.0}
    scores = scorer_of(tmp_path, input=fed, output={"activation": "sigmoid"}).run(
        np.full((1, WINDOW), -32_768, np.int16)
    )
    assert scores.tolist() == [[1.0, 0.0]]


def test_a_label_has_the_highest_of_its_columns(tmp_path: Path) -> None:
    pcm, members = windows(5), {"any": (1, 0), "mean": (1,)}
    raw = expected_raw(pcm)
    scores = scorer_of(tmp_path, **reported(members)).run(pcm)
    assert scores.shape == (5, 2)
    np.testing.assert_allclose(scores, np.stack([raw.max(axis=1), raw[:, 1]], axis=1), atol=EPSILON)


def test_labels_of_one_column_each_may_be_fewer_and_in_another_order(tmp_path: Path) -> None:
    pcm = windows(5)
    assert scorer_of(tmp_path, **reported({"mean": (1,)})).run(pcm).shape == (5, 1)
    swapped = scorer_of(tmp_path, **reported({"mean": (1,), "peak": (0,)})).run(pcm)
    np.testing.assert_allclose(swapped, expected_raw(pcm)[:, ::-1], atol=EPSILON)


def test_softmax_is_over_all_columns_not_only_those_that_are_reported(tmp_path: Path) -> None:
    pcm = windows(4)
    spec = reported({"peak": (0,)})
    spec["output"]["activation"] = "softmax"
    powers = np.exp(expected_raw(pcm))
    wanted = powers[:, :1] / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scorer_of(tmp_path, **spec).run(pcm), wanted, atol=EPSILON)


def reported(members: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return what a spec says whose labels are made of the graph's two columns."""
    thresholds = dict.fromkeys(members, 0.5)
    return {
        "labels": tuple(members),
        "thresholds": thresholds,
        "output": {"width": 2, "columns": members},
    }


@settings(deadline=None)
@given(data=st.data(), width=st.integers(1, 40), rows=st.integers(1, 5))
def test_what_is_read_out_is_what_its_definition_says(data: st.DataObject, width: int, rows: int) -> None:
    members = st.lists(st.integers(0, width - 1), min_size=1, max_size=width, unique=True)
    groups = data.draw(st.lists(members, min_size=1, max_size=12))
    raw = np.random.default_rng(width).random((rows, width), np.float32)
    columns = {str(at): tuple(group) for at, group in enumerate(groups)}
    scores = Readout(spec_of(columns, width))(raw)
    for at, group in enumerate(groups):
        np.testing.assert_array_equal(scores[:, at], [max(row[column] for column in group) for row in raw])


def spec_of(columns: dict[str, tuple[int, ...]], width: int) -> ModelSpec:
    return ModelSpec(
        name="wide",
        version="1",
        sample_rate_hz=16_000,
        window_samples=WINDOW,
        hop_samples=WINDOW,
        labels=tuple(columns),
        thresholds=dict.fromkeys(columns, 0.5),
        m=1,
        n=1,
        licence="Apache-2.0",
        digest="0" * 64,
        output=ModelOutput(width=width, columns=columns),
    )


@pytest.mark.parametrize("rank_of_output", [1, 2])
def test_a_graph_that_knows_of_no_batch_takes_one_window_after_another(
    tmp_path: Path, rank_of_output: int
) -> None:
    shape = (COLUMNS,) if rank_of_output == 1 else (1, COLUMNS)
    head = [] if rank_of_output == 1 else [onnx.helper.make_node("Unsqueeze", ["bands", "front"], ["scores"])]
    constants = {} if rank_of_output == 1 else {"front": np.array([0], np.int64)}
    graph = bands(
        tmp_path / MODEL_FILE, (BANDS_WINDOW,), head=head, outputs={"scores": shape}, constants=constants
    )
    columns = {"all": tuple(range(COLUMNS))}
    spec = spec_of(columns, COLUMNS).model_copy(
        update={
            "window_samples": BANDS_WINDOW,
            "input": ModelInput(name="sound", dtype="float32", scale=1 / 32_768, batch=1, rank=1),
            "digest": file_digest(graph),
        }
    )
    pcm = np.random.default_rng(5).integers(-9000, 9000, (3, BANDS_WINDOW)).astype(np.int16)
    wanted = expected(pcm, 1 / 32_768).max(axis=1, keepdims=True)
    np.testing.assert_allclose(OnnxScorer(tmp_path, spec).run(pcm), wanted, atol=EPSILON)


def test_an_output_of_another_width_is_refused(tmp_path: Path) -> None:
    spec = reported({"peak": (0,)})
    spec["output"]["width"] = 3
    with pytest.raises(ConfigurationError, match=r"output.width is '\[B, 3\]'; accepted: the graph's shape"):
        scorer_of(tmp_path, **spec)


def without_a_shape(directory: Path, **spec: Any) -> ModelSpec:
    """Write a model whose graph does not say what shape its output has."""
    written = write_model(directory, **spec)
    model = onnx.load(directory / MODEL_FILE)
    name, make = model.graph.output[0].name, onnx.helper.make_node
    for node in model.graph.node:
        node.output[:] = ["before" if output == name else output for output in node.output]
    model.graph.node.extend(
        [
            make("Shape", ["before"], ["shape"]),
            make("Cast", ["shape"], ["shape_as_float"], to=onnx.TensorProto.FLOAT),
            make("Cast", ["shape_as_float"], ["computed_shape"], to=onnx.TensorProto.INT64),
            make("Compress", ["computed_shape", "all"], ["any_number_of_them"]),
            make("Reshape", ["before", "any_number_of_them"], [name]),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.bool_), "all"))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, directory / MODEL_FILE)
    return written.model_copy(update={"digest": file_digest(directory / MODEL_FILE)})


def test_a_graph_that_does_not_say_its_outputs_shape_is_taken_if_it_gives_the_right_one(
    tmp_path: Path,
) -> None:
    pcm = windows(3)
    scores = OnnxScorer(tmp_path, without_a_shape(tmp_path)).run(pcm)
    np.testing.assert_allclose(scores, expected_raw(pcm), atol=EPSILON)


def test_and_is_refused_by_what_it_gives_if_not(tmp_path: Path) -> None:
    spec = reported({"peak": (0,)})
    spec["output"]["width"] = 3
    with pytest.raises(ConfigurationError, match=r"scores of shape \(1, 2\); accepted: \(1, 3\)"):
        OnnxScorer(tmp_path, without_a_shape(tmp_path, **spec))


def test_softmax_makes_scores_that_add_up_to_one_even_of_huge_logits(tmp_path: Path) -> None:
    fed, pcm = {"dtype": "float32", "scale": 1000.0}, windows(4)
    scores = scorer_of(tmp_path, input=fed, output={"activation": "softmax"}).run(pcm)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=EPSILON)
    assert (scores[:, 0] > scores[:, 1]).all()


@settings(max_examples=40, deadline=None)
@given(at=st.integers(0, 63), company=st.integers(1, 64), seed=st.integers(0, 1000))
def test_a_row_is_the_same_to_the_bit_in_any_company(
    tmp_path_factory: pytest.TempPathFactory, at: int, company: int, seed: int
) -> None:
    scorer = scorer_of(tmp_path_factory.mktemp("model"), output={"activation": "softmax"})
    pcm = windows(company, seed)
    at %= company
    assert scorer.run(pcm)[at].tobytes() == scorer.run(pcm[at : at + 1])[0].tobytes()


async def test_batches_are_scored_on_threads_at_once(tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    scorer = OnnxScorer(tmp_path, spec, ScorerSettings(threads=2))
    pcm = windows(5)
    assert scorer.concurrency == 2
    assert (await scorer.score(pcm)).scores.tobytes() == scorer.run(pcm).tobytes()
    await scorer.close()


def test_the_scoring_identity_names_runtime_version_and_provider(tmp_path: Path) -> None:
    runtime, version, provider = scorer_of(tmp_path).identity.split("/")
    assert (runtime, provider) == ("onnxruntime", "CPUExecutionProvider")
    assert version


def test_an_error_of_the_runtime_is_a_scorers_error(tmp_path: Path) -> None:
    scorer = scorer_of(tmp_path, graph=loudness_that_fails_when_loud())
    scorer.run(np.full((1, WINDOW), 1000, np.int16))
    with pytest.raises(ScorerError, match=r"onnxruntime: .*Gather"):
        scorer.run(np.full((1, WINDOW), 30_000, np.int16))


def test_an_input_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"input\.name is 'sound'; .*\['audio'\]"):
        scorer_of(tmp_path, input={"name": "sound"})


def test_an_output_that_the_graph_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"output\.name is 'logits'; .*\['scores'\]"):
        scorer_of(tmp_path, output={"name": "logits"})


def test_an_input_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"input\.dtype is 'float32'; .*tensor\(int16\)"):
        scorer_of(tmp_path, graph=loudness("int16"), input={"dtype": "float32"})


def test_a_window_of_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"window_samples is '\[B, 3200\]'; .*'B', 8000"):
        scorer_of(tmp_path, graph=loudness(window=8000))


def test_a_batch_size_that_the_spec_does_not_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\[B, 3200\]'; .*\[4, 3200\]"):
        scorer_of(tmp_path, graph=loudness(batch=4))
    with pytest.raises(ConfigurationError, match=r"\[8, 3200\]'; .*\[4, 3200\]"):
        scorer_of(tmp_path, graph=loudness(batch=4), input={"batch": 8})


def test_another_number_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"labels is '\[B, 1\]'; .*\['B', 2\]"):
        scorer_of(tmp_path, labels=("loud",), thresholds={"loud": 0.5})


def test_a_graph_that_does_not_say_its_length_takes_the_specs(tmp_path: Path) -> None:
    pcm = windows(2)
    scores = scorer_of(tmp_path, graph=loudness(window="samples")).run(pcm)
    np.testing.assert_allclose(scores, expected_raw(pcm), atol=EPSILON)


def test_a_graph_that_cannot_run_the_specs_windows_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.path.*scores a window of 3200 samples"):
        scorer_of(tmp_path, graph=loudness_of_one_length(8000))


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ConfigurationError, match=r"model\.path.*an ONNX graph that loads"):
        OnnxScorer(tmp_path, spec)


@pytest.mark.parametrize("threads", [0, 257])
def test_a_number_of_threads_that_cannot_work_is_refused(threads: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"scorer\.threads is {threads}; accepted: 1 to 256"):
        ScorerSettings(threads=threads)
