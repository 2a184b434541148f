"""The stages of a window add up to its total, to the microsecond: no time is lost between two of them."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from processors.batch import BatchSettings
from processors.decision import Decision
from processors.ledger import BUCKETS_S, TARGETS_S, StageHistogram, readings, stages
from processors.metrics import Metrics
from processors.partition import Output, Start
from processors.pipeline import Pipeline
from processors.run import Feed, Slot
from schemas.codec import Codec
from schemas.detection import Detection, DetectionState
from schemas.latency import READINGS
from schemas.model import ModelSpec
from tests.processors.shell import LOUD, TOPICS, frames_of, records_of, stretches
from tests.processors.tiny_model import LABELS, RATE_HZ, WINDOW

KEY = (TOPICS.frames, 0)
MICROSECOND_S = 1e-6
"""A time of day in seconds since 1970 is known to a quarter of a microsecond as a float."""
SPEC = ModelSpec(
    name="tiny",
    version="1",
    sample_rate_hz=RATE_HZ,
    window_samples=WINDOW,
    hop_samples=WINDOW,
    labels=LABELS,
    thresholds=dict.fromkeys(LABELS, 0.5),
    m=1,
    n=1,
    licence="Apache-2.0",
    digest="0" * 64,
)


def windows(feeds: list[Feed], batch: BatchSettings) -> Pipeline:
    """Return a pipeline in which one loud window of each feed waits."""
    pipeline, codec = Pipeline(Decision(SPEC), Codec(), batch), Codec()
    pipeline.assign({KEY: Start(0, 0)})
    records = records_of(codec, frames_of(stretches(*[LOUD] * len(feeds))))
    each = len(records) // len(feeds)
    for n, feed in enumerate(feeds):
        pipeline.feed(KEY, records[n * each : (n + 1) * each], feed)
    return pipeline


@cache
def heard() -> Output:
    """Return a detection that begins, with the window that decided it."""
    pipeline = windows([Feed(0.0)], BatchSettings(max_windows=1))
    batch = pipeline.take(0.0)
    assert batch is not None
    pipeline.scored(batch, np.array([[1.0, 0.0]], np.float32), 0.0)
    (active,) = [o for o in pipeline.outputs() if isinstance(o.record, Detection)]
    assert isinstance(active.record, Detection)
    assert active.record.state is DetectionState.ACTIVE
    return active


def decided(feed: Feed, batched_s: float, scored_s: float | None, decided_s: float | None) -> Slot:
    """Return a window that was read, batched, scored and decided at these times."""
    slot = heard().slot
    assert slot is not None
    return replace(slot, feed=feed, batched_s=batched_s, scored_s=scored_s, decided_s=decided_s)


times = st.lists(st.floats(0, 100, allow_nan=False), min_size=8, max_size=8)


@settings(deadline=None)
@given(
    boot_s=st.floats(0, 1e7),
    waits=times,
    wall_s=st.floats(1.7e9, 4e9),
    read=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_the_parts_add_up_whatever_was_read_and_are_those_of_the_header(
    boot_s: float, waits: list[float], wall_s: float, read: tuple[bool, bool, bool]
) -> None:
    fetched, taken, decoded, windowed, batched, scored, at_last, now_s = boot_s + np.cumsum(waits)
    before = [at if there else None for at, there in zip((fetched, decoded, windowed), read, strict=True)]
    slot = decided(Feed(taken, *before), batched, scored, at_last)
    found = readings(slot, now_s, wall_s).published(round(wall_s * 1000) + 3)
    parts = found.stages()
    assert sum(part.length_us for part in parts) == found.total_us
    assert found.total_us == found.at_us["published"] - found.at_us["captured"]
    skipped = {
        name for name, there in zip(("fetched", "decoded", "windowed"), read, strict=True) if not there
    }
    assert [part.name for part in parts] == [name for name in READINGS[1:] if name not in skipped]

    lengths = list(stages(slot, wall_s - now_s))
    assert [(before, name) for before, name, _ in lengths] == [(p.before, p.name) for p in parts[:-2]]
    for part, (_, name, length_s) in zip(parts, lengths, strict=False):
        assert length_s == pytest.approx(part.length_us / 1e6, abs=2 * MICROSECOND_S), name


@settings(deadline=None)
@given(waits=times, wall_s=st.floats(1.7e9, 4e9))
@example(
    waits=[
        1.7057588110739772,
        1.0066249943280567,
        1.5952079128371608,
        1.4319857468417077,
        1.2999999999999998,
        1.6636712999110728,
        1.7057588110739772,
        1.9355856669260874,
    ],
    wall_s=3898483661.0,
)
def test_the_sums_of_the_metrics_add_up_to_the_total(waits: list[float], wall_s: float) -> None:
    fetched, taken, decoded, windowed, batched, scored, at_last, now_s = 1e6 + np.cumsum(waits)
    slot = decided(Feed(taken, fetched, decoded, windowed), batched, scored, at_last)
    metrics = Metrics()
    metrics.observe_window(slot, wall_s - now_s)
    way = READINGS[: READINGS.index("decided") + 1]
    parts_s = [sum_of(metrics.registry, f"{before}_to_{name}") for before, name in pairwise(way)]
    # Half a microsecond is the last bit of seconds since 1970: adding them one by one would round each time.
    assert math.fsum(parts_s) == pytest.approx(
        sum_of(metrics.registry, "captured_to_decided"), rel=0, abs=MICROSECOND_S
    )


def sum_of(registry: CollectorRegistry, stage: str) -> float:
    found = registry.get_sample_value("earwitness_latency_seconds_sum", {"stage": stage})
    assert found is not None, stage
    return found


def test_the_readings_are_those_of_the_windows_last_sample_on_the_clocks_of_its_day() -> None:
    feed = Feed(100.002, fetched_s=100.001, decoded_s=100.003, windowed_s=100.004)
    slot = decided(feed, batched_s=100.005, scored_s=100.008, decided_s=100.009)
    sent_us = 1_800_000_000_500_000
    assert readings(slot, now_s=100.01, wall_s=1_800_000_000.5).at_us == {
        "captured": slot.window.end_us,
        "appended": slot.window.appended_ms * 1000,
        "fetched": sent_us - 9_000,
        "decoded": sent_us - 7_000,
        "windowed": sent_us - 6_000,
        "batched": sent_us - 5_000,
        "scored": sent_us - 2_000,
        "decided": sent_us - 1_000,
        "sent": sent_us,
    }
    last_read_us = frames_of(stretches(LOUD))[-1].captured_at_us
    assert slot.window.end_us == last_read_us + 1_000_000 // RATE_HZ  # the sample behind the last one


# -- batched: when a batch was due, unless whoever takes it was late -----------------------------------------


def batched(
    ready_s: list[float], now_s: float, busy_since_s: float | None, wait_ms: float = 10, size: int = 2
) -> list[float | None]:
    """Return when the windows of the first batch count as batched."""
    pipeline = windows([Feed(at) for at in ready_s], BatchSettings(max_windows=size, max_wait_ms=wait_ms))
    batch = pipeline.take(now_s, busy_since_s=busy_since_s)
    assert batch is not None
    return [slot.batched_s for slot in batch.items]


def test_while_something_could_score_a_batch_that_is_taken_late_was_batched_late() -> None:
    assert batched([5.0], now_s=5.2, busy_since_s=None) == [5.2]


def test_while_nothing_can_score_it_a_batch_is_complete_when_its_oldest_has_waited() -> None:
    assert batched([5.0], now_s=6.0, busy_since_s=4.0) == [pytest.approx(5.01)]


def test_while_nothing_can_score_it_a_full_batch_is_complete_when_the_last_has_come() -> None:
    assert batched([5.0, 5.003], now_s=6.0, busy_since_s=4.0) == [5.003, 5.003]


def test_what_comes_when_the_batch_is_due_already_waits_for_nothing_but_the_scorer() -> None:
    assert batched([5.0, 5.7], now_s=6.0, busy_since_s=4.0) == [pytest.approx(5.01), 5.7]


def test_a_batch_that_was_late_already_when_the_last_scorer_was_taken_waits_for_it_from_then_on() -> None:
    assert batched([5.0], now_s=6.0, busy_since_s=5.5) == [5.5]


def test_no_window_is_batched_before_it_is_cut() -> None:
    pipeline = windows([Feed(5.0, windowed_s=5.004)], BatchSettings(max_windows=1))
    batch = pipeline.take(6.0, busy_since_s=4.0)
    assert batch is not None
    assert [slot.batched_s for slot in batch.items] == [5.004]


# -- the histogram ------------------------------------------------------------------------------------------


def test_a_length_counts_in_the_first_bucket_that_holds_it_and_in_all_above() -> None:
    registry = CollectorRegistry()
    histogram = StageHistogram("took_seconds", "How long.")
    registry.register(histogram)
    for length_s in (-0.5, 0.006, 0.0061, 100.0):
        histogram.observe([("batched", "scored", length_s)])

    def value(part: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"took_seconds_{part}", {"stage": "batched_to_scored", **labels})

    at_most = {le: value("bucket", le=le) for le in ("0.0001", "0.006", "0.008", "60.0", "+Inf")}
    assert at_most == {"0.0001": 1.0, "0.006": 2.0, "0.008": 3.0, "60.0": 3.0, "+Inf": 4.0}
    assert value("count") == 4.0
    assert value("sum") == pytest.approx(99.5121)


def test_whether_a_target_is_kept_can_be_read_from_the_buckets() -> None:
    assert set(TARGETS_S) <= set(BUCKETS_S)
    assert list(BUCKETS_S) == sorted(BUCKETS_S)
