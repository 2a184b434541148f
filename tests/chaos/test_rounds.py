"""A round of each kind of fault on one running system: nothing is lost, and nothing differs.

`make chaos ROUNDS=100` plays longer ones, by chance.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.errors import MissingToolError
from infra.local.java import find_java
from infra.local.triton_installation import TritonInstallation
from tests.chaos.faults import KINDS, STORM, kinds_here
from tests.chaos.ledger import Entry, as_text
from tests.chaos.plan import plan_of
from tests.chaos.round import play_round
from tests.chaos.stage import SMALL
from tests.chaos.system import System, running_system

SEED, BUDGET_S = 7, 600.0
"""A kind that would begin later is left out: other tests wait."""
FIRST = (
    "worker_kill",
    "leader_kill",
    "tritons_away",
    "sensor_pauses",
    "broken_records",
    "network_cut",
    "producer_kill",
    "worker_freeze",
    STORM,
    "brokers_away",
)
"""Of each part something, should the time not suffice for all."""
LEAST_STATEMENTS = 50
pytestmark = pytest.mark.timeout(420)


def left_out(entries: list[Entry]) -> list[str]:
    """Return the kinds that were not played, of those that can be played here."""
    return sorted(set(kinds_here()) - {entry.kind for entry in entries})


@pytest.fixture(scope="module")
def entries() -> Iterator[list[Entry]]:
    """The rounds that were played, shown at the end."""
    played: list[Entry] = []
    yield played
    print(as_text(played, {}))


@pytest.fixture(scope="module")
def java() -> None:
    """Java is on this machine, or this is no build machine and the tests are skipped."""
    try:
        find_java()
    except MissingToolError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def system(
    java: None, triton_installation: TritonInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("chaos")) as system:
        yield system


@pytest.mark.parametrize("kind", [*FIRST, *(kind for kind in KINDS if kind not in FIRST)])
def test_nothing_is_lost_or_differs_after(
    kind: str, system: System, entries: list[Entry], tmp_path: Path
) -> None:
    if kind in KINDS and (reason := KINDS[kind].not_here()):
        pytest.skip(reason)
    if sum(entry.took_s for entry in entries) > BUDGET_S:
        pytest.skip(f"rounds before this one took more than {BUDGET_S:g} s")
    plan = plan_of(SEED, len(entries) + 1, kinds_here(), kind)
    entry = play_round(system, plan, SMALL, tmp_path / "round", keep=True)
    entries.append(entry)
    print(entry.as_line(), *entry.did, *entry.endings, entry.phases_s, entry.course, sep="\n")
    assert entry.findings == ()
    assert entry.count("detections_disturbed") >= LEAST_STATEMENTS
    assert entry.count("samples_unexplained") == 0
    assert entry.did or kind == "calm", "nothing was done"


def test_of_each_part_something_was_disturbed(entries: list[Entry]) -> None:
    if not entries:
        pytest.skip("no round was played")
    missing = left_out(entries)
    print(f"left out: {', '.join(missing) or 'nothing'}")
    assert set(missing).isdisjoint(FIRST)
