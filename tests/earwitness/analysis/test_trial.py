"""Which trial of a candidate a time means."""

from dataclasses import replace

import pytest

from earwitness.analysis.trial import chosen, trials
from earwitness.analysis.wanted import TimeBase, Wanted
from processors.decision import DecisionSettings
from schemas.errors import ConfigurationError
from schemas.rollout import Mode, Rollout
from tests.processors.logs import make_decision, seeded

RULES = DecisionSettings(max_missing_s=0.004)
SPEC = make_decision(seeded(0), plain=True).spec
ONE, TWO = (SPEC.model_copy(update={"version": version}).model_dump_json() for version in ("1", "2"))
SECOND_US = 1_000_000
NOW_S = 100


def rollout(at_s: int, mode: Mode) -> Rollout:
    """Return a rollout of version 1, or a trial of version 2 beside it."""
    candidate = None if mode is Mode.SWITCH else TWO
    return Rollout(at_s * SECOND_US, mode, ONE, candidate, 0.25 if mode is Mode.SPLIT else None)


#          10 s      20 s      30 s      40 s   ... 100 s, now    200 s
# trials   shadow    shadow    (none)    split                    shadow
ANNOUNCED = (
    rollout(20, Mode.SHADOW),
    rollout(10, Mode.SHADOW),
    rollout(40, Mode.SHADOW),
    rollout(30, Mode.SWITCH),
    rollout(40, Mode.SPLIT),
    rollout(200, Mode.SHADOW),
)


def meant(begin_s: int | None, end_s: int | None) -> Wanted:
    begin_us, end_us = (None if at_s is None else at_s * SECOND_US for at_s in (begin_s, end_s))
    return Wanted((), begin_us, end_us, TimeBase.BROKER)


def spans(announced: tuple[Rollout, ...] = ANNOUNCED) -> list[tuple[str, int, int]]:
    found = trials(announced, RULES, NOW_S * SECOND_US)
    return [(str(t.mode), t.begin_us // SECOND_US, t.end_us // SECOND_US) for t in found]


def test_a_trial_lasts_until_the_next_rollout_and_what_is_only_said_again_goes_on() -> None:
    assert spans() == [("SHADOW", 10, 30), ("SPLIT", 40, NOW_S)]


def test_with_another_share_it_is_another_trial() -> None:
    more = replace(rollout(60, Mode.SPLIT), share=0.5)
    assert spans((*ANNOUNCED, more))[-2:] == [("SPLIT", 40, 60), ("SPLIT", 60, NOW_S)]


def test_without_a_time_the_last_trial_is_meant() -> None:
    found = chosen(trials(ANNOUNCED, RULES, NOW_S * SECOND_US), meant(None, None))
    assert (found.mode, found.share) == (Mode.SPLIT, 0.25)


def test_a_time_cuts_the_trial_that_lies_in_it() -> None:
    found = chosen(trials(ANNOUNCED, RULES, NOW_S * SECOND_US), meant(15, 35))
    assert (found.begin_us, found.end_us) == (15 * SECOND_US, 30 * SECOND_US)


@pytest.mark.parametrize(("begin_s", "end_s"), [(20, 50), (30, 40), (0, 10)])
def test_a_time_with_two_trials_or_none_is_refused_and_told_what_there_is(begin_s: int, end_s: int) -> None:
    with pytest.raises(
        ConfigurationError, match="a time with one trial: tiny/2 beside tiny/1, in its shadow"
    ):
        chosen(trials(ANNOUNCED, RULES, NOW_S * SECOND_US), meant(begin_s, end_s))


def test_where_nothing_was_ever_tried_it_says_how_to() -> None:
    with pytest.raises(ConfigurationError, match="no candidate has been tried yet"):
        chosen([], meant(None, None))
