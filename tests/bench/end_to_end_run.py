"""A fleet in real time, a worker, a broker -> latencies, stages, cores, and whether all was heard."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from infra.local.kafka import KafkaServer
from models.catalogue import find
from producers.fleet import FleetReport, FleetSettings, Phases
from schemas.detection import Detection, DetectionState
from schemas.model import read_spec
from tests.bench.fleet_run import (
    LAG_LIMIT_S,
    PARTITIONS,
    SHIPPED,
    Spent,
    comes_true,
    forget,
    lag_s,
    processes,
    report_of,
    scored,
    start_fleet,
    windows_of,
)
from tests.bench.repeats import Distribution
from tests.bench.stage_times import Times, between, stage_times
from tests.integration.harness import (
    CODEC,
    IDLE_AND_MARGIN_S,
    Program,
    Programs,
    Tenant,
    Worker,
    by_id,
    wait_until,
)
from tests.integration.undisturbed import accounted_for, stored, undisturbed

SPARE_S = 2.0
"""Sound after what is counted, so that the fleet plays until the end of it."""
BEGINS_S, ENDS_S, CATCHES_UP_S = 60.0, 60.0, 120.0


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """One run. `lag_s` is at the end of what is counted; latencies and stages are of what is counted."""

    sensors: int
    phases: Phases
    latencies_ms: list[float]
    stages: dict[str, Times]
    cores: dict[str, float]
    report: FleetReport
    lag_s: float
    windows: int
    windows_scored: int
    covered: bool

    @property
    def stored(self) -> bool:
        """Whether every frame was taken and acknowledged."""
        report = self.report
        return not report.failed and not report.refused and report.acknowledged == report.frames_sent

    @property
    def sustained(self) -> bool:
        """Whether the load was borne: all stored, scored and covered, and nothing behind at the end."""
        heard = self.windows_scored == self.windows and self.covered
        return self.stored and heard and self.lag_s < LAG_LIMIT_S

    @property
    def latency(self) -> Distribution | None:
        """What the latencies come to, in milliseconds; None without detections."""
        return Distribution.of(self.latencies_ms) if self.latencies_ms else None

    def as_json(self) -> dict[str, Any]:
        """Return the figures, without what there is one of for each sensor."""
        left_out = {"samples_sent", "samples_acknowledged"}
        return {
            "sensors": self.sensors,
            "phases": self.phases,
            "latency_ms": None if self.latency is None else asdict(self.latency),
            "stages": {name: [times.count, *times.percentiles_ms()] for name, times in self.stages.items()},
            "cores": self.cores,
            "fleet": {name: value for name, value in asdict(self.report).items() if name not in left_out},
            "lag_s": self.lag_s,
            "windows": self.windows,
            "windows_scored": self.windows_scored,
            "covered": self.covered,
            "sustained": self.sustained,
        }


class EndToEndBench:
    """Plays fleets, each in topics of its own and to a worker of its own."""

    def __init__(
        self, kafka: KafkaServer, programs: Programs, sounds: Path | None, warm_up_s: float, counted_s: float
    ) -> None:
        self._kafka, self._programs, self._sounds = kafka, programs, sounds
        self._warm_up_s, self._counted_s = warm_up_s, counted_s
        self._model, self._numbers = find(SHIPPED), count(1)

    def run(self, sensors: int, phases: Phases) -> EndToEnd:
        """Play a fleet."""
        tenant = self._tenant()
        found = self._play(tenant, sensors, phases)
        forget(tenant)
        return found

    def agrees(self, sensors: int) -> int:
        """Play a fleet, and have a fresh group read it again; return how many detections both say.

        The worker bears the load, or there would be nothing to compare.
        """
        tenant = self._tenant()
        found = self._play(tenant, sensors, Phases.RANDOM)
        assert found.windows_scored == found.windows
        ours = by_id(tenant.detections())
        again = undisturbed(tenant, self._programs, self._model, found.report)
        assert ours
        assert by_id(again.detections) == ours
        forget(tenant)
        return len(ours)

    def _tenant(self) -> Tenant:
        return Tenant(self._kafka.bootstrap_servers, f"end-to-end-{next(self._numbers)}").create(PARTITIONS)

    def _play(self, tenant: Tenant, sensors: int, phases: Phases) -> EndToEnd:
        worker = self._programs.work(tenant, self._model)
        worker.ready()
        sound_s = self._warm_up_s + self._counted_s + SPARE_S
        settings = FleetSettings(sensors=sensors, seconds=sound_s, phases=phases)
        fleet = start_fleet(self._programs, tenant, settings, self._sounds)
        wait_until(lambda: worker.metrics()["frames_total"] > 0, "a first frame", BEGINS_S)
        _plays_on(fleet, self._warm_up_s)
        taking_part = processes(worker, fleet, self._kafka)
        stages, begun = stage_times(worker), Spent.now(taking_part)
        _plays_on(fleet, self._counted_s)
        ended, behind_s = Spent.now(taking_part), lag_s(worker)
        counted = between(stages, stage_times(worker))
        report = report_of(fleet, sound_s + ENDS_S)
        windows = windows_of(read_spec(self._model), report)
        windows_scored = _all_scored(worker, windows)
        covered = windows_scored == windows and comes_true(
            partial(_accounted, tenant, report), 3 * IDLE_AND_MARGIN_S
        )
        worker.terminate()
        return EndToEnd(
            sensors=sensors,
            phases=phases,
            latencies_ms=list(_latencies_ms(tenant, begun.at_us, ended.at_us)),
            stages=counted,
            cores=begun.cores(ended),
            report=report,
            lag_s=behind_s,
            windows=windows,
            windows_scored=windows_scored,
            covered=covered,
        )


def _plays_on(fleet: Program, for_s: float) -> None:
    assert not fleet.process.wait(for_s), f"the fleet has ended:\n{fleet.log}"


def _all_scored(worker: Worker, windows: int) -> int:
    """Wait until all is scored, or it is plain that this takes too long; return how many windows are."""
    comes_true(lambda: scored(worker) >= windows, CATCHES_UP_S)
    return scored(worker)


def _accounted(tenant: Tenant, report: FleetReport) -> bool:
    return accounted_for(tenant.coverage()) == stored(report)


def _latencies_ms(tenant: Tenant, since_us: int, until_us: int) -> Iterator[float]:
    """Yield, for detections that begin, from the last sample of the window that decided to the append."""
    for record in tenant.read(tenant.topics.detections):
        found = CODEC.decode(Detection, record.value)
        if found.state is DetectionState.ACTIVE and since_us <= found.end_us < until_us:
            yield record.appended_ms - found.end_us / 1000
