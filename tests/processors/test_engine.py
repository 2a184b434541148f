"""The engine keeps windows, batches and outputs moving, whatever the scorer does."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from processors.batch import BatchSettings
from processors.partition import Start
from processors.score import Pcm, Scored, Scorer
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection, DetectionState
from schemas.errors import LogOrderError
from tests.processors.rig import KEY, rig_on
from tests.processors.shell import (
    DEADLINE_S,
    LOUD,
    QUIET,
    TOPICS,
    broker_with_topics,
    end_of,
    frames_of,
    read,
    records_of,
    stretches,
    until,
)
from tests.processors.tiny_model import HOP, WINDOW, loudness_that_fails_when_loud


class GatedScorer:
    """A scorer that scores a batch only when it is let through the gate, one for each `open`."""

    def __init__(self, scorer: Scorer) -> None:
        self.identity, self.concurrency = scorer.identity, scorer.concurrency
        self._scorer, self._gate = scorer, asyncio.Semaphore(0)

    def open(self, batches: int = 1) -> None:
        for _ in range(batches):
            self._gate.release()

    async def score(self, pcm: Pcm, traceparent: str | None = None) -> Scored:
        await self._gate.acquire()
        return await self._scorer.score(pcm, traceparent)

    async def close(self) -> None:
        await self._scorer.close()


class BrokenScorer(GatedScorer):
    """A scorer with a mistake in it: not an error that it has announced."""

    async def score(self, pcm: Pcm, traceparent: str | None = None) -> Scored:
        raise ZeroDivisionError("a mistake")


@pytest.fixture
def broker() -> Iterator[str]:
    with broker_with_topics() as address:
        yield address


async def test_a_lone_window_waits_for_company_as_long_as_it_may_and_is_scored_then(
    broker: str, tmp_path: Path
) -> None:
    patient = BatchSettings(max_windows=32, max_wait_ms=50)
    async with rig_on(broker, tmp_path, batch=patient) as (rig, _):
        await rig.feed(records_of(rig.codec, frames_of(stretches(LOUD))))
        assert rig.engine.pipeline.backlog == 1
        await until(lambda: bool(rig.said(DetectionState.ACTIVE)))
        (slot,) = [output.slot for output in rig.published if isinstance(output.record, Detection)]
        assert slot is not None
        assert slot.batched_s is not None
        assert 0.05 <= slot.batched_s - slot.feed.now_s < DEADLINE_S
        assert (rig.engine.pipeline.backlog, rig.windows(Outcome.SCORED)) == (0, 1)


async def test_a_full_batch_waits_for_nothing(broker: str, tmp_path: Path) -> None:
    patient = BatchSettings(max_windows=2, max_wait_ms=1000)
    async with rig_on(broker, tmp_path, batch=patient) as (rig, _):
        await rig.feed(records_of(rig.codec, frames_of(stretches(LOUD, LOUD))))
        await rig.engine.drain(0.9)
        assert rig.windows(Outcome.SCORED) == 2


async def test_reading_is_held_from_the_limit_on_until_half_of_it_is_left(
    broker: str, tmp_path: Path
) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0, max_backlog_windows=8)
    async with rig_on(broker, tmp_path, batch=batch, wrap=GatedScorer) as (rig, scorer):
        assert isinstance(scorer, GatedScorer)
        records = records_of(rig.codec, frames_of(stretches(*[QUIET] * 12)))
        seen = []
        await rig.feed(records[:70])
        seen.append((rig.engine.pipeline.backlog, rig.engine.overfull))
        await rig.feed(records[70:80])
        seen.append((rig.engine.pipeline.backlog, rig.engine.overfull))
        for left in (7, 6, 5, 4):
            scorer.open()
            await until(lambda left=left: rig.engine.pipeline.backlog == left)  # type: ignore[misc]
            seen.append((left, rig.engine.overfull))
        await rig.feed(records[80:110])
        seen.append((rig.engine.pipeline.backlog, rig.engine.overfull))
        await rig.feed(records[110:])
        seen.append((rig.engine.pipeline.backlog, rig.engine.overfull))
        scorer.open(12)
        await rig.engine.drain(DEADLINE_S)
        assert (rig.windows(Outcome.SCORED), rig.failures) == (12, [])
        assert seen == [
            (7, False),
            (8, True),
            (7, True),
            (6, True),
            (5, True),
            (4, False),
            (7, False),
            (8, True),
        ]


async def test_of_one_fetch_no_more_is_cut_than_there_is_room_for_and_the_rest_follows_in_order(
    broker: str, tmp_path: Path
) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0, max_backlog_windows=8)
    async with rig_on(broker, tmp_path, batch=batch, wrap=GatedScorer, most_windows=10) as (rig, scorer):
        assert isinstance(scorer, GatedScorer)
        records = records_of(rig.codec, frames_of(stretches(*[QUIET] * 40)))
        await rig.feed(records[:350])
        assert (rig.engine.pipeline.backlog, rig.position, rig.engine.parked) == (11, 119, {KEY})
        await rig.feed(records[350:])  # what was fetched already queues behind
        assert (rig.engine.pipeline.backlog, rig.position) == (11, 119)
        scorer.open(5)
        await until(lambda: rig.engine.pipeline.backlog == 6)
        assert rig.position == 119
        scorer.open()
        await until(lambda: rig.engine.pipeline.backlog == 11)
        scorer.open(40)
        await until(lambda: rig.windows(Outcome.SCORED) == 40)
        assert (rig.position, rig.engine.parked, rig.failures) == (len(records), set(), [])


async def test_what_waits_for_room_is_forgotten_with_its_generation(broker: str, tmp_path: Path) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0)
    async with rig_on(broker, tmp_path, batch=batch, wrap=GatedScorer, most_windows=4) as (rig, scorer):
        assert isinstance(scorer, GatedScorer)
        records, ours = records_of(rig.codec, frames_of(stretches(*[QUIET] * 12))), [True]
        await rig.feed(records, lambda: ours[0])
        assert rig.engine.parked == {KEY}
        ours[0] = False
        rig.engine.pipeline.assign({KEY: Start(0, 0)})
        assert rig.engine.parked == set()
        scorer.open(40)
        await rig.feed(records[:10])
        assert (rig.position, rig.failures) == (10, [])


async def test_a_window_that_the_scorer_gives_up_is_failed_and_the_others_are_scored(
    broker: str, tmp_path: Path
) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0)
    graph = loudness_that_fails_when_loud()
    async with rig_on(broker, tmp_path, graph=graph, batch=batch) as (rig, _):
        await rig.feed(records_of(rig.codec, frames_of(stretches(QUIET, QUIET, LOUD, *[QUIET] * 7))))
        await rig.engine.drain(DEADLINE_S)
        assert (rig.windows(Outcome.SCORED), rig.windows(Outcome.FAILED)) == (9, 1)
        assert rig.failures == []
        covered = [rig.codec.decode(Coverage, found.value) for found in read(broker, TOPICS.coverage, 3)]
        assert [(x.start_sample, x.end_sample, x.outcome) for x in covered] == [
            (0, 2 * WINDOW, Outcome.SCORED),
            (2 * WINDOW, 3 * WINDOW, Outcome.FAILED),
            (3 * WINDOW, 10 * WINDOW, Outcome.SCORED),
        ]


async def test_draining_leaves_nothing_undecided_and_nothing_unpublished(broker: str, tmp_path: Path) -> None:
    batch = BatchSettings(max_windows=4, max_wait_ms=0)
    async with rig_on(broker, tmp_path, hop=HOP, batch=batch) as (rig, _):
        await rig.feed(records_of(rig.codec, frames_of(stretches(QUIET, LOUD, LOUD, QUIET, QUIET))))
        await rig.engine.drain(DEADLINE_S)
        assert (rig.engine.pipeline.backlog, rig.publisher.unacknowledged) == (0, 0)
        (ended,) = rig.said(DetectionState.ENDED)
        assert (ended.label, ended.start_sample, ended.end_sample) == ("loud", HOP, 7 * HOP)
        ends = [end_of(broker, topic, KEY[1]) for topic in TOPICS.outputs]
        assert sum(ends) == len(rig.published)


async def test_results_of_an_earlier_generation_change_nothing(broker: str, tmp_path: Path) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0)
    async with rig_on(broker, tmp_path, batch=batch, wrap=GatedScorer) as (rig, scorer):
        assert isinstance(scorer, GatedScorer)
        await rig.feed(records_of(rig.codec, frames_of(stretches(LOUD))))
        rig.engine.pipeline.assign({KEY: Start(0, 0)})
        scorer.open()
        await rig.engine.drain(DEADLINE_S)
        assert (rig.said(DetectionState.ACTIVE), rig.failures) == ([], [])


async def test_records_out_of_order_end_the_feed(broker: str, tmp_path: Path) -> None:
    async with rig_on(broker, tmp_path) as (rig, _):
        with pytest.raises(LogOrderError, match=r"audio\.frames\[2\]@7 arrived where @0 was expected"):
            await rig.feed(records_of(rig.codec, frames_of(stretches(QUIET)), first_offset=7))


async def test_an_error_that_no_scorer_announces_ends_the_process(broker: str, tmp_path: Path) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0)
    async with rig_on(broker, tmp_path, batch=batch, wrap=BrokenScorer) as (rig, _):
        await rig.feed(records_of(rig.codec, frames_of(stretches(LOUD))))
        await until(lambda: bool(rig.failures))
        (failure,) = rig.failures
        assert isinstance(failure, ZeroDivisionError)
        assert (rig.windows(Outcome.SCORED), rig.windows(Outcome.FAILED)) == (0, 0)


async def test_once_closed_an_engine_takes_nothing_that_comes_after_what_it_let_go(
    broker: str, tmp_path: Path
) -> None:
    batch = BatchSettings(max_windows=1, max_wait_ms=0)
    async with rig_on(broker, tmp_path, batch=batch, wrap=GatedScorer, most_windows=4) as (rig, scorer):
        assert isinstance(scorer, GatedScorer)
        records = records_of(rig.codec, frames_of(stretches(*[QUIET] * 12)))
        await rig.feed(records[:80])
        position = rig.position
        assert position < 80
        await asyncio.sleep(0)
        rig.engine.close()
        await until(lambda: not rig.engine.parked)
        await rig.feed(records[80:])
        assert (rig.position, rig.failures) == (position, [])
