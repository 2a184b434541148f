"""What a worker measures: Prometheus metrics, with labels of bounded size."""

from collections import Counter as Tally
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from processors.batch import Batch
from processors.ledger import BUCKETS_S, StageHistogram, stages
from processors.run import Slot
from schemas.detection import Detection, DetectionState
from schemas.errors import DeadLetterError
from schemas.latency import Readings, Stage

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one worker, in a registry of their own.

    Those of a shadow have a `prefix` of their own: no alert about who listens takes them for a worker's.
    """

    def __init__(self, prefix: str = "earwitness") -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.frames = Counter(f"{prefix}_frames_total", "Records read from frames topics.", registry=registry)
        self.windows = Counter(
            f"{prefix}_windows_total", "Windows decided, by outcome.", ["outcome"], registry=registry
        )
        self.detections = Counter(
            f"{prefix}_detections_total",
            "Detections published, by label and state.",
            ["label", "state"],
            registry=registry,
        )
        self.dead_letters = Counter(
            f"{prefix}_dead_letters_total",
            "Dead letters published, by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in DeadLetterError.__subclasses__():  # or `increase()` would not see the first one
            self.dead_letters.labels(reason.__name__)
        self.late_frames = Counter(
            f"{prefix}_late_frames_total", "Frames dropped as late or duplicate.", registry=registry
        )
        self.sensors_live = Gauge(f"{prefix}_sensors_live", "Sensors with an open run.", registry=registry)
        self.sensors_missing = Gauge(
            f"{prefix}_sensors_missing",
            "Expected sensors of this worker's partitions without an open run.",
            registry=registry,
        )
        self.batch_windows = Histogram(
            f"{prefix}_batch_windows", "Windows in a batch.", buckets=BATCH_BUCKETS, registry=registry
        )
        self.score_seconds = Histogram(
            f"{prefix}_score_seconds", "Time to score a batch.", buckets=BUCKETS_S, registry=registry
        )
        self.latency_seconds = StageHistogram(
            f"{prefix}_latency_seconds",
            "Time of every decided window, and of detections, by stage; what begins with captured holds the "
            "sensor's clock offset.",
        )
        registry.register(self.latency_seconds)
        self.position_lag_records = Gauge(
            f"{prefix}_position_lag_records",
            "Records appended and not read.",
            ["partition"],
            registry=registry,
        )
        self.position_lag_seconds = Gauge(
            f"{prefix}_position_lag_seconds",
            "Age of the last record read, while there are more.",
            ["partition"],
            registry=registry,
        )
        self.backlog_windows = Gauge(
            f"{prefix}_backlog_windows", "Windows that wait, or are being scored.", registry=registry
        )
        self.backlog_seconds = Gauge(
            f"{prefix}_backlog_seconds",
            "How long the oldest window has waited; grows while the scorer is away.",
            registry=registry,
        )
        self.committed_lag_records = Gauge(
            f"{prefix}_committed_lag_records",
            "Records appended since the low-water mark; never zero while sensors are live.",
            ["partition"],
            registry=registry,
        )
        self.partitions_assigned = Gauge(
            f"{prefix}_partitions_assigned", "Partitions that this worker reads.", registry=registry
        )
        self.partitions_held = Gauge(
            f"{prefix}_partitions_held",
            "Partitions held back because the scorer is behind.",
            registry=registry,
        )
        self.published = Counter(
            f"{prefix}_published_total", "Records published, by topic.", ["topic"], registry=registry
        )
        self.outputs_unacknowledged = Gauge(
            f"{prefix}_outputs_unacknowledged", "Outputs that are not in the log yet.", registry=registry
        )
        self.rollouts_age_seconds = Gauge(
            f"{prefix}_rollouts_age_seconds",
            "How long ago all rollouts were known; from 5 s on nothing is read.",
            registry=registry,
        )
        self.rollouts_ignored = Gauge(
            f"{prefix}_rollouts_ignored",
            "Rollouts that were announced and never count.",
            registry=registry,
        )
        self.model_ready = Gauge(
            f"{prefix}_model_ready",
            "Whether a model that windows need, or will need, is open.",
            ["model"],
            registry=registry,
        )
        self.scorer_calls = Counter(
            f"{prefix}_scorer_calls_total",
            "Batches sent to an endpoint, by what came of it.",
            ["endpoint", "outcome"],
            registry=registry,
        )
        self.scorer_call_seconds = Histogram(
            f"{prefix}_scorer_call_seconds",
            "Time from a call to its answer.",
            ["endpoint"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.scorer_ready = Gauge(
            f"{prefix}_scorer_ready",
            "Whether an endpoint serves a model as it is wanted.",
            ["endpoint", "model"],
            registry=registry,
        )
        self.scorer_retries = Counter(
            f"{prefix}_scorer_retries_total", "Batches that were tried again.", registry=registry
        )
        self.scorer_fallback_windows = Counter(
            f"{prefix}_scorer_fallback_windows_total",
            "Windows scored in process because no endpoint was ready.",
            registry=registry,
        )

    def observe_batch(self, batch: Batch[Slot], scored_s: float) -> None:
        """Count a batch's windows by outcome, and how long they took to score."""
        self.score_seconds.observe(scored_s)
        self.batch_windows.observe(len(batch.items))
        for outcome, windows in Tally(slot.outcome for slot in batch.items).items():
            if outcome is not None:
                self.windows.labels(outcome.value).inc(windows)

    def observe_window(self, slot: Slot, ahead_s: float) -> None:
        """Count where the time of a decided window went; `ahead_s` is the wall clock minus the monotonic."""
        self.latency_seconds.observe(stages(slot, ahead_s))
        if slot.decided_s is not None:
            total_s = slot.decided_s + ahead_s - slot.window.end_us / 1_000_000
            self.latency_seconds.observe([("captured", "decided", total_s)])

    def observe_scorer_call(self, endpoint: str, outcome: str, call_s: float) -> None:
        """Count a call to an endpoint by what came of it; only answers are timed."""
        self.scorer_calls.labels(endpoint, outcome).inc()
        if outcome == "ok":
            self.scorer_call_seconds.labels(endpoint).observe(call_s)

    def observe_detection(self, detection: Detection, sent: Readings | None, appended_ms: int) -> None:
        """Count a detection that is in the log since `appended_ms`; `sent` are the readings of its window."""
        self.detections.labels(detection.label, detection.state.value).inc()
        if detection.state is not DetectionState.ACTIVE or sent is None:
            return
        *_, to_sent, to_published = (published := sent.published(appended_ms)).stages()
        total = Stage("captured", "published", published.total_us)
        lengths = (to_sent, to_published, total)
        self.latency_seconds.observe((one.before, one.name, one.length_us / 1e6) for one in lengths)

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what the core has counted."""
        self.late_frames.inc(counts.get("late", 0))
        self.windows.labels("GAP").inc(counts.get("gap", 0))

    def set_lag(self, partition: tuple[str, int], records: int, seconds: float, committed: int) -> None:
        """Set how far behind a partition is read, and committed."""
        name = f"{partition[0]}[{partition[1]}]"
        self.position_lag_records.labels(name).set(records)
        self.position_lag_seconds.labels(name).set(seconds)
        self.committed_lag_records.labels(name).set(committed)

    def set_models(self, ready: Mapping[str, bool]) -> None:
        """Set which models are open, of those that are needed."""
        self.model_ready.clear()
        for model, is_open in ready.items():
            self.model_ready.labels(model).set(is_open)

    def forget_partitions(self) -> None:
        """Forget the lag of partitions that may be another worker's now."""
        for gauge in (self.position_lag_records, self.position_lag_seconds, self.committed_lag_records):
            gauge.clear()
