"""An engine that sheds: whatever the scorer does, it stays live, and coverage says what was skipped."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import time

import pytest

from processors.batch import BatchSettings
from processors.deadline import Deadline
from schemas.coverage import Coverage, Outcome
from schemas.detection import DetectionState
from tests.processors.rig import Rig, rig_on
from tests.processors.shell import (
    DEADLINE_S,
    LOUD,
    QUIET,
    Record,
    broker_with_topics,
    frames_of,
    records_of,
    stretches,
    until,
)
from tests.processors.test_engine import GatedScorer
from tests.processors.tiny_model import WINDOW

BATCH = BatchSettings(max_windows=4, max_wait_ms=0, max_backlog_windows=4)
DEADLINE_MS = 200
IN_TIME_S = -4.0
"""The age of what is to be scored: it is not too old for seconds, and no run closes, as `idle_s` is 5."""


@pytest.fixture
def broker() -> Iterator[str]:
    with broker_with_topics() as address:
        yield address


def windows(rig: Rig, first: int, *peaks: int, age_s: float = 0.0) -> list[Record]:
    """Windows side by side, the first of them with that index, appended at once so long ago."""
    frames = frames_of(stretches(*peaks), first * WINDOW)
    appended_ms = round((time() - age_s) * 1000)
    records = records_of(rig.codec, frames, first * WINDOW // 320)
    return [replace(record, timestamp=appended_ms) for record in records]


def heard(rig: Rig, *outcomes: Outcome) -> list[tuple[int, int]]:
    """Return the windows that coverage says have one of these outcomes, joined."""
    stretches = [
        (x.start_sample // WINDOW, x.end_sample // WINDOW)
        for output in rig.published
        if isinstance(x := output.record, Coverage) and x.outcome in outcomes
        if x.start_sample is not None and x.end_sample is not None
    ]
    joined: list[tuple[int, int]] = []
    for first, end in sorted(stretches):
        joined.append((joined.pop()[0], end) if joined and joined[-1][1] == first else (first, end))
    return joined


async def finished(rig: Rig) -> None:
    """Close every run, and wait until all that was decided is in the log."""
    rig.engine.pipeline.finish()
    await rig.engine.drain(DEADLINE_S)


async def test_while_the_scorer_is_away_windows_are_shed_and_when_it_is_back_it_goes_on(
    broker: str, tmp_path: Path
) -> None:
    def pumped(rig: Rig) -> int:
        rig.engine.pump()
        return rig.engine.pipeline.backlog

    async with rig_on(broker, tmp_path, batch=BATCH, wrap=GatedScorer, deadline=Deadline(DEADLINE_MS)) as (
        rig,
        scorer,
    ):
        assert isinstance(scorer, GatedScorer)
        # the batch that the scorer does not answer
        await rig.feed(windows(rig, 0, *[LOUD] * 4, age_s=IN_TIME_S))
        for first in (4, 14, 24):
            await rig.feed(windows(rig, first, *[LOUD] * 10))
            assert not rig.engine.overfull
            assert rig.engine.pipeline.backlog <= 2 * BATCH.max_backlog_windows
        await until(lambda: pumped(rig) == 0)
        assert rig.windows(Outcome.SHED) == 30
        scorer.open(100)
        await until(lambda: rig.windows(Outcome.SHED) == 34)  # nobody waited for their scores any more
        await rig.feed(windows(rig, 34, QUIET, LOUD, LOUD, age_s=IN_TIME_S))
        await until(lambda: rig.windows(Outcome.SCORED) == 3)
        await finished(rig)
        assert heard(rig, Outcome.SHED) == [(0, 34)]
        assert heard(rig, Outcome.SCORED) == [(34, 37)]
        (ended,) = rig.said(DetectionState.ENDED)
        assert (ended.start_sample, ended.end_sample) == (35 * WINDOW, 37 * WINDOW)
        assert rig.failures == []


async def test_what_is_too_old_when_it_is_read_is_shed_before_the_scorer_hears_of_it(
    broker: str, tmp_path: Path
) -> None:
    async with rig_on(broker, tmp_path, batch=BATCH, wrap=GatedScorer, deadline=Deadline(DEADLINE_MS)) as (
        rig,
        scorer,
    ):
        assert isinstance(scorer, GatedScorer)
        await rig.feed(windows(rig, 0, *[LOUD] * 20, age_s=3600))
        assert (rig.windows(Outcome.SHED), rig.engine.pipeline.backlog) == (20, 0)
        scorer.open(10)
        await rig.feed(windows(rig, 20, LOUD, LOUD, age_s=IN_TIME_S))
        await finished(rig)
        assert heard(rig, Outcome.SHED) + heard(rig, Outcome.SCORED) == [(0, 20), (20, 22)]


async def test_what_can_be_scored_in_time_is_scored(broker: str, tmp_path: Path) -> None:
    patient = Deadline(60_000)
    roomy = BatchSettings(max_windows=4, max_wait_ms=0)
    async with rig_on(broker, tmp_path, batch=roomy, deadline=patient) as (rig, _):
        await rig.feed(windows(rig, 0, *[LOUD] * 100))
        await finished(rig)
        assert (rig.windows(Outcome.SCORED), rig.windows(Outcome.SHED)) == (100, 0)
