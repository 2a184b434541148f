"""Who stood still is told so once, with how long it was; who is only asked late did not stand still."""

import pytest

from processors.pulse import Pulse, awake_or_not_s


class Clock:
    """Says what it was set to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(5.0, clock)


def test_only_what_is_longer_than_the_limit_counts_as_standing_still_and_only_once(
    clock: Clock, pulse: Pulse
) -> None:
    told = []
    for clock.now_s in (100.0, 105.0, 110.5, 111.0):
        pulse.beat()
        told.append(pulse.still_s())
    assert told == [None, None, 5.5, None]


def test_who_asks_before_the_thread_has_run_again_is_told_and_not_told_again(
    clock: Clock, pulse: Pulse
) -> None:
    pulse.beat()
    clock.now_s += 20.0
    assert pulse.still_s() == 20.0
    assert pulse.still_s() is None
    pulse.beat()
    assert pulse.still_s() is None
    clock.now_s += 7.0
    pulse.beat()
    assert pulse.still_s() == 7.0


def test_who_asks_late_hears_of_the_longest_gap_and_of_none_where_there_was_none(
    clock: Clock, pulse: Pulse
) -> None:
    for _ in range(100):
        clock.now_s += 0.5
        pulse.beat()
    assert pulse.still_s() is None
    for gap_s in (6.0, 9.0, 0.5):
        clock.now_s += gap_s
        pulse.beat()
    assert pulse.still_s() == 9.0
    assert pulse.still_s() is None


def test_nobody_stands_still_before_the_first_beat_or_after_the_end(clock: Clock, pulse: Pulse) -> None:
    clock.now_s += 60.0
    assert pulse.still_s() is None
    pulse.beat()
    pulse.end()
    clock.now_s += 60.0
    assert pulse.still_s() is None


def test_its_clock_goes_on() -> None:
    assert awake_or_not_s() <= awake_or_not_s()
