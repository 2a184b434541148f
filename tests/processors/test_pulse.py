"""A process that stood still is told so once, with how long it was."""

from processors.pulse import Pulse


def test_only_what_is_longer_than_the_limit_counts_as_standing_still_and_only_once() -> None:
    times_s = iter((0.0, 5.9, 11.9, 18.0, 18.1))
    pulse = Pulse(6.0, lambda: next(times_s))
    assert [pulse.beat() for _ in range(4)] == [None, None, 18.0 - 11.9, None]
