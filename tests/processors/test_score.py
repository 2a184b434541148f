"""A graph is fed as its spec says, gives what its spec says, or is refused with the reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from processors.score import OnnxScorer, ScorerSettings
from schemas.errors import ConfigurationError, ScorerError
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
