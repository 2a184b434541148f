"""A Triton's scores are ONNX Runtime's, whichever way they come; a bad batch does not harm its neighbours."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2_grpc as service

from infra.local.triton import TritonServer, start_triton
from infra.local.triton_installation import TritonInstallation
from models.catalogue import find
from models.repository import write_repository
from processors.metrics import Metrics
from processors.score import OnnxScorer, ScorerSettings
from processors.triton.admission import Admission
from processors.triton.check import Served
from processors.triton.scorer import TritonScorer
from processors.triton.shared import FOLDER
from schemas.errors import StopError
from schemas.model import read_spec
from tests.conftest import TritonServers
from tests.processors.tiny_model import loudness_that_fails_when_loud
from tests.processors.triton_rig import (
    MAX_BATCH,
    Rig,
    calls,
    failure_of,
    is_ready,
    loaded,
    regions_of,
    windows,
)

WAYS = ["off", "system"]
KILLED_WORKER = """
import asyncio, sys
from pathlib import Path
from processors.metrics import Metrics
from processors.score import ScorerSettings
from processors.triton.scorer import TritonScorer
from schemas.model import read_spec
from tests.processors.triton_rig import windows

async def work():
    settings = ScorerSettings(kind="triton", endpoints=(sys.argv[2],), shared_memory="system")
    scorer = TritonScorer(read_spec(Path(sys.argv[1])), settings, Metrics())
    await scorer.start()
    await scorer.score(windows(3))
    print("scored", flush=True)
    await asyncio.Event().wait()

asyncio.run(work())
"""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig(tmp_path_factory.mktemp("tiny"), loudness_that_fails_when_loud())


@pytest.fixture(scope="module")
def triton(triton_installation: TritonInstallation, rig: Rig) -> Iterator[TritonServer]:
    with start_triton(rig.repository, ["tiny"]) as server:
        yield server


@pytest.mark.parametrize("shared_memory", WAYS)
async def test_scores_equal_those_in_process_to_the_bit(
    rig: Rig, triton: TritonServer, shared_memory: str
) -> None:
    async with rig.scorer(triton, shared_memory=shared_memory) as (scorer, metrics):
        for count in (1, 7, MAX_BATCH, 2 * MAX_BATCH):
            pcm = windows(count, count)
            scored = await scorer.score(pcm)
            assert scored.scores.tobytes() == rig.onnx.run(pcm).tobytes()
            assert scored.identity.startswith("triton/2.")
        assert calls(metrics, triton) == 5  # the last one was split: the server takes 32 at once


@pytest.mark.parametrize("shared_memory", WAYS)
async def test_many_batches_at_once_keep_to_their_own_scores(
    rig: Rig, triton: TritonServer, shared_memory: str
) -> None:
    async with rig.scorer(triton, shared_memory=shared_memory, concurrency=8) as (scorer, _):
        async with loaded(rig, scorer, at_once=20) as load:
            await load.more(500)
        assert len(load.identities) == 1


async def test_windows_that_do_not_lie_side_by_side_are_scored(rig: Rig, triton: TritonServer) -> None:
    pcm = windows(8)[::2]
    async with rig.scorer(triton, shared_memory="off") as (scorer, _):
        assert (await scorer.score(pcm)).scores.tobytes() == rig.onnx.run(pcm).tobytes()


@pytest.mark.parametrize("shared_memory", WAYS)
async def test_a_bad_batch_is_final_and_its_neighbours_are_scored(
    rig: Rig, triton: TritonServer, shared_memory: str
) -> None:
    bad = np.full((2, rig.spec.window_samples), 30_000, np.int16)
    async with rig.scorer(triton, shared_memory=shared_memory, concurrency=16) as (scorer, metrics):
        good = [windows(3, seed) for seed in range(12)]
        batches = [batch for pair in zip(good, [bad] * 12, strict=True) for batch in pair]
        found = await asyncio.gather(*(failure_of(scorer, batch) for batch in batches))
        for pcm, scored in zip(good, found[::2], strict=True):
            assert not isinstance(scored, str)
            assert scored[0].tobytes() == rig.onnx.run(pcm).tobytes()
        for failure in found[1::2]:
            assert f"Triton {triton.url}, model tiny/1: " in str(failure)
            assert "Gather" in str(failure)
        assert calls(metrics, triton, "failed") == 24  # each was tried twice, and the endpoint kept


async def test_a_bad_batch_is_final_where_two_fail_on_it_and_both_are_kept(
    rig: Rig, triton_servers: TritonServers
) -> None:
    one, other = (triton_servers(rig.repository, ["tiny"]) for _ in range(2))
    async with rig.scorer(one, other) as (scorer, metrics):
        found = str(await failure_of(scorer, np.full((2, rig.spec.window_samples), 30_000, np.int16)))
        assert one.url in found
        assert other.url in found
        assert is_ready(metrics, one)
        assert is_ready(metrics, other)


async def test_a_caller_that_gives_up_spoils_nothing(rig: Rig, triton: TritonServer) -> None:
    async with rig.scorer(triton, shared_memory="system") as (scorer, metrics):
        for seed in range(20):
            given_up = asyncio.create_task(scorer.score(windows(MAX_BATCH, seed)))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            pcm = windows(4, seed)
            assert (await scorer.score(pcm)).scores.tobytes() == rig.onnx.run(pcm).tobytes()
        assert calls(metrics, triton) == 20


async def test_a_closed_scorer_says_so_and_leaves_no_memory_behind(rig: Rig, triton: TritonServer) -> None:
    async with rig.scorer(triton, shared_memory="system") as (scorer, _):
        await scorer.score(windows(2))
        (owner,) = {name.rpartition("-")[0] for name in await regions_of(triton)}
        assert [path.name for path in FOLDER.glob(f"{owner}*")] == [
            owner
        ]  # the regions have lost their names
    assert list(FOLDER.glob(f"{owner}*")) == []
    await scorer.close()
    with pytest.raises(StopError, match="closed"):
        await scorer.score(windows(1))


async def test_what_a_killed_worker_left_mapped_is_taken_back_by_the_next_one(
    rig: Rig, triton: TritonServer
) -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED_WORKER, str(rig.directory), triton.url, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    assert await asyncio.wait_for(worker.stdout.readline(), 30) == b"scored\n"
    mapped = await regions_of(triton)
    assert len(mapped) == 4
    async with rig.scorer(triton, shared_memory="system"):  # the first one is alive: its regions stay
        assert mapped < await regions_of(triton)
    worker.kill()
    await worker.wait()
    async with rig.scorer(triton, shared_memory="system"):
        assert not mapped & await regions_of(triton)
    assert await regions_of(triton) == set()


async def test_equals_take_turns(rig: Rig, triton_servers: TritonServers) -> None:
    servers = [triton_servers(rig.repository, ["tiny"]) for _ in range(2)]
    async with rig.scorer(*servers) as (scorer, metrics):
        for seed in range(20):
            await scorer.score(windows(1, seed))
        assert all(calls(metrics, server) >= 5 for server in servers)


async def test_float_input_and_a_fixed_batch_are_served(
    tmp_path: Path, triton_servers: TritonServers
) -> None:
    fed = {"dtype": "float32", "scale": 0.5, "batch": 4}
    rig = Rig(tmp_path, input=fed, output={"activation": "sigmoid"})
    async with rig.scorer(triton_servers(rig.repository, ["tiny"])) as (scorer, _):
        for count in (1, 4, 9):
            pcm = windows(count, count)
            assert (await scorer.score(pcm)).scores.tobytes() == rig.onnx.run(pcm).tobytes()


async def test_the_shipped_model_scores_as_it_does_in_process(
    tmp_path: Path, triton_servers: TritonServers
) -> None:
    directory = find("earwitness-small/2")
    write_repository(tmp_path, [directory], {"backend": "python"})
    spec, server = read_spec(directory), triton_servers(tmp_path, ["earwitness-small"])
    scorer = TritonScorer(spec, ScorerSettings(kind="triton", endpoints=(server.url,)), Metrics())
    await scorer.start()
    pcm = np.random.default_rng(0).integers(-9000, 9000, (20, spec.window_samples)).astype(np.int16)
    scores = (await scorer.score(pcm)).scores
    await scorer.close()
    assert scores.tobytes() == OnnxScorer(directory, spec).run(pcm).tobytes()


async def test_a_trace_goes_on_with_the_call(rig: Rig) -> None:
    trace, seen = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", []

    class Listener(service.GRPCInferenceServiceServicer):  # type: ignore[misc]
        async def ModelInfer(self, _: object, context: grpc.aio.ServicerContext) -> None:  # noqa: N802
            seen.append(dict(context.invocation_metadata()))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "heard")

    server = grpc.aio.server()
    service.add_GRPCInferenceServiceServicer_to_server(Listener(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        admission = Admission([channel], Served("triton", MAX_BATCH), rig.spec)
        with pytest.raises(grpc.RpcError, match="heard"):
            await admission.score(windows(1), 5.0, (("traceparent", trace),))
    await server.stop(None)
    assert seen[0]["traceparent"] == trace


async def test_a_server_takes_a_call_with_a_trace(rig: Rig, triton: TritonServer) -> None:
    pcm = windows(1)
    async with rig.scorer(triton) as (scorer, _):
        scored = await scorer.score(pcm, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        assert scored.scores.tobytes() == rig.onnx.run(pcm).tobytes()
