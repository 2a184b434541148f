"""A few bytes of FLAC hold much: no more is decoded at once than leaves everybody else their turn."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
import soundfile

from processors.batch import BatchSettings
from processors.partition import Output, Start
from processors.pipeline import MAX_FLAC_VALUES, Pipeline
from processors.run import Feed
from schemas.codec import Codec
from schemas.deadletter import DeadLetter
from schemas.frame import MAX_VALUES, AudioFrame, Encoding
from tests.processors.rig import Rig, rig_on
from tests.processors.shell import (
    DEADLINE_S,
    QUIET,
    TOPICS,
    Record,
    broker_with_topics,
    frames_of,
    records_of,
    stretches,
    until,
)
from tests.processors.tiny_model import RATE_HZ

KEYS = [(TOPICS.frames, number) for number in range(2)]
STALE, AT_ONCE = 40, MAX_FLAC_VALUES // MAX_VALUES
OLDER = bytes.fromhex("0180000000007000800000000000000a")


@pytest.fixture
def broker() -> Iterator[str]:
    with broker_with_topics() as address:
        yield address


def silence(frame: AudioFrame) -> AudioFrame:
    """Return as much silence as a frame may hold, of an epoch that is over, in a few kilobytes."""
    out = BytesIO()
    soundfile.write(out, np.zeros(MAX_VALUES, np.int16), RATE_HZ, format="FLAC", subtype="PCM_16")
    return replace(frame, epoch=OLDER, encoding=Encoding.FLAC, samples=MAX_VALUES, data=out.getvalue())


def a_fetch(codec: Codec) -> list[Record]:
    """Return two seconds of a sensor, with what is stale amid them."""
    alive = records_of(codec, frames_of(stretches(*[QUIET] * 6)))
    half, at_ms = len(alive) // 2, alive[-1].timestamp
    value = codec.encode(silence(frames_of(stretches(QUIET))[0]))
    assert len(value) < 10_000
    stale = [Record(0, alive[half].timestamp, alive[0].key, value)] * STALE
    found = [*alive[:half], *stale, *alive[half:]]
    assert found[-1].timestamp == at_ms
    return [replace(record, offset=offset) for offset, record in enumerate(found)]


async def turns_until(rig: Rig, position: int) -> list[int]:
    """Return how many records were taken in each turn of the event loop, until all have been."""
    partitions, taken, deadline_s = rig.engine.pipeline.partitions.values(), [], monotonic() + DEADLINE_S
    before = 0
    while before < position * len(partitions):
        assert monotonic() < deadline_s
        now = sum(partition.position for partition in partitions)
        taken.append(now - before)
        before = now
        await asyncio.sleep(0)
    return taken


def marks_in_one_go(rig: Rig, records: list[Record]) -> int:
    """Return the mark of a pipeline that has no bound, with nothing scored and all else acknowledged."""
    pipeline = Pipeline(rig.engine.pipeline.decision, rig.codec)
    pipeline.assign({KEYS[0]: Start(0, 0)})
    pipeline.feed(KEYS[0], records, Feed(0.0))
    for output in pipeline.outputs():
        output.acknowledged()
    return pipeline.partitions[KEYS[0]].mark()


async def test_stale_flac_by_the_hour_leaves_everybody_their_turn_and_is_buried_in_order(
    broker: str, tmp_path: Path
) -> None:
    batch = BatchSettings(max_windows=128, max_wait_ms=1000)
    async with rig_on(broker, tmp_path, batch=batch, most_windows=1000) as (rig, _):
        records = a_fetch(rig.codec)
        alive = len(records) - STALE
        rig.engine.pipeline.assign(dict.fromkeys(KEYS, Start(0, 0)))
        rig.engine.feed(dict.fromkeys(KEYS, records), monotonic(), lambda: True)
        first = rig.engine.pipeline.partitions[KEYS[0]]
        assert (first.position, rig.engine.parked) == (alive // 2 + AT_ONCE, set(KEYS))
        assert first.mark() <= first.position
        taken = await turns_until(rig, len(records))
        assert max(taken[1:]) <= AT_ONCE + alive
        assert len([count for count in taken if count]) > len(KEYS) * STALE // AT_ONCE
        await until(lambda: len(letters(rig.published)) == len(KEYS) * STALE)
        for key in KEYS:
            mine = [letter for letter in letters(rig.published) if letter.partition == key[1]]
            assert [letter.offset for letter in mine] == list(range(alive // 2, alive // 2 + STALE))
            assert {letter.exception for letter in mine} == {"StaleEpochError"}
        assert {p.mark() for p in rig.engine.pipeline.partitions.values()} == {marks_in_one_go(rig, records)}
        assert (rig.engine.parked, rig.failures) == (set(), [])


def letters(outputs: list[Output]) -> list[DeadLetter]:
    return [output.record for output in outputs if isinstance(output.record, DeadLetter)]
