"""Tritons that die, freeze and come back under load: no window lost, and how long it hurt.

    first killed   started   frozen   thawed     both killed      both started
    ─────┃────────────┃────────┃────────┃─────────────┃──────────────────┃──────────

`EARWITNESS_AWAY_SECONDS=30 pytest tests/integration/test_triton_faults.py -s` prints the figures with both
away for half a minute.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from infra.local.kafka import KafkaServer
from infra.local.triton import TritonServer
from infra.local.triton_installation import TritonInstallation
from processors.ledger import SCORER_HEADER
from producers.clips import ClipPool
from producers.fleet import FleetReport, FleetSettings
from schemas.coverage import Outcome
from tests.integration.harness import (
    IDLE_AND_MARGIN_S,
    Appended,
    Playing,
    Programs,
    Tenant,
    Worker,
    play,
    timelines,
    wait_until,
)
from tests.integration.tritons import scored_by, tritons
from tests.integration.undisturbed import Said, accounted_for, all_is_said, stored, undisturbed
from tests.integration.walk import ledgers_of

PARTITIONS, SENSORS = 8, 30
AWAY_S = float(os.environ.get("EARWITNESS_AWAY_SECONDS", "6"))
CALM_S, BACK_S = 3.0, 3.0
"""Nothing happens for so long before each fault, and a fault is over after so long."""
CAUGHT_UP_S = 30.0
WINDOWS_PER_S = 2


@dataclass(slots=True)
class Case:
    """One log, what was done while it was heard, and what was said of it."""

    tenant: Tenant
    did: list[tuple[str, float]] = field(default_factory=list)
    """What was done, and when, by the clock that append times are of."""
    lag_s: dict[str, float] = field(default_factory=dict)
    """The longest lag that the worker showed during a phase."""
    held: float = 0.0
    assignments: int = 0
    """Assignments of partitions beyond the first."""
    caught_up_s: float = 0.0
    moved_s: float = 0.0
    """How long no call ended, after one of two was frozen."""
    metrics: dict[str, float] = field(default_factory=dict)
    report: FleetReport | None = None
    disturbed: Said | None = None
    never: Said | None = None
    heard: list[Appended] = field(default_factory=list)

    def does(self, what: str) -> None:
        """Note what is done now."""
        self.did.append((what, time.time()))


class Play:
    """A fleet that plays until the faults are over, and a worker that hears it."""

    def __init__(self, case: Case, worker: Worker, playing: Playing) -> None:
        self.case, self.worker, self.playing = case, worker, playing

    def go_on(self, seconds: float, phase: str) -> None:
        """Let sound be played for so long, and look at the lag meanwhile."""
        end_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end_s, phase, seconds + 10)

    def until(self, holds: Callable[[], bool], phase: str, within_s: float) -> None:
        """Let sound be played until something holds."""

        def look() -> bool:
            now = self.worker.metrics()
            lag_s = self.case.lag_s
            lag_s[phase] = max(lag_s.get(phase, 0.0), self.lag_s(now))
            self.case.held = max(self.case.held, now["partitions_held"])
            return holds()

        wait_until(look, phase, within_s)

    def lag_s(self, metrics: dict[str, float] | None = None) -> float:
        """Return how late it is: the age of the oldest window, or of what was read last, whichever is more.

        Ages of partitions are given as their mean.
        """
        now = metrics or self.worker.metrics()
        read_s = now.get("position_lag_seconds", 0.0) / PARTITIONS
        return max(read_s, now.get("backlog_seconds", 0.0))

    def windows(self) -> float:
        """Return how many windows were scored."""
        return self.worker.metrics().get("windows_total{SCORED}", 0.0)


@pytest.fixture(scope="module", params=["none", "onnx"])
def case(
    request: pytest.FixtureRequest,
    kafka: KafkaServer,
    triton_installation: TritonInstallation,
    quick_model: Path,
    recordings: ClipPool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Case]:
    fallback = request.param
    folder = tmp_path_factory.mktemp(f"faults-{fallback}")
    tenant, programs = Tenant(kafka.bootstrap_servers, f"faults-{fallback}"), Programs(folder)
    tenant.create(PARTITIONS)
    try:
        with tritons(folder / "repository", quick_model, 2) as servers:
            told = scored_by(servers, fallback=fallback)
            worker = programs.work(tenant, quick_model, **told)
            worker.ready()
            yield _case(Case(tenant), worker, servers, recordings, programs, quick_model)
    finally:
        programs.close()


def _case(
    case: Case,
    worker: Worker,
    servers: list[TritonServer],
    recordings: ClipPool,
    programs: Programs,
    model: Path,
) -> Case:
    seconds = 4 * CALM_S + 2 * BACK_S + AWAY_S + 14
    playing = play(case.tenant, FleetSettings(sensors=SENSORS, seconds=seconds), recordings)
    ours = Play(case, worker, playing)
    wait_until(lambda: worker.assignments >= PARTITIONS, "its partitions")
    first = worker.assignments
    _faults(ours, servers)
    case.report = playing.finish()
    wait_until(lambda: all_is_said(case.tenant, _report(case)), "all is said", IDLE_AND_MARGIN_S + 60)
    case.assignments, case.metrics = worker.assignments - first, worker.metrics()
    worker.terminate()
    case.disturbed, case.heard = Said.of(case.tenant), case.tenant.read(case.tenant.topics.detections)
    case.never = undisturbed(case.tenant, programs, model, _report(case))
    _show(case)
    return case


def _report(case: Case) -> FleetReport:
    assert case.report is not None
    return case.report


def _faults(ours: Play, servers: list[TritonServer]) -> None:
    one, other = servers
    case = ours.case
    ours.go_on(CALM_S, "calm")
    case.does("one killed")
    one.kill()
    ours.go_on(BACK_S, "one away")
    one.start()
    case.does("it is back")
    ours.go_on(CALM_S, "both there")
    before = ours.windows()
    case.does("one frozen")
    other.freeze()
    since_s = time.monotonic()
    ours.until(lambda: ours.windows() > before + SENSORS * WINDOWS_PER_S, "one frozen", 20)
    case.moved_s = time.monotonic() - since_s
    ours.go_on(BACK_S, "one frozen")
    other.thaw()
    case.does("it is thawed")
    ours.go_on(CALM_S, "both there")
    case.does("both killed")
    one.kill()
    other.kill()
    ours.go_on(AWAY_S, "both away")
    one.start()
    other.start()
    case.does("both are back")
    since_s = time.monotonic()
    ours.until(lambda: ours.lag_s() < 0.5, "made up", CAUGHT_UP_S)
    case.caught_up_s = time.monotonic() - since_s
    ours.go_on(CALM_S, "after")


def _show(case: Case) -> None:
    ledgers = np.array(ledgers_of(case.heard), float) / 1e6
    total = ledgers[:, -1] - ledgers[:, 0]
    table = Table("since", "detections", "p50, ms", "p99, ms", "longest, ms", box=None)
    ends = [at_s for _, at_s in case.did[1:]] + [np.inf]
    for (what, at_s), end_s in zip([("the start", 0.0), *case.did], [case.did[0][1], *ends], strict=True):
        taken = total[(ledgers[:, 0] >= at_s) & (ledgers[:, 0] < end_s)] * 1000
        if len(taken):
            figures = (*np.percentile(taken, (50, 99)), taken.max())
            table.add_row(what, str(len(taken)), *(f"{figure:.0f}" for figure in figures))
    Console(width=120).print(table)
    print(
        f"lag, s: {case.lag_s}; held {case.held:g}; made up in {case.caught_up_s:.1f} s after both were back"
    )
    print(f"one frozen: a second of all sensors' windows was scored after {case.moved_s:.2f} s")
    print({name: value for name, value in case.metrics.items() if name.startswith("scorer_")})


@pytest.mark.timeout(900)
def test_no_window_is_lost_and_the_detections_are_those_of_whoever_was_never_disturbed(case: Case) -> None:
    assert case.disturbed
    assert case.never
    assert len(set(case.never.detections)) > 5 * SENSORS
    assert set(case.disturbed.detections) == set(case.never.detections)
    assert accounted_for(case.disturbed.coverage) == stored(_report(case))
    assert timelines(case.disturbed.coverage) == timelines(case.never.coverage)
    lost = [s for t in timelines(case.disturbed.coverage).values() for s in t if s[2] is Outcome.FAILED]
    assert lost == []


def test_nothing_is_rebalanced_for_it(case: Case) -> None:
    assert case.assignments == 0


def test_while_all_are_away_lag_grows_and_is_shown_and_with_a_fallback_it_does_not(
    case: Case, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["case"] == "onnx":
        assert case.lag_s["both away"] < AWAY_S / 2
    else:
        assert case.lag_s["both away"] > AWAY_S / 2


def test_a_detection_says_whether_the_fallback_scored_it(case: Case, request: pytest.FixtureRequest) -> None:
    said = {(dict(record.headers)[SCORER_HEADER] or b"").split(b"/")[0] for record in case.heard}
    with_fallback = request.node.callspec.params["case"] == "onnx"
    assert said == ({b"triton", b"onnxruntime"} if with_fallback else {b"triton"})
