"""A tick says what the broker's clock says, and nothing else: whoever appends one does no harm, nor do many.

That holds for a worker too that was frozen, takes partitions for quiet that are not, and are not its own.
"""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

from processors.batch import BatchSettings
from processors.decision import Decision
from processors.partition import Start
from processors.pipeline import Pipeline
from processors.run import Feed
from schemas.coverage import Coverage
from schemas.detection import Detection
from tests.processors.build import CODEC, KEY, TICK
from tests.processors.logs import BEGIN_MS, Entry, make_decision, make_log, score, seeded

LOGS, TICKS = 12, 0.1
LONG_AGO_MS = BEGIN_MS - 3_600_000
"""What a tick of then says is known already: it takes an offset and does nothing."""


def test_ticks_anywhere_change_nothing_of_what_is_heard() -> None:
    heard = 0
    for seed in range(LOGS):
        r = seeded(seed)
        decision, log = make_decision(r), make_log(r)
        times_ms = [_time_ms(a, b, r.random()) if r.random() < TICKS else None for a, b in pairwise(log)]
        ticked = _said(decision, _with_ticks(log, times_ms))
        silent = _said(decision, _with_ticks(log, [t and LONG_AGO_MS for t in times_ms]))
        assert ticked == silent, f"seed {seed}"
        heard += len(silent)
    assert heard > LOGS


def _time_ms(before: Entry, after: Entry, share: float) -> int:
    return round(before.timestamp + share * (after.timestamp - before.timestamp))


def _with_ticks(log: list[Entry], times_ms: list[int | None]) -> list[Entry]:
    """Put ticks behind the records that have a time for one, and count offsets anew."""
    joined = list[Entry]()
    for entry, at_ms in zip(log, [*times_ms, None], strict=True):
        joined.append(entry)
        if at_ms is not None:
            joined.append(Entry(0, at_ms, None, None, TICK))
    return [replace(entry, offset=offset) for offset, entry in enumerate(joined)]


def _said(decision: Decision, log: list[Entry]) -> Counter[str]:
    pipeline = Pipeline(decision, CODEC, BatchSettings(max_windows=64, max_wait_ms=0))
    pipeline.assign({KEY: Start(0, 0)})
    for entry in log:
        pipeline.feed(KEY, [entry], Feed(0.0))
        while (batch := pipeline.take(0.0)) is not None:
            pipeline.scored(batch, score(batch.pcm), 0.0)
    pipeline.finish()
    while (batch := pipeline.take(0.0)) is not None:
        pipeline.scored(batch, score(batch.pcm), 0.0)
    records = [output.record for output in pipeline.outputs()]
    return Counter(repr(record) for record in records if isinstance(record, Detection | Coverage))
