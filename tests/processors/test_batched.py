"""Waiting for a free scorer is the scorer's time; a loop that is late while one is free is not."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from processors.batch import BatchSettings
from processors.run import Slot
from tests.processors.rig import rig_on
from tests.processors.shell import (
    DEADLINE_S,
    LOUD,
    QUIET,
    broker_with_topics,
    frames_of,
    records_of,
    stretches,
    until,
)
from tests.processors.test_engine import GatedScorer


@pytest.fixture
def broker() -> Iterator[str]:
    with broker_with_topics() as address:
        yield address


async def test_windows_that_wait_for_a_free_scorer_were_batched_before_it_was_free(
    broker: str, tmp_path: Path
) -> None:
    found = list[Slot]()
    at_once = BatchSettings(max_windows=1, max_wait_ms=0)
    async with rig_on(broker, tmp_path, batch=at_once, wrap=GatedScorer, decided=found.append) as (
        rig,
        scorer,
    ):
        assert isinstance(scorer, GatedScorer)
        await rig.feed(records_of(rig.codec, frames_of(stretches(*[QUIET] * 9))))
        freed_s = monotonic()
        scorer.open(9)
        await rig.engine.drain(DEADLINE_S)
    assert len(found) == 9
    assert all(slot.batched_s is not None and slot.batched_s < freed_s for slot in found)
    assert all(slot.scored_s is not None and slot.scored_s > freed_s for slot in found)


async def test_once_the_scorer_has_been_free_a_window_is_batched_when_it_is_taken(
    broker: str, tmp_path: Path
) -> None:
    found = list[Slot]()
    patient = BatchSettings(max_windows=2, max_wait_ms=200)
    async with rig_on(broker, tmp_path, batch=patient, wrap=GatedScorer, decided=found.append) as (
        rig,
        scorer,
    ):
        assert isinstance(scorer, GatedScorer)
        scorer.open(4)
        records = records_of(rig.codec, frames_of(stretches(*[LOUD] * 9)))
        await rig.feed(records[:80])
        await rig.engine.drain(DEADLINE_S)  # all scorers have been busy, and are free
        assert len(found) == 8
        await rig.feed(records[80:])
        due_s = rig.engine.pipeline.due_s()
        assert due_s is not None
        while monotonic() < due_s + 0.02:  # the loop is late
            pass
        late_s = monotonic()
        scorer.open()
        await until(lambda: len(found) == 9)
    assert found[-1].batched_s is not None
    assert found[-1].batched_s >= late_s
