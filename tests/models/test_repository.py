"""Models become a Triton repository that says what it holds, or nothing is written."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2

from models.catalogue import find
from models.repository import RUNNER, Entry, write_repository
from models.triton_config import HEADER, plan_command
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec, read_spec
from tests.processors.tiny_model import LABELS, WINDOW, write_model

PYTHON = {"backend": "python"}
SHIPPED = find("earwitness-small/2")
INT16, FP32 = model_config_pb2.TYPE_INT16, model_config_pb2.TYPE_FP32


def made(directory: Path, version: str = "1", **spec: Any) -> Path:
    """Write the tiny model, and return where it is."""
    write_model(directory, version=version, **spec)
    return directory


def grouped(*members: int) -> dict[str, Any]:
    """Return what a spec says of a label `any` that is made of columns."""
    output = {"width": len(LABELS), "columns": {"any": members or (0, 1)}}
    return {"labels": ("any",), "thresholds": {"any": 0.5}, "output": output}


def config_of(out: Path, name: str = "tiny") -> Any:
    """Read a configuration as Triton does."""
    text = (out / name / "config.pbtxt").read_text("utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def written(tmp_path: Path, given: dict[str, Any], **spec: Any) -> Any:
    """Write one tiny model, and return its configuration."""
    write_repository(tmp_path / "out", [made(tmp_path / "model", **spec)], given)
    return config_of(tmp_path / "out")


def refusal(out: Path, sources: list[Path], given: dict[str, Any]) -> str:
    """Return the message with which nothing is written."""
    before = contents(out)
    with pytest.raises(ConfigurationError) as error:
        write_repository(out, sources, given)
    assert contents(out) == before
    return str(error.value)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def parameters_of(config: Any) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


def test_the_layout_is_what_triton_reads_and_the_models_are_copied_byte_for_byte(tmp_path: Path) -> None:
    write_repository(tmp_path, [SHIPPED], PYTHON)
    files = contents(tmp_path / "earwitness-small")
    assert set(files) == {"config.pbtxt", "2/model.onnx", "2/model.py", "2/spec.json"}
    assert files["2/model.onnx"] == (SHIPPED / "model.onnx").read_bytes()
    assert files["2/model.py"] == RUNNER.read_bytes()
    assert read_spec(tmp_path / "earwitness-small" / "2") == read_spec(SHIPPED)


def test_a_python_configuration_says_everything(tmp_path: Path) -> None:
    config = written(tmp_path, PYTHON)
    assert (config.name, config.backend, config.max_batch_size) == ("tiny", "python", 32)
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("audio", INT16, [WINDOW])]
    assert [(o.name, o.data_type, list(o.dims)) for o in config.output] == [("scores", FP32, [len(LABELS)])]
    (group,) = config.instance_group
    assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_CPU, 1)
    assert config.version_policy.HasField("all")
    assert not config.HasField("optimization")
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 16, 32]
    assert config.dynamic_batching.max_queue_delay_microseconds == 0


def test_no_queue_policy_is_set_for_it_makes_requests_stall(tmp_path: Path) -> None:
    assert not written(tmp_path, PYTHON).dynamic_batching.HasField("default_queue_policy")


def test_the_configuration_names_the_digest_of_every_version(tmp_path: Path) -> None:
    sources = [made(tmp_path / "a"), made(tmp_path / "b", "12", thresholds=dict.fromkeys(LABELS, 0.7))]
    write_repository(tmp_path / "out", sources, PYTHON)
    parameters = parameters_of(config_of(tmp_path / "out"))
    assert parameters["earwitness.digest.1"] == read_spec(sources[0]).digest
    assert parameters["earwitness.digest.12"] == read_spec(sources[1]).digest
    assert parameters["earwitness.runtime"] == "onnxruntime/cpu"


@pytest.mark.parametrize(
    ("max_batch", "preferred", "warmed"),
    [
        (1, [1], [1]),
        (2, [1, 2], [1, 2]),
        (24, [8, 16, 24], [1, 24, 2, 4, 8, 16]),
        (64, [16, 32, 64], [1, 64, 2, 4, 8, 16, 32]),
    ],
)
def test_every_preferred_size_is_warmed_the_smallest_and_the_largest_first(
    tmp_path: Path, max_batch: int, preferred: list[int], warmed: list[int]
) -> None:
    config = written(tmp_path, {**PYTHON, "max_batch": max_batch})
    assert list(config.dynamic_batching.preferred_batch_size) == preferred
    assert [warmup.batch_size for warmup in config.model_warmup] == warmed
    for warmup in config.model_warmup:
        (fed,) = warmup.inputs.items()
        assert (fed[0], fed[1].data_type, list(fed[1].dims), fed[1].zero_data) == (
            "audio",
            INT16,
            [WINDOW],
            True,
        )


def test_float_input_is_served_as_float_and_left_to_who_asks_to_scale(tmp_path: Path) -> None:
    config = written(tmp_path, PYTHON, input={"dtype": "float32", "scale": 1 / 32_768})
    assert config.input[0].data_type == FP32
    assert config.model_warmup[0].inputs["audio"].data_type == FP32


def test_our_backend_fills_a_fixed_batch_up_and_takes_no_larger_one(tmp_path: Path) -> None:
    config = written(tmp_path, PYTHON, input={"batch": 4})
    assert (config.max_batch_size, list(config.input[0].dims)) == (4, [WINDOW])
    assert list(config.dynamic_batching.preferred_batch_size) == [1, 2, 4]


@pytest.mark.parametrize(("backend", "dims"), [("python", [2]), ("onnxruntime", [1, 2])])
def test_labels_that_are_made_of_columns_are_left_to_who_asks(
    tmp_path: Path, backend: str, dims: list[int]
) -> None:
    fed = {"batch": 1, "dtype": "float32"}
    config = written(tmp_path, {"backend": backend}, input=fed, **grouped(1))
    assert list(config.output[0].dims) == dims
    assert config.max_batch_size == (1 if backend == "python" else 0)


def test_versions_may_make_their_labels_of_other_columns(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_repository(out, [made(tmp_path / "1", **grouped(0, 1))], PYTHON)
    write_repository(out, [made(tmp_path / "2", "2", **grouped(1))], PYTHON)
    assert {"earwitness.digest.1", "earwitness.digest.2"} <= set(parameters_of(config_of(out)))


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_a_graph_that_knows_of_no_batch_is_served_by_our_backend_only(tmp_path: Path, backend: str) -> None:
    source = made(tmp_path / "m", input={"batch": 1, "rank": 1})
    message = refusal(tmp_path / "out", [source], {"backend": backend})
    assert message.startswith(f"--backend is '{backend}'; accepted: python: tiny takes one window without")
    write_repository(tmp_path / "out", [source], PYTHON)
    assert list(config_of(tmp_path / "out").input[0].dims) == [WINDOW]


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_elsewhere_a_fixed_batch_is_part_of_the_shape(tmp_path: Path, backend: str) -> None:
    config = written(tmp_path, {"backend": backend}, input={"batch": 4})
    assert (config.max_batch_size, list(config.input[0].dims)) == (0, [4, WINDOW])
    assert list(config.output[0].dims) == [4, len(LABELS)]
    assert not config.HasField("dynamic_batching")
    assert [(w.batch_size, list(w.inputs["audio"].dims)) for w in config.model_warmup] == [(1, [4, WINDOW])]


def accelerators_of(config: Any) -> list[tuple[str, dict[str, str]]]:
    found = config.optimization.execution_accelerators.gpu_execution_accelerator
    return [(each.name, dict(each.parameters)) for each in found]


def test_onnxruntime_runs_on_gpus_without_tf32(tmp_path: Path) -> None:
    config = written(tmp_path, {"backend": "onnxruntime", "instances": 2})
    (group,) = config.instance_group
    assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_GPU, 2)
    assert config.backend == "onnxruntime"
    assert accelerators_of(config) == [("cuda", {"use_tf32": "0"})]
    assert parameters_of(config)["cudnn_conv_algo_search"] == "1"
    assert parameters_of(config)["earwitness.runtime"] == "onnxruntime/cuda"


def test_onnxruntime_runs_on_the_cpu_with_a_thread_for_each_instance(tmp_path: Path) -> None:
    config = written(tmp_path, {"backend": "onnxruntime", "cpu": True})
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    assert accelerators_of(config) == []
    parameters = parameters_of(config)
    assert (parameters["intra_op_thread_count"], parameters["inter_op_thread_count"]) == ("1", "1")
    assert not (tmp_path / "out" / "tiny" / "1" / "model.py").exists()


@pytest.mark.parametrize(("precision", "mode"), [("fp32", "FP32"), ("fp16", "FP16")])
def test_tensorrt_works_inside_onnx_runtime(tmp_path: Path, precision: str, mode: str) -> None:
    config = written(tmp_path, {"backend": "tensorrt", "precision": precision})
    assert config.backend == "onnxruntime"
    assert accelerators_of(config) == [("tensorrt", {"precision_mode": mode}), ("cuda", {"use_tf32": "0"})]
    assert parameters_of(config)["earwitness.runtime"] == f"onnxruntime/tensorrt/{precision}"


def test_engines_of_tensorrt_are_kept_where_the_operator_says(tmp_path: Path) -> None:
    (_, parameters), _ = accelerators_of(
        written(tmp_path, {"backend": "tensorrt", "engine_cache": "/engines"})
    )
    assert parameters == {
        "precision_mode": "FP32",
        "trt_engine_cache_enable": "true",
        "trt_engine_cache_path": "/engines",
        "trt_timing_cache_enable": "true",
        "trt_timing_cache_path": "/engines",
    }


def test_cuda_graphs_are_captured_for_every_warmed_size(tmp_path: Path) -> None:
    given = {"backend": "tensorrt", "cuda_graphs": True, "precision": "fp16", "max_batch": 4}
    config = written(tmp_path, given, input={"dtype": "float32"})
    assert (config.backend, config.default_model_filename) == ("tensorrt", "model.plan")
    assert config.optimization.cuda.graphs
    captured = [(g.batch_size, list(g.input["audio"].dim)) for g in config.optimization.cuda.graph_spec]
    assert captured == [(1, [WINDOW]), (2, [WINDOW]), (4, [WINDOW])]
    assert accelerators_of(config) == []
    assert parameters_of(config)["earwitness.runtime"] == "tensorrt/fp16"


def test_the_engine_of_cuda_graphs_is_built_for_every_batch_size(tmp_path: Path) -> None:
    given = {"backend": "tensorrt", "cuda_graphs": True, "precision": "fp16", "max_batch": 8}
    (entry,) = write_repository(tmp_path / "out", [made(tmp_path / "m", input={"dtype": "float32"})], given)
    assert plan_command(entry.spec, entry.serving, "/models/tiny/1") == [
        "/usr/src/tensorrt/bin/trtexec",
        "--onnx=/models/tiny/1/model.onnx",
        "--saveEngine=/models/tiny/1/model.plan",
        f"--minShapes=audio:1x{WINDOW}",
        f"--optShapes=audio:8x{WINDOW}",
        f"--maxShapes=audio:8x{WINDOW}",
        "--fp16",
    ]


def test_a_quantised_model_is_served_in_int8(tmp_path: Path) -> None:
    write_model(tmp_path / "m", quantised())
    write_repository(tmp_path / "out", [tmp_path / "m"], {"backend": "tensorrt", "precision": "int8"})
    assert accelerators_of(config_of(tmp_path / "out"))[0] == ("tensorrt", {"precision_mode": "INT8"})


def quantised() -> onnx.GraphProto:
    """The first two samples, by way of eight bits: the least that is quantised."""
    nodes = [
        helper.make_node("Cast", ["audio"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("QuantizeLinear", ["values", "scale", "zero"], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["large"]),
        helper.make_node("Slice", ["large", "begin", "end", "axis"], ["scores"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array(1.0, np.float32),
        "zero": np.array(0, np.int8),
        "begin": np.array([0], np.int64),
        "end": np.array([len(LABELS)], np.int64),
        "axis": np.array([1], np.int64),
    }
    return helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("audio", TensorProto.INT16, ["B", WINDOW])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )


def test_a_version_is_added_beside_those_that_are_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_repository(out, [made(tmp_path / "1")], {**PYTHON, "max_batch": 8})
    before = contents(out / "tiny" / "1")
    entries = write_repository(out, [made(tmp_path / "2", "2")], {})
    assert [(entry.spec.version, entry.added) for entry in entries] == [("1", False), ("2", True)]
    assert contents(out / "tiny" / "1") == before
    assert {"earwitness.digest.1", "earwitness.digest.2"} <= set(parameters_of(config_of(out)))


def test_what_is_not_given_stays_as_the_repository_has_it(tmp_path: Path) -> None:
    out, first = tmp_path / "out", made(tmp_path / "1")
    write_repository(out, [first], {**PYTHON, "max_batch": 8, "instances": 2})
    write_repository(out, [made(tmp_path / "2", "2")], {"instances": 3})
    config = config_of(out)
    assert (config.max_batch_size, config.instance_group[0].count) == (8, 3)


def test_what_is_written_already_is_not_touched(tmp_path: Path) -> None:
    out, source = tmp_path / "out", made(tmp_path / "1")
    write_repository(out, [source], PYTHON)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    (entry,) = write_repository(out, [source, source], {})
    assert not entry.added
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


@pytest.mark.parametrize("older", [b"class TritonPythonModel: ...", None])
def test_what_runs_a_version_is_replaced_where_it_is_of_another_release(
    tmp_path: Path, older: bytes | None
) -> None:
    out, source = tmp_path / "out", made(tmp_path / "1")
    write_repository(out, [source], PYTHON)
    before, runner = contents(out), out / "tiny" / "1" / "model.py"
    runner.unlink()
    if older is not None:
        runner.write_bytes(older)
    (entry,) = write_repository(out, [source], {})
    assert contents(out) == before
    assert not entry.added


def test_a_version_with_other_content_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_repository(out, [made(tmp_path / "1")], PYTHON)
    other = made(tmp_path / "other", thresholds=dict.fromkeys(LABELS, 0.9))
    message = refusal(out, [other], {})
    assert message.startswith("tiny/1 is ")
    assert "a version is never changed; give the model a new one" in message


@pytest.mark.parametrize("version", ["0", "01", "1.2", "v3", "2147483648"])
def test_a_version_that_is_no_whole_number_is_refused(tmp_path: Path, version: str) -> None:
    message = refusal(tmp_path / "out", [made(tmp_path / "m", version)], PYTHON)
    assert message.startswith(f"version of tiny is '{version}'; accepted: a whole number from 1")


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"input": {"dtype": "float32"}}, "input.dtype of tiny/2 is 'float32'"),
        ({"input": {"batch": 4}}, "input.batch of tiny/2 is 4"),
        ({"input": {"batch": 1, "rank": 1}}, "input.batch of tiny/2 is 1"),
        (grouped(), "labels of tiny/2 is None"),
        ({"window_samples": 1600}, "window_samples of tiny/2 is 1600"),
        ({"labels": ("high", "loud")}, "labels of tiny/2 is ('high', 'loud')"),
    ],
)
def test_versions_that_cannot_share_a_configuration_are_refused(
    tmp_path: Path, spec: dict[str, Any], key: str
) -> None:
    message = refusal(tmp_path / "out", [made(tmp_path / "1"), made(tmp_path / "2", "2", **spec)], PYTHON)
    assert message.startswith(key)
    assert "as tiny/1 has it" in message
    assert "give the model another name" in message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "--backend is None; accepted: python, onnxruntime or tensorrt"),
        ({"backend": "openvino"}, "--backend is 'openvino'; accepted: python, onnxruntime, tensorrt"),
        ({**PYTHON, "max_batch": 0}, "--max-batch is 0; accepted: 1 to 4096"),
        ({**PYTHON, "instances": 65}, "--instances is 65; accepted: 1 to 64"),
        ({**PYTHON, "queue_delay_us": -1}, "--queue-delay-us is -1; accepted: 0 to 1000000"),
        ({**PYTHON, "cpu": True}, "--cpu is True; accepted: with --backend onnxruntime only"),
        ({**PYTHON, "precision": "fp16"}, "--precision is 'fp16'; accepted: with --backend tensorrt only"),
        ({"backend": "onnxruntime", "cuda_graphs": True}, "--cuda-graphs is True; accepted: with --backend"),
        ({"backend": "tensorrt", "engine_cache": "here"}, "--engine-cache is 'here'; accepted: an absolute"),
        (
            {"backend": "tensorrt", "engine_cache": "/e", "cuda_graphs": True},
            "--engine-cache is '/e'; accepted: without --cuda-graphs",
        ),
        (
            {"backend": "tensorrt", "cuda_graphs": True},
            "accepted: a model with float32 input: TensorRT alone",
        ),
        ({"backend": "tensorrt", "precision": "int8"}, "--precision is 'int8'; accepted: fp32 or fp16: "),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    assert message in refusal(tmp_path / "out", [made(tmp_path / "m")], given)


def test_a_repository_does_not_change_between_our_backend_and_triton_s_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_repository(out, [made(tmp_path / "m")], PYTHON)
    message = refusal(out, [made(tmp_path / "2", "2")], {"backend": "onnxruntime"})
    assert message.startswith("--backend is 'onnxruntime'; accepted: python, as ")


def test_triton_s_own_backends_can_be_changed(tmp_path: Path) -> None:
    out, source = tmp_path / "out", made(tmp_path / "m")
    write_repository(out, [source], {"backend": "onnxruntime"})
    write_repository(out, [source], {"backend": "tensorrt", "precision": "fp16"})
    assert accelerators_of(config_of(out))[0] == ("tensorrt", {"precision_mode": "FP16"})


def test_a_directory_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "home"
    out.mkdir()
    (out / "letters.txt").write_text("dear", "utf-8")
    assert "letters.txt is not a model" in refusal(out, [made(tmp_path / "m")], PYTHON)


def test_models_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "other").mkdir(parents=True)
    (out / "other" / "config.pbtxt").write_text('name: "other"', "utf-8")
    write_repository(out, [made(tmp_path / "m")], PYTHON)
    assert contents(out / "other") == {"config.pbtxt": b'name: "other"'}


@pytest.mark.parametrize("text", [b'name: "tiny"', b"not a configuration", b"\xff\xfe", HEADER.encode()])
def test_a_configuration_that_is_not_ours_is_not_replaced(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "out" / "tiny").mkdir(parents=True)
    (tmp_path / "out" / "tiny" / "config.pbtxt").write_bytes(text)
    message = refusal(tmp_path / "out", [made(tmp_path / "m")], PYTHON)
    assert "a config.pbtxt that `earwitness model repository` wrote, or none" in message


def test_a_configuration_that_was_edited_into_nonsense_is_refused(tmp_path: Path) -> None:
    out, source = tmp_path / "out", made(tmp_path / "m")
    write_repository(out, [source], PYTHON)
    file = out / "tiny" / "config.pbtxt"
    file.write_text(file.read_text("utf-8").replace('\\"backend\\": \\"python\\", ', ""), "utf-8")
    assert "earwitness.serving says how it was written" in refusal(out, [source], {})


def test_symbolic_links_are_refused_and_not_written_through(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "tiny").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "config.pbtxt").write_text("", "utf-8")
    assert "a repository without symbolic links" in refusal(out, [made(tmp_path / "m")], PYTHON)
    assert contents(elsewhere) == {"config.pbtxt": b""}


def test_a_version_whose_model_was_damaged_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_repository(out, [made(tmp_path / "m")], PYTHON)
    with (out / "tiny" / "1" / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert "a model.onnx with SHA-256 " in refusal(out, [made(tmp_path / "2", "2")], {})


def test_a_version_under_another_s_name_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_repository(out, [made(tmp_path / "m")], PYTHON)
    (out / "tiny" / "1").rename(out / "tiny" / "7")
    assert "called tiny/7, not tiny/1" in refusal(out, [made(tmp_path / "2", "2")], {})


@pytest.mark.parametrize("out", ["/proc/models", "/dev/null", "/dev/null/models"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, out: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^--out is '{out}'; accepted: a directory"):
        write_repository(Path(out), [made(tmp_path / "m")], PYTHON)


def test_nothing_is_left_behind_where_a_model_cannot_be_copied(tmp_path: Path) -> None:
    out, source = tmp_path / "out", made(tmp_path / "m")
    (source / "model.onnx").rename(source / "gone")
    assert "model.onnx is missing" in refusal(out, [source], PYTHON)
    assert not out.exists()


def test_entries_say_where_each_version_is(tmp_path: Path) -> None:
    source = made(tmp_path / "m")
    (entry,) = write_repository(tmp_path / "out", [source], PYTHON)
    assert isinstance(entry, Entry)
    assert isinstance(entry.spec, ModelSpec)
    assert entry.directory == tmp_path / "out" / "tiny" / "1"
    assert read_spec(entry.directory) == entry.spec
