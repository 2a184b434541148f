"""A scorer for each model, opened when windows first wait for it, and tried again until it opens."""

from collections.abc import Callable

import numpy as np
import pytest

from processors.decision import Decision
from processors.score import Pcm, Scored, Scorer
from processors.scorers import Scorers
from schemas.errors import ConfigurationError, StopError
from schemas.model import ModelSpec
from tests.processors.logs import make_decision, seeded
from tests.processors.shell import until


class Ones:
    """Scores everything with one, and remembers whether it was closed."""

    concurrency = 3

    def __init__(self, identity: str) -> None:
        self.identity, self.closed = identity, False

    async def score(self, pcm: Pcm, traceparent: str | None = None) -> Scored:
        return Scored(np.ones((len(pcm), 2), np.float32), self.identity)

    async def close(self) -> None:
        self.closed = True


class Shop:
    """Opens scorers, once `fails` lets it."""

    def __init__(self, fails: Callable[[int], Exception | None] = lambda _: None) -> None:
        self.asked: list[str] = []
        self.sold: list[Ones] = []
        self._fails = fails

    async def open(self, spec: ModelSpec) -> Scorer:
        self.asked.append(spec.version)
        error = self._fails(len(self.asked))
        if error is not None:
            raise error
        self.sold.append(Ones(spec.version))
        return self.sold[-1]


def decision(version: str = "1", threshold: float = 0.5) -> Decision:
    first = make_decision(seeded(1), plain=True)
    thresholds = dict.fromkeys(first.spec.labels, threshold)
    return Decision(first.spec.model_copy(update={"version": version, "thresholds": thresholds}), first.rules)


async def test_decisions_that_differ_in_thresholds_only_share_a_scorer_and_others_do_not() -> None:
    shop = Shop()
    scorers = Scorers(shop.open)
    first = decision()
    other_labels = Decision(first.spec.model_copy(update={"labels": first.spec.labels[::-1]}), first.rules)
    own_m_of_n = first.spec.model_copy(update={"m_of_n": {first.spec.labels[0]: (1, 1)}})
    others = [Decision(own_m_of_n, first.rules), decision(threshold=0.7)]
    for one in (first, *others, decision("2"), other_labels):
        await scorers.open(one)
    assert shop.asked == ["1", "2", "1"]
    assert all(scorers.scorer(first) is scorers.scorer(other) for other in others)
    assert scorers.concurrency == 3
    await scorers.close()
    assert all(sold.closed for sold in shop.sold)


async def test_what_cannot_be_opened_yet_is_tried_again_while_its_windows_wait() -> None:
    shop = Shop(lambda tries: ConfigurationError("model", "2", "there") if tries < 3 else None)
    scorers = Scorers(shop.open)
    assert not scorers.ready(decision("2"))
    await until(lambda: scorers.ready(decision("2")))
    assert shop.asked == ["2", "2", "2"]
    await scorers.close()


async def test_an_error_that_waiting_does_not_mend_is_raised_to_who_asks_next() -> None:
    scorers = Scorers(Shop(lambda _: StopError("no more")).open)

    def failed() -> bool:
        try:
            return scorers.ready(decision())
        except StopError:
            return True

    await until(failed)
    with pytest.raises(StopError, match="no more"):
        scorers.ready(decision())
    await scorers.close()


async def test_what_is_needed_stays_open_and_what_is_not_is_closed_once_it_was_idle_for_long() -> None:
    shop = Shop()
    patient, hasty = Scorers(shop.open), Scorers(shop.open, idle_s=0.0)
    for scorers in (patient, hasty):
        await scorers.open(decision())
        await scorers.close_idle([decision()])
        assert scorers.states() == {"tiny/1": True}
        await scorers.close_idle([])
    assert [sold.closed for sold in shop.sold] == [False, True]
    assert hasty.states() == {}
    await patient.close()


async def test_a_model_that_is_no_longer_needed_is_tried_no_more() -> None:
    shop = Shop(lambda _: ConfigurationError("model", "2", "there"))
    scorers = Scorers(shop.open, idle_s=0.0)
    assert not scorers.ready(decision("2"))
    await until(lambda: bool(shop.asked))
    await scorers.close_idle([])
    await until(lambda: not scorers._opening)
    assert scorers.states() == {}
    await scorers.close()
