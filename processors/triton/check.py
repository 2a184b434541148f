"""An endpoint's own words -> is what it serves the model that the spec names?

Triton serves the raw graph under the spec's name and version. Float scaling and activation are the
client's, so the tensors must be exactly the spec's, and the digest says that the weights are too.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as service

from processors.batch import MAX_BATCH_WINDOWS
from schemas.errors import ConfigurationError, StopError
from schemas.model import ModelSpec

ASK_S, CHECK_S, SPARE_S = 5.0, 25.0, 5.0
"""What one question may take, all of a check together, and what gRPC may be late."""
DIGEST_KEY, RUNTIME_KEY = "earwitness.digest", "earwitness.runtime"
MEND = "`earwitness model repository` writes what fits"
UNBATCHED_LIMIT = 64
"""Windows at once, for a model that says neither its own batch size nor a largest one."""
_GONE = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED}
_DENIED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_PASSING = ("unloaded", "")
"""Why a model that is known is not served, where that may change without anybody mending it."""


T = TypeVar("T")


class AwayError(Exception):
    """The endpoint does not serve the model for now."""


@dataclass(frozen=True, slots=True)
class Served:
    """What an endpoint says of itself, once it has been found to fit."""

    identity: str
    max_batch: int


async def check(stub: "service.GRPCInferenceServiceStub", address: str, spec: ModelSpec) -> Served:
    """Ask an endpoint for everything that must fit.

    Raises:
        AwayError: it does not answer, or does not serve the model yet.
        ConfigurationError: it serves another model than the spec's, or will not serve it as it is.
        StopError: this process can ask nobody any more.

    """
    return await in_time(_asked(stub, f"scorer.endpoints: {address}, model {spec.reference}", spec), CHECK_S)


async def _asked(stub: "service.GRPCInferenceServiceStub", where: str, spec: ModelSpec) -> Served:
    try:
        return await _check(stub, where, spec)
    except grpc.RpcError as exc:
        words = f"{exc.code().name}: {exc.details()}"
        if exc.code() in _DENIED:
            raise ConfigurationError(where, words, "a Triton that lets us in") from exc
        if exc.code() in _GONE:
            raise await _unserved(stub, where, spec, words) from exc
        raise AwayError(words) from exc


async def in_time(asked: Coroutine[Any, Any, T], deadline_s: float, spare_s: float = SPARE_S) -> T:
    """Wait for calls that have deadlines of their own, together `deadline_s`.

    Raises:
        AwayError: their connections were closed meanwhile.
        StopError: gRPC did not keep them.

    """
    task = asyncio.ensure_future(asked)
    try:
        for time_s in (deadline_s + spare_s, spare_s):  # whoever was frozen finds the first time over
            await asyncio.wait({task}, timeout=time_s)
            if task.cancelled():  # gRPC does that to the calls of a channel that is closed; we were not
                raise AwayError("its connections were closed while it was asked")
            if task.done():
                return task.result()
    finally:
        task.cancel()
    raise StopError(f"gRPC ends no calls any more: {deadline_s:g} s are over, and their deadlines with them")


async def _check(stub: "service.GRPCInferenceServiceStub", where: str, spec: ModelSpec) -> Served:
    model = {"name": spec.name, "version": spec.version}
    server = await stub.ServerMetadata(messages.ServerMetadataRequest(), timeout=ASK_S)
    ready = await stub.ModelReady(messages.ModelReadyRequest(**model), timeout=ASK_S)
    if not ready.ready:
        raise await _unserved(stub, where, spec, "not ready")
    tensors = await stub.ModelMetadata(messages.ModelMetadataRequest(**model), timeout=ASK_S)
    answer = await stub.ModelConfig(messages.ModelConfigRequest(**model), timeout=ASK_S)
    config = answer.config
    _check_tensor(where, "input", tensors.inputs, spec.input.name, _datatype(spec), spec.window_samples, spec)
    _check_tensor(where, "output", tensors.outputs, spec.output.name, "FP32", spec.raw_width, spec)
    _check_digest(where, config.parameters, spec)
    runtime = config.parameters[RUNTIME_KEY].string_value if RUNTIME_KEY in config.parameters else ""
    identity = f"triton/{server.version}/{runtime or config.backend or config.platform}"
    max_batch = spec.input.batch or config.max_batch_size or UNBATCHED_LIMIT
    return Served(identity, min(max_batch, MAX_BATCH_WINDOWS))


async def _unserved(
    stub: "service.GRPCInferenceServiceStub", where: str, spec: ModelSpec, words: str
) -> Exception:
    """Say why a model is not served, as well as Triton knows."""
    try:
        index = await stub.RepositoryIndex(messages.RepositoryIndexRequest(), timeout=ASK_S)
    except grpc.RpcError as exc:
        if exc.code() is grpc.StatusCode.UNIMPLEMENTED:
            return ConfigurationError(where, words, "a Triton, with its model repository API")
        return AwayError(f"{words}; asked why: {exc.code().name}: {exc.details()}")
    known = [model for model in index.models if model.name == spec.name]
    this = [model for model in known if model.version == spec.version]
    if any(model.state in ("LOADING", "UNLOADING", "READY") for model in this):
        return AwayError(f"model {spec.reference} is {this[0].state}")
    if this and this[0].reason in _PASSING:
        return AwayError(f"model {spec.reference} is unloaded")
    if known and not any(model.version or model.state for model in known):
        return AwayError(f"model {spec.reference} is not loaded")
    if not known:
        there = ", ".join(sorted({model.name for model in index.models})[:20]) or "none"
        return ConfigurationError(where, words, f"one of its models, {there}; {MEND}")
    reasons = "; ".join(
        f"version {m.version or '-'}: {m.state or 'not loaded'} {m.reason}" for m in known[:5]
    )
    return ConfigurationError(where, words, f"a version that loads; there is {reasons[:600]}; {MEND}")


def _check_tensor(
    where: str,
    kind: str,
    there: "list[messages.ModelMetadataResponse.TensorMetadata]",
    name: str,
    datatype: str,
    size: int,
    spec: ModelSpec,
) -> None:
    found = {tensor.name: tensor for tensor in there}
    odd = sorted(set(found) - {name}) if kind == "input" else []
    if name not in found or odd:
        raise ConfigurationError(f"{where}: {kind}", sorted(found), f"{name!r}; {MEND}")
    if found[name].datatype != datatype:
        accepted = f"{datatype}; {MEND}"
        raise ConfigurationError(f"{where}: type of {kind} {name!r}", found[name].datatype, accepted)
    batch, shape = spec.input.batch or -1, list(found[name].shape)
    if shape not in ([-1, size], [batch, size]):
        raise ConfigurationError(f"{where}: shape of {kind} {name!r}", shape, f"{[batch, size]}; {MEND}")


def _check_digest(where: str, parameters: "dict[str, messages.ModelParameter]", spec: ModelSpec) -> None:
    key = f"{DIGEST_KEY}.{spec.version}"
    there = parameters[key].string_value if key in parameters else None
    if there != spec.digest:
        raise ConfigurationError(f"{where}: parameter {key}", there, f"{spec.digest}; {MEND}")


def _datatype(spec: ModelSpec) -> str:
    return {"int16": "INT16", "float32": "FP32"}[spec.input.dtype]
