"""What operators ask over HTTP: figures that Prometheus can read, and whether the worker takes part."""

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from processors.membership import StatusSettings
from processors.metrics import Metrics
from processors.status import serve_status
from schemas.errors import ConfigurationError

ANY_PORT = StatusSettings(port=0)


async def get(port: int, path: str) -> tuple[int, str, str]:
    """Return the status, the content type and the text of an answer."""
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_metrics_are_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.frames.inc(7)
    metrics.dead_letters.labels("MalformedRecordError").inc()
    async with serve_status(ANY_PORT, metrics.registry, lambda: True) as port:
        status, kind, text = await get(port, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    found = {
        (sample.name, sample.labels.get("reason")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["earwitness_frames_total", None] == 7.0
    assert found["earwitness_dead_letters_total", "MalformedRecordError"] == 1.0
    assert found["earwitness_dead_letters_total", "StaleEpochError"] == 0.0
    assert found["process_resident_memory_bytes", None] > 0


async def test_a_worker_is_ready_from_when_it_says_so_and_healthy_all_along() -> None:
    ready = False
    async with serve_status(ANY_PORT, Metrics().registry, lambda: ready) as port:
        status, _, text = await get(port, "/readyz")
        assert (status, text) == (503, "not ready: no partitions assigned yet\n")
        assert (await get(port, "/healthz"))[0] == 200
        ready = True
        assert (await get(port, "/readyz"))[0] == 200
        ready = False
        assert (await get(port, "/readyz"))[0] == 503
        assert (await get(port, "/healthz"))[0] == 200


async def test_what_is_not_there_is_not_found() -> None:
    async with serve_status(ANY_PORT, Metrics().registry, lambda: True) as port:
        assert (await get(port, "/"))[0] == 404


async def test_a_port_that_is_in_use_is_refused_and_free_again_afterwards() -> None:
    registry = Metrics().registry
    async with serve_status(ANY_PORT, registry, lambda: True) as port:
        with pytest.raises(ConfigurationError, match=rf"status is '127\.0\.0\.1:{port}'; accepted: a free"):
            async with serve_status(StatusSettings(port=port), registry, lambda: True):
                raise AssertionError("two servers on one port")
    async with serve_status(StatusSettings(port=port), registry, lambda: True) as again:
        assert again == port


async def test_an_address_that_is_not_ours_is_refused() -> None:
    elsewhere = StatusSettings(host="192.0.2.1", port=0)
    with pytest.raises(ConfigurationError, match=r"status is '192\.0\.2\.1:0'"):
        async with serve_status(elsewhere, Metrics().registry, lambda: True):
            raise AssertionError("an address of TEST-NET-1 is nobody's")


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"status\.port is {port}; accepted: 0 to 65535"):
        StatusSettings(port=port)
