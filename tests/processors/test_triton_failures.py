"""Tritons that are killed, frozen, slow or away: every batch is scored all the same, with right values."""

import asyncio
import logging
import shutil
from pathlib import Path

import pytest

from infra.local.triton import TritonServer
from processors.score import ONNX_IDENTITY, OnnxScorer
from processors.triton import endpoint
from schemas.errors import ConfigurationError, StopError
from tests.conftest import TritonServers
from tests.processors.tiny_model import loudness_that_fails_when_loud, write_model
from tests.processors.triton_rig import (
    WAIT_S,
    Rig,
    calls,
    is_ready,
    kill_stubs,
    loaded,
    until,
    windows,
)

WAYS = ["off", "system"]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.fixture
def pair(rig: Rig, triton_servers: TritonServers) -> tuple[TritonServer, TritonServer]:
    return triton_servers(rig.repository, ["tiny"]), triton_servers(rig.repository, ["tiny"])


@pytest.mark.parametrize("shared_memory", WAYS)
async def test_a_server_that_is_killed_loses_no_batch_and_is_used_again_when_it_is_back(
    rig: Rig, pair: tuple[TritonServer, TritonServer], shared_memory: str
) -> None:
    one, other = pair
    async with (
        rig.scorer(*pair, shared_memory=shared_memory) as (scorer, metrics),
        loaded(rig, scorer) as load,
    ):
        await load.more(100)
        one.kill()
        await until(lambda: not is_ready(metrics, one))
        await load.more(100)
        assert is_ready(metrics, other)
        await asyncio.to_thread(one.start)
        await until(lambda: is_ready(metrics, one))
        before = calls(metrics, one)
        await until(lambda: calls(metrics, one) >= before + 50)


@pytest.mark.parametrize("shared_memory", WAYS)
async def test_a_frozen_servers_batches_are_scored_elsewhere_and_it_spoils_nothing_when_it_wakes(
    rig: Rig, pair: tuple[TritonServer, TritonServer], shared_memory: str
) -> None:
    one, _ = pair
    async with (
        rig.scorer(*pair, shared_memory=shared_memory) as (scorer, metrics),
        loaded(rig, scorer) as load,
    ):
        await load.more(100)
        one.freeze()
        await until(lambda: not is_ready(metrics, one))
        await load.more(200)
        assert calls(metrics, one, "late") + calls(metrics, one, "moved") > 0
        one.thaw()
        await until(lambda: is_ready(metrics, one))
        before = calls(metrics, one)
        await until(lambda: calls(metrics, one) >= before + 50)
        await load.more(200)


async def test_a_server_that_is_ejected_while_it_is_asked_is_asked_again(
    rig: Rig, pair: tuple[TritonServer, TritonServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "WATCH_S", 0.0)  # there is always a question that its ejection cuts short
    one, _ = pair
    async with rig.scorer(*pair) as (scorer, metrics), loaded(rig, scorer) as load:
        await load.more(50)
        one.freeze()
        await until(lambda: not is_ready(metrics, one))
        await load.more(50)
        one.thaw()
        await until(lambda: is_ready(metrics, one))


async def test_batches_wait_while_all_servers_are_away_and_go_on_when_one_is_back(
    rig: Rig, pair: tuple[TritonServer, TritonServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "processors.triton")
    async with rig.scorer(*pair) as (scorer, metrics), loaded(rig, scorer) as load:
        await load.more(50)
        for server in pair:
            server.kill()
        await until(lambda: not any(is_ready(metrics, server) for server in pair))
        waited_for = load.scored
        await asyncio.to_thread(pair[0].start)
        await load.more(50)
        assert load.scored >= waited_for + 50
    lost = [record for record in caplog.records if "no Triton is ready" in record.message]
    assert len(lost) == 1
    assert all(server.url in lost[0].message for server in pair)
    assert "a Triton is ready again" in caplog.text


async def test_a_lone_server_that_is_frozen_goes_on_when_it_wakes(
    rig: Rig, triton_servers: TritonServers
) -> None:
    server = triton_servers(rig.repository, ["tiny"])
    async with rig.scorer(server, deadline_ms=100) as (scorer, metrics), loaded(rig, scorer) as load:
        await load.more(50)
        server.freeze()
        await until(lambda: not is_ready(metrics, server))
        server.thaw()
        await load.more(50)


async def test_the_fallback_scores_in_process_while_no_server_is_ready(
    rig: Rig, triton_servers: TritonServers
) -> None:
    server = triton_servers(rig.repository, ["tiny"])
    fallback = OnnxScorer(rig.directory, rig.spec)
    async with rig.scorer(server, fallback=fallback) as (scorer, metrics), loaded(rig, scorer) as load:
        await load.more(50)
        assert ONNX_IDENTITY not in load.identities
        server.kill()
        await until(lambda: ONNX_IDENTITY in load.identities)
        await load.more(50)
        assert metrics.registry.get_sample_value("earwitness_scorer_fallback_windows_total")
        await asyncio.to_thread(server.start)
        await until(lambda: is_ready(metrics, server))
        load.identities.clear()
        await load.more(100)
        assert len(load.identities - {ONNX_IDENTITY}) == 1


async def test_a_worker_with_a_fallback_starts_without_any_server(
    rig: Rig, triton_servers: TritonServers
) -> None:
    server = triton_servers(rig.repository, ["tiny"])
    server.kill()
    fallback = OnnxScorer(rig.directory, rig.spec)
    async with rig.scorer(server, fallback=fallback, start_timeout_s=0.5) as (scorer, _):
        assert (await scorer.score(windows(3))).identity == ONNX_IDENTITY


async def test_a_server_whose_model_process_was_killed_is_not_used_though_it_says_that_it_is_ready(
    rig: Rig, pair: tuple[TritonServer, TritonServer]
) -> None:
    one, other = pair
    async with rig.scorer(*pair, deadline_ms=2000) as (scorer, metrics), loaded(rig, scorer) as load:
        await load.more(50)
        kill_stubs(one)
        await until(lambda: not is_ready(metrics, one))
        ejected = calls(metrics, one)
        await load.more(300)
        assert calls(metrics, one) == ejected
        assert is_ready(metrics, other)


async def test_a_server_that_is_slower_than_the_deadline_makes_progress(
    rig: Rig, triton_servers: TritonServers
) -> None:
    rig.slow_down(0.2)
    server = triton_servers(rig.repository, ["tiny"])
    async with rig.scorer(server, deadline_ms=20) as (scorer, metrics), loaded(rig, scorer, 4) as load:
        await load.more(12)
        assert calls(metrics, server, "late") > 0
        await load.more(12)
    assert calls(metrics, server, "late") < load.scored  # the deadline was learned


async def test_two_servers_that_are_slower_than_the_deadline_make_progress(
    rig: Rig, triton_servers: TritonServers
) -> None:
    rig.slow_down(0.1)
    servers = [triton_servers(rig.repository, ["tiny"]) for _ in range(2)]
    async with rig.scorer(*servers, deadline_ms=20) as (scorer, _), loaded(rig, scorer, 16) as load:
        await load.more(30)


async def test_a_full_queue_is_waited_for(rig: Rig, triton_servers: TritonServers) -> None:
    config = rig.served / "config.pbtxt"
    full = "dynamic_batching {\n  default_queue_policy { max_queue_size: 1 }"
    config.write_text(config.read_text("utf-8").replace("dynamic_batching {", full), "utf-8")
    rig.slow_down(0.01)
    server = triton_servers(rig.repository, ["tiny"])
    async with rig.scorer(server, concurrency=16) as (scorer, metrics), loaded(rig, scorer, 16) as load:
        await load.more(20)
    assert calls(metrics, server, "busy") > 0
    assert calls(metrics, server, "away") == 0


async def test_a_server_that_comes_back_with_another_model_is_not_used(
    rig: Rig, pair: tuple[TritonServer, TritonServer], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    async with rig.scorer(*pair) as (scorer, metrics), loaded(rig, scorer) as load:
        await load.more(50)
        one.kill()
        _exchange(rig)
        await asyncio.to_thread(one.start)
        await until(lambda: f"{one.url} is refused" in caplog.text)
        await load.more(100)
        assert not is_ready(metrics, one)
        other.kill()
        await asyncio.to_thread(other.start)
        await until(lambda: f"{other.url} is refused" in caplog.text)
        with pytest.raises(StopError, match=rf"no endpoint serves .*{one.url} is refused: .*digest"):
            await load.more(1)
        load.give_up()
    refused = [
        record for record in caplog.records if record.message.startswith(f"Triton {one.url} is refused")
    ]
    assert len(refused) == 1


async def test_scoring_ends_when_nobody_asks_an_endpoint_any_more(
    rig: Rig, triton_servers: TritonServers
) -> None:
    server = triton_servers(rig.repository, ["tiny"])
    async with rig.scorer(server) as (scorer, _), loaded(rig, scorer) as load:
        await load.more(10)
        scorer._pool._keepers[0].cancel()
        with pytest.raises(StopError, match="scoring ended: CancelledError"):
            await load.more(100_000)
        load.give_up()


async def test_closing_ends_what_waits_at_once(rig: Rig, triton_servers: TritonServers) -> None:
    server = triton_servers(rig.repository, ["tiny"])
    async with rig.scorer(server) as (scorer, metrics):
        server.freeze()
        waiting = [asyncio.create_task(scorer.score(windows(2))) for _ in range(20)]
        await until(lambda: not is_ready(metrics, server))
        await scorer.close()
        await asyncio.wait(waiting, timeout=WAIT_S)
        assert all(task.cancelled() for task in waiting)


async def test_a_server_that_does_not_answer_is_admitted_later(
    rig: Rig, pair: tuple[TritonServer, TritonServer], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    one.kill()
    async with rig.scorer(*pair) as (scorer, metrics), loaded(rig, scorer) as load:
        assert f"Triton {one.url} is away: UNAVAILABLE" in caplog.text
        assert f"starting without Triton {one.url} (away: " in caplog.text
        await load.more(20)
        assert not is_ready(metrics, one)
        assert is_ready(metrics, other)
        await asyncio.to_thread(one.start)
        await until(lambda: calls(metrics, one) > 10)


async def test_without_any_server_a_start_is_refused(rig: Rig, triton_servers: TritonServers) -> None:
    server = triton_servers(rig.repository, ["tiny"])
    server.kill()
    with pytest.raises(ConfigurationError, match=rf"scorer\.endpoints.*{server.url} is away: UNAVAILABLE"):
        async with rig.scorer(server, start_timeout_s=3):
            pass


def _exchange(rig: Rig) -> None:
    """Put other weights where the model is served from."""
    shutil.rmtree(rig.repository)
    spec = rig.spec
    write_model(rig.directory, loudness_that_fails_when_loud())
    rig.write()
    assert rig.spec.digest != spec.digest
