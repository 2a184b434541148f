"""What is said of a log by whoever was never disturbed: a fresh group that reads the same topic afterwards.

It publishes the same ids to the same topics, so what it says is what follows the ends that the topics had
before it began.
"""

from dataclasses import dataclass
from pathlib import Path

from producers.fleet import FleetReport
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.frame import AudioFrame
from tests.integration.harness import CODEC, Programs, Tenant, covered, timelines, unended, wait_until

READ_WITHIN_S = 120.0
Stretches = dict[str, list[tuple[int, int]]]
"""By sensor: `[start, end)` in samples."""


@dataclass(frozen=True, slots=True)
class Said:
    """What workers published."""

    detections: list[Detection]
    coverage: list[Coverage]

    @classmethod
    def of(cls, tenant: Tenant) -> "Said":
        """Return all that was said until now."""
        return cls(tenant.detections(), tenant.coverage())


def all_is_said(tenant: Tenant, report: FleetReport) -> bool:
    """Say whether every sensor's run is closed and all that was stored is accounted for."""
    if len(tenant.silent()) < len(report.samples_acknowledged) or unended(tenant.detections()):
        return False
    return accounted_for(tenant.coverage()) == stored(report)


def accounted_for(coverage: list[Coverage]) -> Stretches:
    """Return what coverage speaks of, whatever its outcome."""
    return {sensor: covered(timeline) for (sensor, _), timeline in timelines(coverage).items()}


def first_samples(tenant: Tenant, at_ms: int) -> dict[str, int]:
    """Return, by sensor, the first sample of its first frame appended at or after a time."""
    found: dict[str, int] = {}
    for record in tenant.read(tenant.topics.frames):
        if record.appended_ms >= at_ms and record.key is not None:
            first = CODEC.decode(AudioFrame, record.value).first_sample
            name = record.key.decode()
            found[name] = min(found.get(name, first), first)
    return found


def stored(report: FleetReport) -> Stretches:
    """Return what a fleet was told is stored."""
    return {sensor: [(0, samples)] for sensor, samples in report.samples_acknowledged.items()}


def undisturbed(
    tenant: Tenant, programs: Programs, model: Path, report: FleetReport, **settings: object
) -> Said:
    """Have a fresh group read the same topic, alone."""
    since = {topic: tenant.ends(topic) for topic in (tenant.topics.detections, tenant.topics.coverage)}
    judge = programs.work(tenant, model, worker__group=f"{tenant.name}-judge", **settings)

    def said() -> Said:
        topics = tenant.topics
        return Said(tenant.detections(since[topics.detections]), tenant.coverage(since[topics.coverage]))

    def done() -> bool:
        now = said()
        return not unended(now.detections) and accounted_for(now.coverage) == stored(report)

    wait_until(done, "a fresh group has read everything", READ_WITHIN_S)
    judge.terminate()
    assert judge.process.exit_status == 0
    return said()
