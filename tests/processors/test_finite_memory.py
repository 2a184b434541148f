"""Kill the workers at any point: the union of what they said is what an observer of the whole log would say.

`EARWITNESS_TEST_LOGS` sets how many random logs are read; each is named by its seed.
"""

import os

import pytest

from processors.pipeline import Pipeline
from tests.processors import mutations
from tests.processors.logs import make_decision, make_log, seeded
from tests.processors.oracle import oracle
from tests.processors.worker import Scan, Workers, judge, no_scan, scan_from

LOGS = int(os.environ.get("EARWITNESS_TEST_LOGS", "100"))
LOGS_A_TEST = 10
MUTANT_LOGS = 60


def differences(
    seed: int, pipeline: type[Pipeline] = Pipeline, scan: Scan = scan_from, plain: bool = False
) -> list[str]:
    """Read the log with this seed; return in what way the workers' words differ from the oracle's."""
    r = seeded(seed)
    decision = make_decision(r, plain)
    log = make_log(r)
    reading = Workers(log, decision, r, pipeline, scan).run()
    return judge(log, oracle(log, decision), reading)


@pytest.mark.parametrize("first_seed", range(0, LOGS, LOGS_A_TEST))
def test_whatever_is_killed_and_lost_the_union_of_outputs_is_what_an_observer_of_the_whole_log_says(
    first_seed: int,
) -> None:
    for seed in range(first_seed, min(LOGS, first_seed + LOGS_A_TEST)):
        assert differences(seed) == [], f"seed {seed}"


@pytest.mark.parametrize(
    ("pipeline", "scan"),
    [
        pytest.param(Pipeline, no_scan, id="no-scan"),
        pytest.param(mutations.NoExpected, scan_from, id="no-expected"),
        pytest.param(mutations.NoQuiet, scan_from, id="no-quiet"),
        pytest.param(mutations.NoAck, scan_from, id="no-ack"),
        pytest.param(mutations.NoSegment, scan_from, id="no-segment"),
        pytest.param(mutations.OffByOne, scan_from, id="off-by-one"),
        pytest.param(mutations.NoLetterAck, scan_from, id="no-letter-ack"),
        pytest.param(mutations.NoCoverageHold, scan_from, id="no-coverage-hold"),
        pytest.param(mutations.NoUnknown, scan_from, id="no-unknown"),
    ],
)
def test_a_worker_that_breaks_one_rule_is_noticed_within_sixty_logs(
    pipeline: type[Pipeline], scan: Scan
) -> None:
    assert any(differences(seed, pipeline, scan, plain=True) for seed in range(MUTANT_LOGS))
