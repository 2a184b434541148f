"""What a real Triton says when something is wrong, and what is made of it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as service

from infra.local.triton import TritonServer, start_triton
from infra.local.triton_installation import TritonInstallation
from processors.triton.verdict import Verdict, verdict_of, words_of
from tests.conftest import TritonServers
from tests.processors.tiny_model import WINDOW, loudness_that_fails_when_loud
from tests.processors.triton_rig import MAX_BATCH, Rig, kill_stubs

AWAY, BUSY, SUSPECT, LATE = Verdict.AWAY, Verdict.BUSY, Verdict.SUSPECT, Verdict.LATE


@pytest.fixture(scope="module")
def triton(
    triton_installation: TritonInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    rig = Rig(tmp_path_factory.mktemp("tiny"), loudness_that_fails_when_loud())
    with start_triton(rig.repository, ["tiny"]) as server:
        yield server


def request_of(
    model: str = "tiny",
    version: str = "1",
    tensor: str = "audio",
    datatype: str = "INT16",
    shape: tuple[int, ...] = (1, WINDOW),
    output: str = "scores",
    value: int = 1,
    region: str | None = None,
) -> messages.ModelInferRequest:
    """Make a request, with one thing wrong or none."""
    request = messages.ModelInferRequest(model_name=model, model_version=version)
    fed = request.inputs.add(name=tensor, datatype=datatype, shape=shape)
    request.outputs.add(name=output)
    if region is None:
        dtype = np.int16 if datatype == "INT16" else np.float32
        request.raw_input_contents.append(np.full(shape, value, dtype).tobytes())
    else:
        fed.parameters["shared_memory_region"].string_param = region
        fed.parameters["shared_memory_byte_size"].int64_param = WINDOW * 2
    return request


async def failure(server: TritonServer, timeout_s: float = 20.0, **wrong: Any) -> grpc.RpcError:
    """Call a server, and return what it says against it."""
    async with grpc.aio.insecure_channel(server.url) as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as failed:
            await stub.ModelInfer(request_of(**wrong), timeout=timeout_s)
    return failed.value


@pytest.mark.parametrize(
    ("wrong", "code", "words", "verdict"),
    [
        ({"model": "none"}, "NOT_FOUND", "unknown model", AWAY),
        ({"version": "9"}, "NOT_FOUND", "version 9 is not found", AWAY),
        ({"shape": (1, WINDOW - 1)}, "INVALID_ARGUMENT", "unexpected shape for input", SUSPECT),
        ({"shape": (MAX_BATCH + 1, WINDOW)}, "INVALID_ARGUMENT", "batch-size must be <= 32", SUSPECT),
        ({"datatype": "FP32"}, "INVALID_ARGUMENT", "data-type is 'FP32'", SUSPECT),
        ({"tensor": "sound"}, "INVALID_ARGUMENT", "unexpected inference input", SUSPECT),
        ({"output": "logits"}, "INVALID_ARGUMENT", "unexpected inference output", SUSPECT),
        ({"region": "none"}, "NOT_FOUND", "shared memory region", AWAY),
        ({"value": 30_000}, "INVALID_ARGUMENT", "Gather", SUSPECT),
    ],
)
async def test_an_error_is_judged(
    triton: TritonServer, wrong: dict[str, Any], code: str, words: str, verdict: Verdict
) -> None:
    error = await failure(triton, **wrong)
    assert words_of(error).startswith(f"{code}: ")
    assert words in words_of(error)
    assert verdict_of(error) is verdict


async def test_a_killed_model_process_is_suspect_and_still_ready(
    tmp_path: Path, triton_servers: TritonServers
) -> None:
    server = triton_servers(Rig(tmp_path).repository, ["tiny"])
    kill_stubs(server)
    error = await failure(server)
    assert (error.code(), verdict_of(error)) == (grpc.StatusCode.INTERNAL, SUSPECT)
    async with grpc.aio.insecure_channel(server.url) as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        assert (await stub.ModelReady(messages.ModelReadyRequest(name="tiny", version="1"))).ready


async def test_a_frozen_server_is_late_and_a_killed_one_away(
    tmp_path: Path, triton_servers: TritonServers
) -> None:
    server = triton_servers(Rig(tmp_path).repository, ["tiny"])
    server.freeze()
    assert verdict_of(await failure(server, timeout_s=0.2)) is LATE
    server.thaw()
    server.kill()
    assert verdict_of(await failure(server)) is AWAY


async def test_an_unloaded_model_is_away(tmp_path: Path, triton_servers: TritonServers) -> None:
    server = triton_servers(Rig(tmp_path).repository, ["tiny"])
    async with grpc.aio.insecure_channel(server.url) as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        await stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="tiny"))
    error = await failure(server)
    assert (error.code(), verdict_of(error)) == (grpc.StatusCode.UNAVAILABLE, AWAY)


async def test_what_waits_in_the_queue_for_too_long_meets_a_busy_server(
    tmp_path: Path, triton_servers: TritonServers
) -> None:
    rig = Rig(tmp_path)
    config = rig.served / "config.pbtxt"
    timeout = "timeout_action: REJECT default_timeout_microseconds: 1000"
    policy = f"default_queue_policy {{ {timeout} max_queue_size: 2 }}"
    text = config.read_text("utf-8")
    config.write_text(text.replace("dynamic_batching {", f"dynamic_batching {{ {policy}"), "utf-8")
    rig.slow_down(0.3)
    server = triton_servers(rig.repository, ["tiny"])
    async with grpc.aio.insecure_channel(server.url) as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer(request_of(shape=(MAX_BATCH, WINDOW)), timeout=20) for _ in range(12)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
    errors = [error for error in ended if isinstance(error, grpc.RpcError)]
    assert errors
    assert {verdict_of(error) for error in errors} == {BUSY}
