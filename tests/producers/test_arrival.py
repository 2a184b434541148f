"""Times of capture are even, never in the future, and follow the clock of whoever sends."""

from collections.abc import Iterator
from itertools import pairwise
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.arrival import ArrivalClock, Piece, Timing, TimingSettings, timed
from producers.source import Arrival, Loss
from tests.producers.conftest import ManualClock, counting

RATE_HZ, BLOCK = 16_000, 320
BLOCK_US = 20_000
AT_ONCE = TimingSettings(hold_s=0.0)


def arriving(
    clock: ManualClock,
    at_us: list[int],
    settings: TimingSettings = AT_ONCE,
    lost: dict[int, Loss] | None = None,
    opens: tuple[int, ...] = (0,),
) -> list[Arrival]:
    """Let one block arrive at each time; return what is handed on."""

    def pieces() -> Iterator[Piece]:
        for number, when_us in enumerate(at_us):
            clock.now_us = max(clock.now_us, when_us)
            broke = (lost or {}).get(number)
            yield Piece(counting(BLOCK), RATE_HZ, broke, opens=number in opens)

    handed: list[Arrival] = []
    for arrival in timed(pieces(), Timing(settings), clock, Event()):
        assert arrival.captured_at_us <= clock.wall_us(), "captured in the future"
        handed.append(arrival)
    return handed


def steps_us(arrivals: list[Arrival]) -> list[int]:
    return [later.captured_at_us - one.captured_at_us for one, later in pairwise(arrivals)]


def test_jitter_of_the_network_is_not_in_the_times_of_capture(clock: ManualClock) -> None:
    rng = np.random.default_rng(1)
    late = rng.integers(0, 15_000, 1000)
    late[0] = 0
    at_us = [BLOCK_US * number + int(late[number]) for number in range(1, 1000)]
    steps = steps_us(arriving(clock, at_us))
    assert all(0 <= BLOCK_US - step < 15_000 for step in steps)
    assert all(BLOCK_US - step < 100 for step in steps[200:])


def test_what_had_piled_up_is_dated_back_from_its_end(clock: ManualClock) -> None:
    clock.now_us = 1_000_000
    piled = [1_000_000] * 100 + [1_000_000 + BLOCK_US * number for number in range(1, 100)]
    arrivals = arriving(clock, piled, TimingSettings())
    assert set(steps_us(arrivals)) == {BLOCK_US}
    assert arrivals[99].captured_at_us == clock.offset_us + 1_000_000
    assert arrivals[0].captured_at_us == clock.offset_us + 1_000_000 - 99 * BLOCK_US


def test_a_recording_that_is_poured_in_is_slowed_down_to_real_time(clock: ManualClock) -> None:
    settings = TimingSettings(hold_s=0.5, hold_sound_s=1.0)
    arrivals = arriving(clock, [0] * 3000, settings)
    assert clock.now_us == pytest.approx(3000 * BLOCK_US - 1_000_000 - 500_000, rel=0.002)
    assert all(0 <= step <= BLOCK_US for step in steps_us(arrivals))


def test_a_sender_whose_clock_is_fast_never_waits_and_is_followed(clock: ManualClock) -> None:
    at_us = [round(BLOCK_US * number * 0.9998) for number in range(1, 30_000)]  # 200 ppm, for 10 minutes
    arrivals = arriving(clock, at_us)
    assert clock.now_us == at_us[-1]
    assert arrivals[-1].captured_at_us == pytest.approx(clock.wall_us(), abs=1000)


def test_a_sender_whose_clock_is_slow_is_followed_in_small_steps(clock: ManualClock) -> None:
    at_us = [round(BLOCK_US * number * 1.0002) for number in range(1, 30_000)]
    arrivals = arriving(clock, at_us)
    assert clock.wall_us() - arrivals[-1].captured_at_us < 30_000
    assert max(steps_us(arrivals)) < BLOCK_US + 100_000


def test_segments_of_a_playlist_that_come_in_bursts_open_no_epoch(clock: ManualClock) -> None:
    segment = 300  # blocks: 6 s of sound at once, every 6 s
    at_us = [6_000_000 * (1 + number // segment) for number in range(20 * segment)]
    arrivals = arriving(clock, at_us, TimingSettings(max_late_s=30.0))
    assert [arrival.lost for arrival in arrivals] == [None] * len(arrivals)
    assert all(abs(step - BLOCK_US) <= 100_000 for step in steps_us(arrivals))
    assert arrivals[-1].captured_at_us == clock.wall_us()


def test_sound_that_stops_and_comes_back_much_later_begins_anew(clock: ManualClock) -> None:
    at_us = [BLOCK_US * number for number in range(1, 100)]
    at_us += [10_000_000 + BLOCK_US * number for number in range(1, 100)]
    arrivals = arriving(clock, at_us)
    (broken,) = [arrival for arrival in arrivals if arrival.lost is not None]
    assert broken.lost is not None
    assert broken.lost.samples == 0
    assert broken.captured_at_us == clock.offset_us + 10_000_000 + BLOCK_US


def test_packets_that_never_came_do_not_make_what_follows_late(clock: ManualClock) -> None:
    at_us = [BLOCK_US * number for number in range(1, 50)]
    at_us += [1_000_000 + BLOCK_US * number for number in range(50, 100)]
    arrivals = arriving(clock, at_us, lost={49: Loss(16_000, "a second never came")})
    assert arrivals[49].captured_at_us == clock.offset_us + 1_000_000 + 50 * BLOCK_US


def test_what_is_held_at_the_beginning_is_given_up_at_the_end(clock: ManualClock) -> None:
    assert len(arriving(clock, [0, 0, 0], TimingSettings())) == 3


def test_a_step_of_the_wall_clock_is_followed(clock: ManualClock) -> None:
    clock.at(0.0, lambda: None)
    before = arriving(clock, [BLOCK_US])
    clock.offset_us += 3_600_000_000
    after = arriving(clock, [2 * BLOCK_US])
    assert after[0].captured_at_us - before[0].captured_at_us == 3_600_000_000 + BLOCK_US


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=200))
def test_no_arrival_is_ever_captured_after_it_is_handed_on(waits_us: list[int]) -> None:
    at_us = np.cumsum(waits_us).tolist()
    arriving(ManualClock(), [int(when) for when in at_us], TimingSettings())


def test_a_clock_says_how_late_sound_is() -> None:
    clock = ArrivalClock()
    clock.start(0, RATE_HZ)
    assert clock.late_us(RATE_HZ, 1_000_000) == 0
    assert clock.late_us(RATE_HZ, 999_000) == -1000


@pytest.mark.parametrize("number", [5, 80])
def test_time_stamps_that_step_ahead_of_the_clock_are_not_waited_for(clock: ManualClock, number: int) -> None:
    at_us = [BLOCK_US * number for number in range(1, 200)]
    lost = {number: Loss(3600 * RATE_HZ, "an hour of the stream never came")}
    arrivals = arriving(clock, at_us, TimingSettings(), lost)
    assert clock.now_us == at_us[-1]
    assert set(steps_us(arrivals)) == {BLOCK_US}
    (stepped,) = [arrival.lost for arrival in arrivals if arrival.lost is not None]
    assert stepped.samples == 0
    if number == 80:
        assert stepped.reason.startswith("the stream's time stamps went ahead by 3600.000 s")


def test_of_a_step_of_the_time_stamps_only_what_time_allows_is_lost(clock: ManualClock) -> None:
    at_us = [BLOCK_US * number for number in range(1, 100)]
    at_us += [1_000_000 + BLOCK_US * number for number in range(100, 200)]
    arrivals = arriving(clock, at_us, lost={99: Loss(3600 * RATE_HZ, "an hour never came")})
    (stepped,) = [arrival.lost for arrival in arrivals if arrival.lost is not None]
    assert stepped.samples == RATE_HZ


def test_what_a_new_connection_repeats_is_neither_lost_nor_dated_back(clock: ManualClock) -> None:
    at_us = [BLOCK_US * number for number in range(1, 100)]
    back_us = at_us[-1] + 1_000_000
    at_us += [back_us] * 250 + [back_us + BLOCK_US * number for number in range(1, 100)]
    lost = {99: Loss(RATE_HZ, "away for a second")}
    arrivals = arriving(clock, at_us, TimingSettings(), lost, opens=(0, 99))
    assert min(steps_us(arrivals)) >= 0
    assert arrivals[99].lost == Loss(0, "away for a second")


def test_of_what_was_away_only_what_no_burst_brought_is_lost(clock: ManualClock) -> None:
    at_us = [BLOCK_US * number for number in range(1, 100)]
    back_us = at_us[-1] + 3_000_000
    at_us += [back_us] * 50 + [back_us + BLOCK_US * number for number in range(1, 100)]
    lost = {99: Loss(3 * RATE_HZ, "away for three seconds")}
    arrivals = arriving(clock, at_us, TimingSettings(), lost, opens=(0, 99))
    assert arrivals[99].lost == Loss(2 * RATE_HZ, "away for three seconds")
    assert min(steps_us(arrivals)) >= 0
