"""Counters are there before anything happens, histograms are the same for one sensor and for a thousand."""

from dataclasses import replace

from prometheus_client import CollectorRegistry

from processors.metrics import Metrics
from schemas.detection import DetectionState
from schemas.errors import DeadLetterError
from schemas.latency import Readings
from tests.processors.test_publish import ACTIVE

SENT = Readings(
    {
        "captured": ACTIVE.end_us,
        "appended": ACTIVE.end_us + 2_000,
        "decided": ACTIVE.end_us + 20_000,
        "sent": ACTIVE.end_us + 21_000,
    }
)


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Return the values of one metric by their labels."""
    return {
        tuple(sample.labels.items()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


def test_every_reason_of_a_dead_letter_is_zero_before_the_first() -> None:
    found = samples(Metrics().registry, "earwitness_dead_letters_total")
    reasons = {reason.__name__ for reason in DeadLetterError.__subclasses__()}
    assert found == {(("reason", reason),): 0.0 for reason in reasons}
    assert "MalformedRecordError" in reasons


def test_no_metric_has_a_label_for_each_sensor() -> None:
    metrics = Metrics()
    metrics.observe_detection(ACTIVE, SENT, ACTIVE.end_us // 1000 + 25)
    labels = {
        label for metric in metrics.registry.collect() for sample in metric.samples for label in sample.labels
    }
    assert labels == {"label", "le", "reason", "stage", "state"}


def test_only_the_beginning_of_a_detection_has_a_latency() -> None:
    metrics = Metrics()
    metrics.observe_detection(ACTIVE, SENT, ACTIVE.end_us // 1000 + 25)
    metrics.observe_detection(replace(ACTIVE, state=DetectionState.ENDED), SENT, ACTIVE.end_us // 1000 + 9000)
    lengths_s = {"decided_to_sent": 0.001, "sent_to_published": 0.004, "captured_to_published": 0.025}
    assert samples(metrics.registry, "earwitness_latency_seconds_sum") == {
        (("stage", stage),): length_s for stage, length_s in lengths_s.items()
    }
    assert samples(metrics.registry, "earwitness_latency_seconds_count") == {
        (("stage", stage),): 1.0 for stage in lengths_s
    }
    assert samples(metrics.registry, "earwitness_detections_total") == {
        (("label", "siren"), ("state", "ACTIVE")): 1.0,
        (("label", "siren"), ("state", "ENDED")): 1.0,
    }


def test_the_lag_of_a_partition_that_is_gone_is_forgotten() -> None:
    metrics = Metrics()
    metrics.set_lag(("audio.frames", 3), records=7, seconds=0.5, committed=40)
    lags = {
        f"earwitness_{name}": value
        for name, value in (
            ("position_lag_records", 7.0),
            ("position_lag_seconds", 0.5),
            ("committed_lag_records", 40.0),
        )
    }
    for name, value in lags.items():
        assert samples(metrics.registry, name) == {(("partition", "audio.frames[3]"),): value}
    metrics.forget_partitions()
    for name in lags:
        assert samples(metrics.registry, name) == {}


def test_what_the_core_counted_is_added() -> None:
    metrics = Metrics()
    metrics.add({"late": 3, "gap": 2})
    metrics.add({"gap": 1})
    assert samples(metrics.registry, "earwitness_late_frames_total") == {(): 3.0}
    assert samples(metrics.registry, "earwitness_windows_total") == {(("outcome", "GAP"),): 3.0}
