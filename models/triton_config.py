"""ModelSpecs of one name + how they are served -> config.pbtxt, in Triton's own protobuf.

    worker ─ batch, 1 to max_batch windows ─► queue ─ gathered ─► instance ─ scores ─►

Triton serves the raw graph: who asks applies `input.scale` and `output.activation`. What the configuration
says of each version's digest lets a worker check that the server runs the model which its own spec names.
"""

from typing import TYPE_CHECKING, Any

from models.triton_serving import Serving
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.model import ModelSpec

PLAN_FILE = "model.plan"
SERVING_PARAMETER, DIGEST_PARAMETER, RUNTIME_PARAMETER = (
    "earwitness.serving",
    "earwitness.digest",
    "earwitness.runtime",
)
PREFERRED_SIZES = 3
HEADER = "# Written by `earwitness model repository`, which replaces it: what is edited here is lost then.\n"
_TYPES = {"int16": "TYPE_INT16", "float32": "TYPE_FP32"}


def sizes(largest: int) -> list[int]:
    """Return the powers of two up to the largest batch, and that."""
    return [*(1 << n for n in range(largest.bit_length()) if 1 << n < largest), largest]


def config_text(specs: "Sequence[ModelSpec]", serving: Serving) -> str:
    """Return the config.pbtxt of versions that agree with each other.

    Raises:
        ConfigurationError: Triton's protobuf is not installed.

    """
    protobuf, text_format = _protobuf()
    config = protobuf.ModelConfig(
        **_tensors(specs[0], _fixed_rows(specs[0], serving)),
        **_scheduling(specs[0], serving),
        name=specs[0].name,
        backend=_backend(serving),
        default_model_filename=PLAN_FILE if serving.cuda_graphs else "",
        version_policy={"all": {}},
        instance_group=[{"kind": "KIND_GPU" if serving.on_gpu else "KIND_CPU", "count": serving.instances}],
        parameters={key: {"string_value": value} for key, value in _parameters(specs, serving).items()},
        optimization=_optimization(specs[0], serving),
    )
    return HEADER + str(text_format.MessageToString(config))


def read_serving(text: str, where: str) -> Serving:
    """Read how a model is served from its config.pbtxt.

    Raises:
        ConfigurationError: it cannot be read, or is not of our writing.

    """
    protobuf, text_format = _protobuf()
    accepted = "a config.pbtxt that `earwitness model repository` wrote, or none"
    try:
        config = text_format.Parse(text, protobuf.ModelConfig())
    except text_format.ParseError as exc:
        raise ConfigurationError("--out", where, f"{accepted}: {exc}") from exc
    if SERVING_PARAMETER not in config.parameters:
        raise ConfigurationError("--out", where, accepted)
    try:
        return Serving.from_json(config.parameters[SERVING_PARAMETER].string_value)
    except ValueError as exc:
        unread = f"one whose parameter {SERVING_PARAMETER} says how it was written: {exc}"
        raise ConfigurationError("--out", where, unread) from exc


def plan_command(spec: "ModelSpec", serving: Serving, directory: str) -> list[str]:
    """Return the command that builds the engine of a version, on the server and its kind of GPU."""

    def shape(rows: int) -> str:
        return f"{spec.input.name}:{rows}x{spec.window_samples}"

    most = shape(serving.max_batch)
    dynamic = [f"--minShapes={shape(1)}", f"--optShapes={most}", f"--maxShapes={most}"]
    files = [f"--onnx={directory}/model.onnx", f"--saveEngine={directory}/{PLAN_FILE}"]
    precision = [f"--{serving.precision}"] if serving.precision != "fp32" else []
    return ["/usr/src/tensorrt/bin/trtexec", *files, *([] if spec.input.batch else dynamic), *precision]


def _backend(serving: Serving) -> str:
    # ONNX Runtime with TensorRT inside takes what TensorRT alone does not: it has no 16-bit integers.
    return serving.backend if serving.backend != "tensorrt" or serving.cuda_graphs else "onnxruntime"


def _fixed_rows(spec: "ModelSpec", serving: Serving) -> int | None:
    """Return the batch size that is part of the shape: only our own backend fills a batch up."""
    return spec.input.batch if serving.backend != "python" else None


def _max_batch(spec: "ModelSpec", serving: Serving) -> int:
    """Return how many windows Triton may gather; 0 is none, and every request has a whole batch."""
    return 0 if _fixed_rows(spec, serving) else (spec.input.batch or serving.max_batch)


def _shape(rows: int | None, columns: int) -> list[int]:
    return [columns] if rows is None else [rows, columns]


def _tensors(spec: "ModelSpec", rows: int | None) -> dict[str, Any]:
    fed, given = _shape(rows, spec.window_samples), _shape(rows, spec.raw_width)
    return {
        "input": [{"name": spec.input.name, "data_type": _TYPES[spec.input.dtype], "dims": fed}],
        "output": [{"name": spec.output.name, "data_type": "TYPE_FP32", "dims": given}],
    }


def _scheduling(spec: "ModelSpec", serving: Serving) -> dict[str, Any]:
    batch = _max_batch(spec, serving)
    warmed = {"model_warmup": [_warmup(spec, serving, size) for size in _warm_sizes(batch)]}
    if not batch:
        return warmed
    # Without a queue policy: with any (a timeout, an override, a length) Triton prepares no batch while
    # another one is running, and 2.51 then misses wake-ups: requests stall for 0.5 s. Who asks has deadlines.
    gathered = {
        # Smaller ones would be sent as soon as they are reached, and never wait for company.
        "preferred_batch_size": sizes(batch)[-PREFERRED_SIZES:],
        "max_queue_delay_microseconds": serving.queue_delay_us,
    }
    return {**warmed, "max_batch_size": batch, "dynamic_batching": gathered}


def _warm_sizes(batch: int) -> list[int]:
    """Return every size that is warmed, the smallest and the largest first.

    TensorRT builds an engine for the range of sizes that it has seen: the others then lie within it.
    """
    return sorted(sizes(batch or 1), key=lambda size: (size not in (1, batch), size))


def _warmup(spec: "ModelSpec", serving: Serving, size: int) -> dict[str, Any]:
    shape = _shape(_fixed_rows(spec, serving), spec.window_samples)
    zeros = {"data_type": _TYPES[spec.input.dtype], "dims": shape, "zero_data": True}
    return {"name": f"batch {size}", "batch_size": size, "inputs": {spec.input.name: zeros}}


def _parameters(specs: "Sequence[ModelSpec]", serving: Serving) -> dict[str, str]:
    digests = {f"{DIGEST_PARAMETER}.{spec.version}": spec.digest for spec in specs}
    ours = {SERVING_PARAMETER: serving.to_json(), RUNTIME_PARAMETER: serving.runtime, **digests}
    if serving.backend == "python" or serving.cuda_graphs:
        return ours
    if serving.cpu:
        return ours | {"intra_op_thread_count": "1", "inter_op_thread_count": "1"}
    # 1 is HEURISTIC. The default tries all algorithms at the first batch of every size, which takes long.
    return ours | {"cudnn_conv_algo_search": "1"}


def _optimization(spec: "ModelSpec", serving: Serving) -> "Mapping[str, Any] | None":
    if not serving.on_gpu:
        return None
    if serving.cuda_graphs:
        return {"cuda": {"graphs": True, "graph_spec": _graphs(spec, serving)}}
    # TF32 keeps ten bits of a factor: scores would be further than 1e-3 from those of other runtimes.
    accelerators = [{"name": "cuda", "parameters": {"use_tf32": "0"}}]
    if serving.backend == "tensorrt":
        accelerators.insert(0, {"name": "tensorrt", "parameters": _tensorrt(serving)})
    return {"execution_accelerators": {"gpu_execution_accelerator": accelerators}}


def _graphs(spec: "ModelSpec", serving: Serving) -> list[dict[str, Any]]:
    batch = _max_batch(spec, serving)
    shape = {spec.input.name: {"dim": _shape(_fixed_rows(spec, serving), spec.window_samples)}}
    return [{"batch_size": size, "input": shape} for size in (sizes(batch) if batch else [0])]


def _tensorrt(serving: Serving) -> dict[str, str]:
    mode = {"precision_mode": serving.precision.upper()}
    if serving.engine_cache is None:
        return mode
    return mode | {
        "trt_engine_cache_enable": "true",
        "trt_engine_cache_path": serving.engine_cache,
        "trt_timing_cache_enable": "true",
        "trt_timing_cache_path": serving.engine_cache,
    }


def _protobuf() -> tuple[Any, Any]:
    try:
        from google.protobuf import text_format  # type: ignore[import-untyped]
        from tritonclient.grpc import model_config_pb2
    except ImportError as exc:
        accepted = f"`uv sync --extra triton` ({exc})"
        raise ConfigurationError("Triton's client library", "not installed", accepted) from exc
    return model_config_pb2, text_format
