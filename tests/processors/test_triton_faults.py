"""Tritons that answer and yet are sick, full or none: no batch is lost that another can score."""

import asyncio
from pathlib import Path

import grpc
import pytest

from infra.local.triton import TritonServer
from processors.score import ONNX_IDENTITY, OnnxScorer
from schemas.errors import ScorerError
from tests.conftest import TritonServers
from tests.processors.triton_door import FULL, always, but_silence, door_of, once, too_large_above
from tests.processors.triton_rig import WAIT_S, Rig, calls, is_ready, loaded, regions_of, until, windows


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.fixture
def pair(rig: Rig, triton_servers: TritonServers) -> tuple[TritonServer, TritonServer]:
    return triton_servers(rig.repository, ["tiny"]), triton_servers(rig.repository, ["tiny"])


async def test_closing_cancels_what_pauses_before_a_busy_server(
    rig: Rig, triton_servers: TritonServers
) -> None:
    async with (
        door_of(triton_servers(rig.repository, ["tiny"])) as door,
        rig.scorer(door, shared_memory="off") as (scorer, metrics),
    ):
        door.rule = always(FULL, "ModelInfer")
        pausing = [asyncio.create_task(scorer.score(windows(2))) for _ in range(4)]
        await until(lambda: calls(metrics, door, "busy") >= 12)
        await scorer.close()
        await asyncio.wait(pausing, timeout=WAIT_S)
        assert all(task.cancelled() for task in pausing)


async def test_a_server_that_fails_on_large_batches_only_loses_none(
    rig: Rig, pair: tuple[TritonServer, TritonServer]
) -> None:
    healthy, behind = pair
    async with (
        door_of(behind) as door,
        rig.scorer(healthy, door, shared_memory="off") as (scorer, metrics),
        loaded(rig, scorer) as load,
    ):
        await until(lambda: calls(metrics, door) > 0)
        door.rule = too_large_above(1)
        await until(lambda: not is_ready(metrics, door))
        await load.more(300)
        assert not is_ready(metrics, door)
        door.rule = None
        await until(lambda: is_ready(metrics, door))


async def test_a_server_that_fails_on_sound_only_is_found_out_by_another(
    rig: Rig, pair: tuple[TritonServer, TritonServer], caplog: pytest.LogCaptureFixture
) -> None:
    healthy, behind = pair
    async with (
        door_of(behind, rule=but_silence) as door,
        rig.scorer(healthy, door, shared_memory="off") as (scorer, metrics),
        loaded(rig, scorer) as load,
    ):
        await until(lambda: calls(metrics, door, "failed") > 0)
        await load.more(300)
    assert f"Triton {door.url} is away: it fails on what is scored elsewhere" in caplog.text
    assert calls(metrics, door) == 0


async def test_what_a_lone_server_fails_on_is_scored_in_process_or_final(
    rig: Rig, triton_servers: TritonServers
) -> None:
    pcm = windows(3)
    async with door_of(triton_servers(rig.repository, ["tiny"]), rule=but_silence) as door:
        fallback = OnnxScorer(rig.directory, rig.spec)
        async with rig.scorer(door, fallback=fallback, shared_memory="off") as (scorer, _):
            scored = await scorer.score(pcm)
            assert (scored.scores.tobytes(), scored.identity) == (rig.onnx.run(pcm).tobytes(), ONNX_IDENTITY)
        async with rig.scorer(door, shared_memory="off") as (scorer, _):
            with pytest.raises(ScorerError, match=rf"Triton {door.url}, model tiny/1: INTERNAL: .*of memory"):
                await scorer.score(pcm)


async def test_an_endpoint_that_is_no_triton_any_more_does_not_disturb_the_others(
    rig: Rig, pair: tuple[TritonServer, TritonServer]
) -> None:
    healthy, behind = pair
    async with (
        door_of(behind) as door,
        rig.scorer(healthy, door, shared_memory="off") as (scorer, metrics),
        loaded(rig, scorer, 20) as load,
    ):
        await load.more(50)
        door.rule = always((grpc.StatusCode.UNIMPLEMENTED, "what is that?"))
        await until(lambda: not is_ready(metrics, door))
        await load.more(300)
        door.rule = None
        await until(lambda: is_ready(metrics, door))


async def test_memory_is_shared_although_the_first_try_met_a_server_that_was_away(
    rig: Rig, triton_servers: TritonServers
) -> None:
    server = triton_servers(rig.repository, ["tiny"])
    away = once("SystemSharedMemoryRegister", (grpc.StatusCode.UNAVAILABLE, "gone"))
    async with door_of(server, rule=away) as door, rig.scorer(door, shared_memory="system"):
        assert len(await regions_of(server)) == 4


async def test_a_server_that_cannot_map_our_memory_is_asked_again_once_it_was_away(
    rig: Rig, triton_servers: TritonServers, caplog: pytest.LogCaptureFixture
) -> None:
    server = triton_servers(rig.repository, ["tiny"])
    foreign = once("SystemSharedMemoryRegister", (grpc.StatusCode.INTERNAL, "unable to open"))
    async with door_of(server, rule=foreign) as door, rig.scorer(door) as (scorer, _):
        assert f"Triton {door.url}: batches go through gRPC, not shared memory" in caplog.text
        assert await regions_of(server) == set()
        await scorer.score(windows(3))
        door.rule = once("ModelInfer", (grpc.StatusCode.UNAVAILABLE, "gone"))
        await scorer.score(windows(3))
        assert len(await regions_of(server)) == 4
