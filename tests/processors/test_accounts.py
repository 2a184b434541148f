"""What is told of a window and a detection is what was measured: header and metrics are of one piece."""

import json
from dataclasses import replace
from time import monotonic, time

import pytest

from processors.accounts import Accounts
from processors.membership import Connections
from processors.metrics import Metrics
from processors.partition import Output
from processors.run import Feed
from processors.score import Scorer
from processors.scorers import Scorers
from schemas.frame import MAX_TIME_US
from schemas.latency import LATENCY_HEADER, Readings
from schemas.model import ModelSpec
from tests.processors.shell import TOPICS
from tests.processors.test_ledger import decided, heard, sum_of


async def _no_model(_: ModelSpec) -> Scorer:
    raise AssertionError("nothing is scored here")


def accounts_of(metrics: Metrics) -> Accounts:
    connections = Connections(client={}, broker_urls=(), frames_topics=(TOPICS.frames,))
    return Accounts(metrics, Scorers(_no_model), connections)


def timed(metrics: Metrics) -> set[str]:
    """Return the stages of which there is a time."""
    found = [s for metric in metrics.registry.collect() for s in metric.samples]
    return {s.labels["stage"] for s in found if s.name == "earwitness_latency_seconds_count"}


def test_a_window_that_is_decided_is_timed_up_to_then() -> None:
    metrics, now_s = Metrics(), monotonic()
    slot = decided(Feed(now_s), batched_s=now_s, scored_s=now_s, decided_s=None)
    accounts_of(metrics).decided(slot)
    assert slot.decided_s is not None
    assert slot.decided_s >= now_s
    assert timed(metrics) >= {"batched_to_scored", "scored_to_decided", "captured_to_decided"}


def test_a_window_that_was_never_scored_is_decided_and_not_timed() -> None:
    metrics, now_s = Metrics(), monotonic()
    slot = decided(Feed(now_s), batched_s=now_s, scored_s=None, decided_s=None)
    accounts_of(metrics).decided(slot)
    assert slot.decided_s is not None
    assert timed(metrics) == set()


def test_the_header_of_a_detection_and_what_is_measured_of_it_are_the_same() -> None:
    metrics, now_s = Metrics(), monotonic()
    slot = decided(Feed(now_s), batched_s=now_s, scored_s=now_s, decided_s=now_s)
    output: Output = replace(heard(), slot=slot)
    accounts = accounts_of(metrics)
    written = dict(accounts.headers(output))[LATENCY_HEADER]
    assert written is not None
    appended_ms = round(time() * 1000) + 4
    accounts.published(output, appended_ms)
    whole = Readings.from_wire(written).published(appended_ms)
    lengths_us = {f"{stage.before}_to_{stage.name}": stage.length_us for stage in whole.stages()[-2:]}
    lengths_us["captured_to_published"] = whole.total_us
    assert timed(metrics) == set(lengths_us)
    for stage, length_us in lengths_us.items():
        assert round(sum_of(metrics.registry, stage) * 1e6) == length_us


@pytest.mark.parametrize("end_us", [-1, MAX_TIME_US], ids=["before 1970", "in the year 9999"])
def test_a_sensors_clock_may_stand_anywhere(end_us: int) -> None:
    metrics, now_s = Metrics(), monotonic()
    slot = decided(Feed(now_s), batched_s=now_s, scored_s=now_s, decided_s=now_s)
    output: Output = replace(heard(), slot=replace(slot, window=replace(slot.window, end_us=end_us)))
    accounts = accounts_of(metrics)
    written = dict(accounts.headers(output))[LATENCY_HEADER]
    assert written is not None
    assert json.loads(written)["captured_us"] == end_us
    appended_ms = round(time() * 1000)
    accounts.published(output, appended_ms)
    total_s = (appended_ms * 1000 - end_us) / 1e6
    assert sum_of(metrics.registry, "captured_to_published") == pytest.approx(total_s)
