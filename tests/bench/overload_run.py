"""A fleet of twice what a scorer can score, then of half of it -> what a worker that sheds said of both.

The scorer is what is short here, not Kafka: its model does a lot of useless work on every window, so that few
sensors are too many for it. With m = n = 1 nearly every window that is scored begins a detection.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.kafka import KafkaServer
from producers.fleet import FleetReport, FleetSettings
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection, DetectionState
from schemas.latency import LATENCY_HEADER, Readings
from schemas.model import ModelSpec, read_spec
from tests.bench.fleet_run import (
    PARTITIONS,
    comes_true,
    report_of,
    scored,
    sounds_in,
    start_fleet,
    windows_of,
)
from tests.integration.harness import (
    CODEC,
    IDLE_AND_MARGIN_S,
    Programs,
    Tenant,
    Timeline,
    Worker,
    timelines,
    wait_until,
)
from tests.integration.quick_model import write_busy_model
from tests.integration.undisturbed import accounted_for, stored

WINDOW_S, BATCH_WINDOWS, FRAME_MS = 0.006, 8, 50
"""A window takes so long that frames of many sensors cost little beside it."""
PROBE_SENSORS, PROBE_S, PROBE_WITHIN_S = 20, 15.0, 300.0
LIVE_S, LIVE_WARM_UP_S = 15.0, 5.0
STEP_S, CLOSES_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Moment:
    """A worker as it is at a time."""

    at_s: float
    scored: int
    shed: int
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Published:
    """A detection that began: when it was appended, how long after its last sample and its last frame."""

    appended_ms: int
    from_captured_ms: float
    from_appended_ms: float


@dataclass(frozen=True, slots=True)
class Phase:
    """One fleet, of so many times the load that can be borne, and where every sample of it went.

    `begun_s` and `ended_s` are of the same clock as the moments.
    """

    sensors: int
    begun_s: float
    ended_s: float
    report: FleetReport
    samples: Mapping[str, Mapping[Outcome, int]]

    @property
    def shed_shares(self) -> list[float]:
        """What fraction of each sensor's sound was shed."""
        return [of.get(Outcome.SHED, 0) / sum(of.values()) for of in self.samples.values()]


@dataclass(frozen=True, slots=True)
class Overload:
    """All that came of it.

    `covered`: coverage accounts for what was stored, to the sample. `undisturbed`: the worker never ended
    and its partitions stayed with it.
    """

    windows_per_s: float
    over: Phase
    under: Phase
    moments: list[Moment]
    published: list[Published]
    windows: int
    covered: bool
    undisturbed: bool

    @property
    def shed_after_s(self) -> float:
        """How long after the load fell a window was shed for the last time, to a second."""
        steps = zip(self.moments, self.moments[1:], strict=False)
        last_s = max((later.at_s for now, later in steps if later.shed > now.shed), default=0.0)
        return max(0.0, last_s - self.over.ended_s)


class OverloadBench:
    """Measures one worker with one model."""

    def __init__(self, kafka: KafkaServer, programs: Programs, folder: Path, deadline_ms: int) -> None:
        self._servers, self._programs = kafka.bootstrap_servers, programs
        self._sounds = sounds_in(folder / "sounds")
        self._sheds = {"worker.overload": "shed", "worker.deadline_ms": deadline_ms}
        self._model = write_busy_model(folder / "busy", WINDOW_S)

    @property
    def spec(self) -> ModelSpec:
        """The model's."""
        return read_spec(self._model)

    def windows_per_s(self) -> float:
        """Measure how many windows a worker scores a second while too many sensors play in real time.

        The sensors take processor time from it: alone with sound that waits in the log it scores more.
        """
        alone = self._alone()
        tenant = self._tenant("overload-probe-live")
        worker, moments = self._work(tenant, **self._sheds), list[Moment]()
        worker.ready()
        (begun_s, _), _ = self._play(tenant, worker, _fleet(3 * self._sensors_for(alone), LIVE_S), moments)
        worker.terminate()
        first, *_, last = [moment for moment in moments if moment.at_s > begun_s + LIVE_WARM_UP_S]
        return (last.scored - first.scored) / (last.at_s - first.at_s)

    def _alone(self) -> float:
        tenant = self._tenant("overload-probe")
        settings = FleetSettings(sensors=PROBE_SENSORS, seconds=PROBE_S, speed=None)
        report = report_of(start_fleet(self._programs, tenant, settings, self._sounds), CLOSES_S)
        worker = self._work(tenant)
        wait_until(lambda: scored(worker) > 0, "a first window")
        since_s, before = time.monotonic(), scored(worker)
        windows = windows_of(self.spec, report)
        wait_until(lambda: scored(worker) >= windows, "all windows", PROBE_WITHIN_S)
        rate = (windows - before) / (time.monotonic() - since_s)
        worker.terminate()
        return rate

    def shed(self, windows_per_s: float, over_s: float, under_s: float) -> Overload:
        """Play twice the load that can be borne, then half of it."""
        tenant = self._tenant("overload")
        worker = self._work(tenant, **self._sheds)
        worker.ready()
        assignments, moments = worker.assignments, list[Moment]()
        borne = self._sensors_for(windows_per_s)
        over = self._play(tenant, worker, _fleet(2 * borne, over_s), moments)
        calm = _fleet(borne / 2, under_s, "calm-{:04d}")
        under = self._play(tenant, worker, calm, moments)
        all_stored = stored(over[1]) | stored(under[1])
        covered = comes_true(
            lambda: accounted_for(tenant.coverage()) == all_stored, CLOSES_S + IDLE_AND_MARGIN_S
        )
        moments.append(_moment(worker))
        undisturbed = worker.process.exit_status is None and worker.assignments == assignments
        worker.terminate()
        samples = _samples(tenant.coverage())
        return Overload(
            windows_per_s=windows_per_s,
            over=_phase(*over, samples),
            under=_phase(*under, samples),
            moments=moments,
            published=list(_published(tenant)),
            windows=windows_of(self.spec, over[1]) + windows_of(self.spec, under[1]),
            covered=covered,
            undisturbed=undisturbed,
        )

    def _tenant(self, name: str) -> Tenant:
        return Tenant(self._servers, name).create(PARTITIONS)

    def _sensors_for(self, windows_per_s: float) -> float:
        return windows_per_s * self.spec.hop_samples / self.spec.sample_rate_hz

    def _work(self, tenant: Tenant, **settings: object) -> Worker:
        told = {"batch.max_windows": BATCH_WINDOWS, "model.m": 1, "model.n": 1, **settings}
        return self._programs.work(tenant, self._model, **told)

    def _play(
        self, tenant: Tenant, worker: Worker, settings: FleetSettings, moments: list[Moment]
    ) -> tuple[tuple[float, float], FleetReport]:
        """Play a fleet to its end, and look at the worker every second."""
        fleet = start_fleet(self._programs, tenant, settings, self._sounds)
        while not fleet.process.wait(STEP_S):
            moments.append(_moment(worker))
        ended_s, report = time.time(), report_of(fleet, CLOSES_S)
        return (ended_s - report.elapsed_s, ended_s), report


def _fleet(sensors: float, seconds: float, pattern: str = "many-{:04d}") -> FleetSettings:
    return FleetSettings(max(1, round(sensors)), pattern, FRAME_MS, seconds)


def _moment(worker: Worker) -> Moment:
    found = worker.metrics()
    return Moment(
        at_s=time.time(),
        scored=int(found.get("windows_total{SCORED}", 0)),
        shed=int(found.get("windows_total{SHED}", 0)),
        resident_bytes=int(worker.usage.memory_info().rss),
    )


def _phase(
    times: tuple[float, float], report: FleetReport, samples: Mapping[str, Mapping[Outcome, int]]
) -> Phase:
    sensors = report.samples_acknowledged
    return Phase(len(sensors), *times, report, {name: samples[name] for name in sensors})


def _samples(coverage: list[Coverage]) -> dict[str, Counter[Outcome]]:
    """Return, for each sensor, how many samples have each outcome; each sensor has one epoch."""
    return {sensor: _lengths(timeline) for (sensor, _), timeline in timelines(coverage).items()}


def _lengths(timeline: Timeline) -> Counter[Outcome]:
    lengths = Counter[Outcome]()
    for start, end, outcome in timeline:
        lengths[outcome] += end - start
    return lengths


def _published(tenant: Tenant) -> Iterator[Published]:
    for record in tenant.read(tenant.topics.detections):
        found = CODEC.decode(Detection, record.value)
        if found.state is DetectionState.ACTIVE:
            readings = Readings.from_wire(dict(record.headers)[LATENCY_HEADER] or b"")
            from_appended_ms = record.appended_ms - readings.at_us["appended"] / 1000
            from_captured_ms = record.appended_ms - found.end_us / 1000
            yield Published(record.appended_ms, from_captured_ms, from_appended_ms)
