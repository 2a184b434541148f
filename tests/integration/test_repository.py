"""What `earwitness model repository` writes is served by a real Triton, and scores as it does in process."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException
from typer.testing import CliRunner

from earwitness.cli import app
from earwitness.repository import write_models
from infra.local.triton import TritonServer, start_triton
from infra.local.triton_installation import TritonInstallation
from models.catalogue import find, names
from models.repository import write_repository
from processors.score import OnnxScorer
from producers.clips import ClipPool
from schemas.model import ModelSpec, read_spec
from tests.conftest import TritonServers
from tests.integration.harness import wait_until
from tests.processors.tiny_model import WINDOW, loudness_that_fails_when_loud, write_model

PYTHON = {"backend": "python"}
SHIPPED = find("earwitness-small/2")
TRITON_TYPES = {"int16": "INT16", "float32": "FP32"}
DEADLINE_S, LONG_US = 30.0, 1_000_000
GATHERED = 8
"""The smallest preferred size of up to 32 windows."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server, what it serves, and where each model came from."""

    server: TritonServer
    client: InferenceServerClient
    sources: dict[str, Path]


@pytest.fixture(scope="module")
def served(
    triton_installation: TritonInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server with the model that ships, one with float input, one with a fixed batch, one that can fail."""
    made, out = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("out")
    write_model(made / "float", name="float", input={"dtype": "float32", "scale": 1 / 32_768})
    write_model(made / "fixed", name="fixed", input={"batch": 4})
    write_model(made / "fails", loudness_that_fails_when_loud(), name="fails")
    sources = {"earwitness-small": SHIPPED, **{path.name: path for path in made.iterdir()}}
    write_repository(out, [sources[name] for name in ("earwitness-small", "float", "fixed")], PYTHON)
    write_repository(out, [sources["fails"]], {**PYTHON, "queue_delay_us": LONG_US})
    with start_triton(out, sorted(sources)) as server:
        yield Served(server, InferenceServerClient(server.url), sources)


def asked(spec: ModelSpec, pcm: NDArray[np.int16]) -> list[InferInput]:
    """Turn PCM into what a model of this spec is fed with."""
    fed = spec.input
    values = pcm if fed.dtype == "int16" else pcm.astype(np.float32) * np.float32(fed.scale)
    tensor = InferInput(fed.name, list(values.shape), TRITON_TYPES[fed.dtype])
    tensor.set_data_from_numpy(values)
    return [tensor]


def triton_scores(
    client: InferenceServerClient, spec: ModelSpec, pcm: NDArray[np.int16], version: str = ""
) -> NDArray[np.float32]:
    result = client.infer(spec.name, asked(spec, pcm), model_version=version)
    scores: NDArray[np.float32] = result.as_numpy(spec.output.name)
    return scores


def scores_in_process(directory: Path, pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    scorer = OnnxScorer(directory, read_spec(directory))
    try:
        return scorer.run(pcm)
    finally:
        asyncio.run(scorer.close())


def noise(rows: int, samples: int, seed: int = 1) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-8_000, 8_000, (rows, samples)).astype(np.int16)


def statistics(client: InferenceServerClient, name: str, version: str = "1") -> Any:
    (found,) = client.get_inference_statistics(name, version).model_stats
    return found


@pytest.mark.parametrize("rows", [1, 7, 32])
def test_recorded_sound_scores_as_in_process_to_the_bit(
    served: Served, recordings: ClipPool, rows: int
) -> None:
    spec = read_spec(SHIPPED)
    sound = np.concatenate([clip.samples for clip in recordings.clips])
    pcm = np.resize(sound, (rows, spec.window_samples))
    expected = scores_in_process(SHIPPED, pcm)
    np.testing.assert_array_equal(triton_scores(served.client, spec, pcm), expected)


@pytest.mark.parametrize("rows", [1, 7, 32])
def test_float_input_scores_as_in_process_to_the_bit(served: Served, rows: int) -> None:
    spec, pcm = read_spec(served.sources["float"]), noise(rows, WINDOW)
    expected = scores_in_process(served.sources["float"], pcm)
    np.testing.assert_array_equal(triton_scores(served.client, spec, pcm), expected)


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_a_graph_of_one_batch_size_takes_fewer_windows(served: Served, rows: int) -> None:
    spec, pcm = read_spec(served.sources["fixed"]), noise(rows, WINDOW)
    expected = scores_in_process(served.sources["fixed"], pcm)
    np.testing.assert_array_equal(triton_scores(served.client, spec, pcm), expected)


def test_every_size_was_warmed_before_the_model_was_ready(
    triton_servers: TritonServers, tmp_path: Path
) -> None:
    write_repository(tmp_path, [SHIPPED], {**PYTHON, "max_batch": 24})
    client = InferenceServerClient(triton_servers(tmp_path, ["earwitness-small"]).url)
    warmed = statistics(client, "earwitness-small", "2").batch_stats
    assert {each.batch_size: each.compute_infer.count for each in warmed} == dict.fromkeys(
        (1, 2, 4, 8, 16, 24), 1
    )


def ask_at_once(client: InferenceServerClient, spec: ModelSpec, windows: NDArray[np.int16]) -> list[Any]:
    """Ask for each window by itself, all at once; return scores or errors, in order."""
    answers: dict[int, Any] = {}
    for index, window in enumerate(windows):

        def keep(result: Any, error: Any, index: int = index) -> None:
            answers[index] = error if error is not None else result.as_numpy(spec.output.name)

        client.async_infer(spec.name, asked(spec, window[np.newaxis]), keep)
    wait_until(lambda: len(answers) == len(windows), "every answer", DEADLINE_S)
    return [answers[index] for index in range(len(windows))]


def test_requests_that_wait_are_scored_in_one_run_and_each_gets_its_own(served: Served) -> None:
    spec, pcm = read_spec(served.sources["fails"]), noise(GATHERED, WINDOW)
    before = statistics(served.client, "fails").execution_count
    answers = ask_at_once(served.client, spec, pcm)
    assert statistics(served.client, "fails").execution_count == before + 1
    expected = scores_in_process(served.sources["fails"], pcm)
    np.testing.assert_array_equal(np.concatenate(answers), expected)


def test_a_request_that_fails_does_so_alone(served: Served) -> None:
    spec, pcm = read_spec(served.sources["fails"]), noise(GATHERED, WINDOW)
    pcm[3] = 30_000
    answers = ask_at_once(served.client, spec, pcm)
    failed = answers.pop(3)
    assert isinstance(failed, InferenceServerException)
    assert "onnxruntime: " in str(failed)
    expected = scores_in_process(served.sources["fails"], np.delete(pcm, 3, axis=0))
    np.testing.assert_array_equal(np.concatenate(answers), expected)


def test_a_window_of_another_length_is_refused_and_the_next_one_is_scored(served: Served) -> None:
    spec = read_spec(served.sources["float"])
    with pytest.raises(InferenceServerException, match="unexpected shape for input 'audio'"):
        triton_scores(served.client, spec, noise(2, WINDOW - 1))
    assert triton_scores(served.client, spec, noise(2, WINDOW)).shape == (2, len(spec.labels))


def test_the_server_says_which_model_it_runs(served: Served) -> None:
    config = served.client.get_model_config("earwitness-small").config
    assert config.parameters["earwitness.digest.2"].string_value == read_spec(SHIPPED).digest
    assert config.parameters["earwitness.runtime"].string_value == "onnxruntime/cpu"
    assert f"SHA-256 {read_spec(SHIPPED).digest}" in served.server.log_file.read_text("utf-8")


def test_a_version_is_added_while_the_other_one_is_asked_without_a_gap(
    triton_servers: TritonServers, tmp_path: Path
) -> None:
    out, first, second = tmp_path / "out", tmp_path / "first", tmp_path / "second"
    one = write_model(first)
    write_repository(out, [first], PYTHON)
    client = InferenceServerClient(triton_servers(out, ["tiny"]).url)
    pcm = noise(5, WINDOW)

    two = write_model(second, loudness_that_fails_when_loud(), version="2")
    write_repository(out, [second], {})
    with ThreadPoolExecutor(1) as beside:
        loading = beside.submit(client.load_model, "tiny")
        answers = [triton_scores(client, one, pcm, "1")]
        while not loading.done():
            answers.append(triton_scores(client, one, pcm, "1"))
    loading.result()
    assert len(statistics(client, "tiny", "2").batch_stats) == len((1, 2, 4, 8, 16, 32))
    np.testing.assert_array_equal(triton_scores(client, two, pcm, "2"), scores_in_process(second, pcm))
    answers.append(triton_scores(client, one, pcm, "1"))
    for scores in answers:
        np.testing.assert_array_equal(scores, scores_in_process(first, pcm))
    said = client.get_model_config("tiny").config.parameters
    assert said["earwitness.digest.1"].string_value == one.digest
    assert said["earwitness.digest.2"].string_value == two.digest


def test_a_damaged_model_is_not_served(triton_servers: TritonServers, tmp_path: Path) -> None:
    write_repository(tmp_path, [SHIPPED], PYTHON)
    with (tmp_path / "earwitness-small" / "2" / "model.onnx").open("ab") as file:
        file.write(b"\x00")
    server = triton_servers(tmp_path, ["earwitness-small"], tolerant=True)
    assert not InferenceServerClient(server.url).is_model_ready("earwitness-small")
    assert f"its spec.json names {read_spec(SHIPPED).digest}" in server.log_file.read_text("utf-8")


@pytest.mark.parametrize(
    ("given", "model", "lacks"),
    [
        ({"backend": "onnxruntime", "cpu": True}, {}, "onnxruntime"),
        ({"backend": "onnxruntime"}, {"batch": 4}, "onnxruntime"),
        ({"backend": "tensorrt", "precision": "fp16", "engine_cache": "/engines"}, {}, "onnxruntime"),
        ({"backend": "tensorrt", "cuda_graphs": True}, {"dtype": "float32"}, "tensorrt"),
    ],
)
def test_a_server_on_the_cpu_lacks_nothing_but_the_backend_of_gpu_servers(
    triton_servers: TritonServers, tmp_path: Path, given: dict[str, Any], model: dict[str, Any], lacks: str
) -> None:
    write_model(tmp_path / "model", input=model)
    write_repository(tmp_path / "out", [tmp_path / "model"], given)
    client = InferenceServerClient(triton_servers(tmp_path / "out", ["tiny"], tolerant=True).url)
    (said,) = client.get_model_repository_index().models
    assert f"unable to find backend library for backend '{lacks}'" in said.reason


def test_the_command_writes_what_a_server_loads(triton_servers: TritonServers, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["model", "repository", "--out", str(out), "--backend", "python", "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert [f"{entry['model']}/{entry['version']}" for entry in said] == names()
    assert all(entry["added"] for entry in said)
    client = InferenceServerClient(triton_servers(out, [entry["model"] for entry in said]).url)
    assert all(client.is_model_ready(entry["model"], entry["version"]) for entry in said)


def test_what_a_person_reads_ends_with_how_to_start_a_server(tmp_path: Path) -> None:
    write_models(tmp_path, [], {"backend": "onnxruntime"})
    result = CliRunner().invoke(app, ["model", "repository", "--out", str(tmp_path)], catch_exceptions=False)
    assert "earwitness-small" in result.stdout
    assert result.stderr.splitlines()[0] == "Start Triton with:"
    assert "--gpus all" in result.stderr
    assert "tritonserver --model-repository=/models" in result.stderr
