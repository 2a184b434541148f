"""Retention takes the log's head away before it was read: nothing false is said of what is left."""

import pytest

from processors.batch import BatchSettings
from processors.partition import Start
from processors.pipeline import Pipeline
from processors.run import Feed
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection
from tests.processors.logs import CODEC, IDLE_MS, MARGIN_MS, Entry, make_decision, make_log, score, seeded
from tests.processors.oracle import Heard, oracle
from tests.processors.worker import KEY, Said

LOGS = 30


def read(pipeline: Pipeline, entries: list[Entry]) -> list[Said]:
    """Read to the end of the log, score all of it, acknowledge nothing."""
    pipeline.feed(KEY, entries, Feed(0.0))
    pipeline.finish()
    while (batch := pipeline.take(0.0)) is not None:
        pipeline.scored(batch, score(batch.pcm), 0.0)
    return [output.record for output in pipeline.outputs()]


@pytest.mark.parametrize("seed", range(LOGS))
def test_after_a_cut_nothing_false_is_said_and_soon_nothing_is_missing(seed: int) -> None:
    r = seeded(seed)
    decision = make_decision(r)
    log = make_log(r, clean=True)
    at = r.randint(1, len(log) - 2)
    committed = r.randint(0, at - 1)
    pipeline = Pipeline(decision, CODEC, BatchSettings(max_windows=4, max_wait_ms=0))
    pipeline.assign({KEY: Start(at, at, cut=True, expired_from=committed)})
    said = read(pipeline, log[at:])

    expired = [x for x in said if isinstance(x, Coverage) and x.outcome is Outcome.EXPIRED]
    assert [(x.first_offset, x.last_offset) for x in expired] == [(committed, at - 1)]
    assert pipeline.partitions[KEY].mark() == committed

    truth = oracle(log, decision)
    detections = {x for x in said if isinstance(x, Detection)}
    assert detections <= truth.detections
    missing = [x for x in truth.detections - detections if x.first_offset >= at]
    spec, rules = decision.spec, decision.rules
    unsure_windows = spec.n + rules.segment_windows
    unsure_samples = unsure_windows * spec.hop_samples / spec.sample_rate_hz
    for detection in missing:
        run = next(run for run in truth.runs if _holds(run, detection.first_offset))
        heard_from = next(entry for entry in run.frames if entry.offset >= at)
        assert heard_from.timestamp <= log[at].timestamp + IDLE_MS + MARGIN_MS
        assert heard_from.sound is not None
        after_s = (detection.start_sample - heard_from.sound.first) / run.rate_hz
        assert after_s <= unsure_samples + 2 * spec.hop_s


def _holds(run: Heard, offset: int) -> bool:
    return any(entry.offset == offset for entry in run.frames)
