"""What a Triton serves is the model that the spec names, or a worker refuses to start and says why."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from infra.local.triton import TritonServer
from models.repository import write_repository
from processors.metrics import Metrics
from processors.score import ScorerSettings
from processors.triton.check import in_time
from processors.triton.endpoint import is_local
from processors.triton.load import load
from processors.triton.scorer import TritonScorer
from schemas.errors import ConfigurationError, StopError
from schemas.model import ModelSpec
from tests.conftest import TritonServers
from tests.processors.tiny_model import write_model
from tests.processors.triton_door import door_of
from tests.processors.triton_rig import Rig, until, windows


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def refusal(server: TritonServer, spec: ModelSpec, **more: Any) -> str:
    """Start a scorer that is refused, and return what it says."""
    settings = ScorerSettings(kind="triton", endpoints=(server.url,), **more)
    with pytest.raises(ConfigurationError) as refused:
        await TritonScorer(spec, settings, Metrics()).start()
    return str(refused.value)


def but(spec: ModelSpec, **changes: Any) -> ModelSpec:
    """Return a spec that differs."""
    return ModelSpec.model_validate({**spec.model_dump(), **changes})


def edit(rig: Rig, pattern: str, becomes: str | Callable[[re.Match[str]], str]) -> None:
    """Change a repository by hand."""
    config = rig.served / "config.pbtxt"
    text, changes = re.subn(pattern, becomes, config.read_text("utf-8"))
    assert changes
    config.write_text(text, "utf-8")


async def test_what_differs_is_named_with_the_endpoint_the_model_and_what_is_accepted(
    rig: Rig, triton_servers: TritonServers
) -> None:
    server = triton_servers(rig.repository, ["tiny"])
    spec = rig.spec
    differences: list[tuple[dict[str, Any], str]] = [
        ({"window_samples": 8000}, r"shape of input 'audio' is \[-1, 3200\]; accepted: \[-1, 8000\]"),
        ({"input": {"name": "sound"}}, r"input is \['audio'\]; accepted: 'sound'"),
        ({"input": {"dtype": "float32"}}, "type of input 'audio' is 'INT16'; accepted: FP32"),
        ({"output": {"name": "logits"}}, r"output is \['scores'\]; accepted: 'logits'"),
        (
            {"labels": ("loud",), "thresholds": {"loud": 0.5}},
            r"shape of output 'scores' is \[-1, 2\]; accepted: \[-1, 1\]",
        ),
        ({"digest": "0" * 64}, rf"earwitness\.digest\.1 is '{spec.digest}'; accepted: {'0' * 64}"),
        ({"version": "7"}, "'not ready'; accepted: a version that loads; there is version 1: READY"),
        ({"name": "other"}, "'not ready'; accepted: one of its models, tiny"),
    ]
    for changes, expected in differences:
        said = await refusal(server, but(spec, **changes))
        wanted = but(spec, **changes)
        assert f"scorer.endpoints: {server.url}, model {wanted.name}/{wanted.version}" in said
        assert re.search(expected, said), said
        assert "earwitness model repository" in said


async def test_a_repository_that_does_not_say_whose_weights_it_has_is_refused(
    rig: Rig, triton_servers: TritonServers
) -> None:
    edit(rig, r"earwitness\.digest\.1", "somebody.else")
    said = await refusal(triton_servers(rig.repository, ["tiny"]), rig.spec)
    assert "parameter earwitness.digest.1 is None" in said


async def test_a_missing_file_is_refused_with_tritons_own_reason(
    rig: Rig, triton_servers: TritonServers
) -> None:
    spec = rig.spec
    (rig.served / "1" / "model.onnx").unlink()
    said = await refusal(triton_servers(rig.repository, ["tiny"], tolerant=True), spec)
    assert "model tiny/1" in said
    assert "model.onnx" in said


async def test_a_model_that_is_not_loaded_yet_is_waited_for(
    rig: Rig, triton_servers: TritonServers, caplog: pytest.LogCaptureFixture
) -> None:
    server = triton_servers(rig.repository)
    scorer = TritonScorer(rig.spec, rig.settings(server), Metrics())
    starting = asyncio.create_task(scorer.start())
    await until(lambda: f"Triton {server.url} is away: model tiny/1 is not loaded" in caplog.text)
    await load(rig.spec, rig.settings(server))
    await starting
    await scorer.score(windows(1))
    await scorer.close()


async def test_a_version_is_found_that_a_server_loads_by_itself(
    rig: Rig, tmp_path: Path, triton_servers: TritonServers
) -> None:
    polls = ["--model-control-mode=poll", "--repository-poll-secs=1"]
    server = triton_servers(rig.repository, options=polls)
    second = tmp_path / "second"
    spec = write_model(second, version="2")
    write_repository(rig.repository, [second], {})
    await load(spec, rig.settings(server))
    async with rig.scorer(server) as (scorer, _):
        await scorer.score(windows(1))


async def test_what_is_no_triton_is_refused(rig: Rig) -> None:
    server = grpc.aio.server()
    url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    scorer = TritonScorer(rig.spec, ScorerSettings(kind="triton", endpoints=(url,)), Metrics())
    with pytest.raises(ConfigurationError, match=rf"{url}.*UNIMPLEMENTED.*accepted: a Triton, with its"):
        await scorer.start()
    await server.stop(None)


async def test_an_address_that_leads_to_servers_that_differ_is_not_used(
    rig: Rig, triton_servers: TritonServers, caplog: pytest.LogCaptureFixture
) -> None:
    one = triton_servers(rig.repository, ["tiny"])
    edit(rig, r"max_batch_size: 32", "max_batch_size: 64")
    other = triton_servers(rig.repository, ["tiny"])
    async with door_of(one, other) as door:
        scorer = TritonScorer(rig.spec, rig.settings(door), Metrics())
        starting = asyncio.create_task(scorer.start())
        await until(lambda: f"Triton {door.url} is away" in caplog.text)
        assert re.search(r"max_batch=32.*max_batch=64.*an endpoint is one server", caplog.text)
        starting.cancel()
        await asyncio.wait([starting])


async def test_one_wrong_endpoint_of_two_is_refused(
    rig: Rig, tmp_path: Path, triton_servers: TritonServers
) -> None:
    wrong = Rig(tmp_path / "wrong", labels=("a", "b"), thresholds={"a": 0.1, "b": 0.1})
    edit(wrong, rig.spec.digest, "1" * 64)
    right_one = triton_servers(rig.repository, ["tiny"])
    wrong_one = triton_servers(wrong.repository, ["tiny"])
    with pytest.raises(ConfigurationError, match=wrong_one.url):
        async with rig.scorer(right_one, wrong_one):
            pass


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"endpoints": ()}, r"scorer\.endpoints is \(\); accepted: 1 to 64 of host:port"),
        ({"endpoints": ("triton",)}, r"scorer\.endpoints is 'triton'; accepted: host:port"),
        ({"endpoints": ("triton:0",)}, r"is 'triton:0'; accepted: host:port"),
        ({"endpoints": ("triton:65536",)}, "is 'triton:65536'"),
        ({"endpoints": ("http://triton:8001",)}, "is 'http://triton:8001'"),
        ({"endpoints": ("a:1", "a:1")}, "accepted: every endpoint once"),
        ({"endpoints": ("a:1",), "channels": 0}, r"scorer\.channels is 0; accepted: 1 to 64"),
        ({"endpoints": ("a:1",), "concurrency": 300}, r"scorer\.concurrency is 300"),
        ({"endpoints": ("a:1",), "deadline_ms": 0}, r"scorer\.deadline_ms is 0"),
        ({"endpoints": ("a:1",), "ca_file": Path("ca.pem")}, r"scorer\.tls is False"),
        ({"endpoints": ("a:1",), "tls": True, "key_file": Path("key.pem")}, "both or none"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        ScorerSettings(kind="triton", **given)


def test_an_authority_that_cannot_be_read_is_refused(rig: Rig, tmp_path: Path) -> None:
    settings = ScorerSettings(kind="triton", endpoints=("a:1",), tls=True, ca_file=tmp_path / "none.pem")
    with pytest.raises(ConfigurationError, match=r"scorer\.ca_file.*accepted: a readable PEM file"):
        TritonScorer(rig.spec, settings, Metrics())


def test_files_that_tls_cannot_use_are_refused(rig: Rig, tmp_path: Path) -> None:
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("not a certificate", "utf-8")
    with pytest.raises(ConfigurationError, match=r"scorer\.ca_file.*accepted: a PEM file of cert"):
        _secured(rig, ca_file=nonsense)
    with pytest.raises(ConfigurationError, match=r"scorer\.certificate_file.*accepted: a PEM file whose"):
        _secured(rig, certificate_file=nonsense, key_file=nonsense)


def _secured(rig: Rig, **files: Any) -> None:
    settings = ScorerSettings(kind="triton", endpoints=("a:1",), tls=True, **files)
    TritonScorer(rig.spec, settings, Metrics())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("triton:1", False),
        ("10.0.0.1:1", False),
    ],
)
def test_memory_is_shared_on_loopback_only(address: str, expected: bool) -> None:
    assert is_local(address) is expected


async def test_calls_whose_deadlines_pass_without_a_word_end_the_process() -> None:
    with pytest.raises(StopError, match="gRPC ends no calls any more: 0 s are over"):
        await in_time(_answered(asyncio.Event()), 0.0, spare_s=0.01)


async def test_a_process_that_stood_still_finds_the_time_over_and_waits_for_the_answer_all_the_same() -> None:
    answer = asyncio.Event()
    asyncio.get_running_loop().call_soon(answer.set)
    assert await in_time(_answered(answer), -60.0, spare_s=60.0) == "served"


async def _answered(answer: asyncio.Event) -> str:
    await answer.wait()
    return "served"
