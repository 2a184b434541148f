"""Windows of 8 samples every 4 at 1000 Hz, unless a test says otherwise; a sample is worth its index + 1."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.decision import Decision
from processors.window import Grid, Stretch, Window, Windower
from tests.processors.build import decide, ramp
from tests.processors.logs import Pcm

Cut = tuple[Window, Pcm | None]


def cut(
    decision: Decision, frames: Sequence[tuple[int, int]], rate_hz: int = 1000, taken_over: bool = False
) -> tuple[Windower, list[Cut]]:
    """Feed `[first, end)` as frames with offsets 10, 11, …, each captured 1 s after the one before."""
    windower = Windower(decision, rate_hz, frames[0][0], 10, taken_over=taken_over)
    windows: list[Cut] = []
    for n, (first, end) in enumerate(frames):
        windows += windower.feed(first, ramp(first, end), 10 + n, 1_000_000 * (n + 1), 1000 * (n + 1))
    return windower, windows


@pytest.mark.parametrize(
    ("rate_hz", "starts", "samples"),
    [
        (8_000, [0, 4_000, 8_000, 12_000], 8_000),
        (11_025, [0, 5_512, 11_025, 16_537], 11_025),
        (16_000, [0, 8_000, 16_000, 24_000], 16_000),
        (44_100, [0, 22_050, 44_100, 66_150], 44_100),
        (48_000, [0, 24_000, 48_000, 72_000], 48_000),
    ],
)
def test_the_grid_lies_on_the_sensors_own_counter(rate_hz: int, starts: list[int], samples: int) -> None:
    grid = Grid(rate_hz, 16_000, length=16_000, hop=8_000)
    assert [grid.start(k) for k in range(4)] == starts
    assert grid.samples == samples


def test_a_window_that_is_no_whole_number_of_samples_is_rounded_up() -> None:
    assert Grid(11_025, 16_000, length=400, hop=160).samples == 276  # 275.6


@given(
    st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000]), st.integers(1, 9_000), st.integers(0, 10**12)
)
@settings(derandomize=True)
def test_the_first_window_from_a_sample_is_the_first_that_does_not_start_before_it(
    rate_hz: int, hop: int, sample: int
) -> None:
    grid = Grid(rate_hz, 16_000, length=9_000, hop=hop)
    first = grid.first_from(sample)
    assert grid.start(first) >= sample
    assert first == 0 or grid.start(first - 1) < sample


def test_a_window_knows_its_samples_its_frames_and_their_clocks() -> None:
    # frames    10       11       12                   captured at 1, 2, 3 s
    # samples   0  1  2  3  4  5  6  7  8
    # window 0  [=====================)
    _, [(window, pcm)] = cut(decide(), [(0, 3), (3, 6), (6, 9)])
    assert pcm is not None
    assert pcm.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (window.index, window.start_sample, window.end_sample, window.missing) == (0, 0, 8, 0)
    assert (window.first_offset, window.last_offset) == (10, 12)
    assert window.start_us == 1_000_000 - 2_000  # sample 2 was read at 1 s, sample 0 2 ms before
    assert window.end_us == 3_000_000  # sample 8 was read at 3 s
    assert (window.appended_ms, window.captured_us) == (3000, 3_000_000)


def test_each_window_adds_the_hop_that_the_one_before_did_not_have() -> None:
    _, windows = cut(decide(), [(0, 16)])
    fresh = [(w.fresh.start_sample, w.fresh.end_sample) for w, _ in windows]
    assert fresh == [(0, 8), (8, 12), (12, 16)]
    assert [w.fresh.tally.total for w, _ in windows] == [36, 42, 58]  # 1+…+8, 9+…+12, 13+…+16


def test_a_run_that_begins_off_the_grid_has_a_head_that_ends_where_its_first_window_starts() -> None:
    # frames    10    11                12              captured at 1, 2, 3 s
    # samples   5  6  7  8 ... 11       12 ... 15
    # head      [=======)
    # window 2           [====================)
    _, [(window, _)] = cut(decide(), [(5, 7), (7, 12), (12, 16)])
    head = window.head
    assert window.index == 2
    assert head is not None
    assert (head.start_sample, head.end_sample, head.missing, head.tally.samples) == (5, 8, 0, 3)
    assert (head.first_offset, head.last_offset) == (10, 11)
    assert (head.start_us, head.end_us) == (1_000_000 - 1_000, 2_000_000 - 3_000)
    assert (window.fresh.start_sample, window.fresh.end_sample) == (8, 16)


def test_a_head_ends_in_the_frame_before_if_the_next_begins_with_the_window() -> None:
    _, [(window, _)] = cut(decide(), [(5, 8), (8, 16)])
    assert window.head is not None
    assert (window.head.first_offset, window.head.last_offset) == (10, 10)
    assert (window.first_offset, window.before_offset) == (11, 10)


def test_what_is_left_where_a_run_ends_is_too_little_for_a_window() -> None:
    windower, _ = cut(decide(), [(0, 8), (8, 11)])
    rest = windower.finish()
    assert rest is not None
    assert (rest.start_sample, rest.end_sample, rest.first_offset, rest.last_offset) == (8, 11, 11, 11)


def test_nothing_is_left_where_a_run_ends_with_a_window() -> None:
    windower, _ = cut(decide(), [(0, 8)])
    assert windower.finish() is None


def test_a_run_without_a_window_is_all_left_over() -> None:
    windower, windows = cut(decide(), [(5, 9)])
    rest = windower.finish()
    assert windows == []
    assert rest is not None
    assert (rest.start_sample, rest.end_sample) == (5, 9)


def test_a_run_that_was_taken_over_accounts_for_the_newest_hop_of_its_first_window() -> None:
    # window 1     4 ......... 12           said by another worker
    # taken over       6 ...................
    # window 2             8 ........... 16
    # accounts for                 12 .. 16
    _, [(window, _)] = cut(decide(), [(6, 16)], taken_over=True)
    assert window.index == 2
    assert window.head is None
    assert (window.fresh.start_sample, window.fresh.end_sample) == (12, 16)


def test_as_much_missing_as_may_be_is_filled_with_zeros() -> None:
    # samples   0 ... 5 . . 8 ... 15
    _, windows = cut(decide(max_missing_s=0.002), [(0, 6), (8, 16)])
    pcm = [None if x is None else x.tolist() for _, x in windows]
    assert pcm == [
        [1, 2, 3, 4, 5, 6, 0, 0],
        [5, 6, 0, 0, 9, 10, 11, 12],
        [9, 10, 11, 12, 13, 14, 15, 16],
    ]
    assert [w.missing for w, _ in windows] == [2, 2, 0]
    assert [w.hop_missing for w, _ in windows] == [0, 2, 0]


def test_one_sample_more_makes_a_gap() -> None:
    _, windows = cut(decide(max_missing_s=0.002), [(0, 5), (8, 16)])
    assert [x is None for _, x in windows] == [True, True, False]
    assert [w.missing for w, _ in windows] == [3, 3, 0]


def test_zeros_that_were_filled_in_do_not_count_in_the_tally() -> None:
    _, [(window, _), *_] = cut(decide(max_missing_s=0.002), [(0, 6), (8, 16)])
    assert (window.fresh.tally.samples, window.fresh.tally.zeros, window.fresh.missing) == (6, 0, 2)


def test_a_gap_longer_than_a_window_gives_windows_without_samples_and_goes_on_behind_it() -> None:
    # frames    10             11 (captured at 2 s)
    # samples   0 ... 7        28 ... 35
    _, windows = cut(decide(), [(0, 8), (28, 36)])
    whole = [w.index for w, x in windows if x is not None]
    assert [w.index for w, _ in windows] == list(range(8))
    assert whole == [0, 7]
    assert [w.missing for w, _ in windows] == [0, 4, 8, 8, 8, 8, 4, 0]
    nothing = windows[3][0]  # [12, 20): the last that was heard before is all that is known
    assert (nothing.first_offset, nothing.last_offset) == (10, 10)
    assert nothing.end_us == 1_000_000 + (20 - 7) * 1_000
    after = windows[7][0]
    assert (after.first_offset, after.before_offset, after.last_offset) == (11, 10, 11)
    assert after.start_us == 2_000_000 - 7_000


def test_a_frame_of_many_windows_gives_all_of_them() -> None:
    _, windows = cut(decide(), [(0, 1000)])
    assert [w.start_sample for w, _ in windows] == list(range(0, 993, 4))
    assert all(x is not None and x[0] == w.start_sample + 1 for w, x in windows)


def test_the_offset_at_a_window_is_that_of_the_frame_that_holds_its_start() -> None:
    windower, _ = cut(decide(), [(0, 8), (8, 10), (10, 16), (16, 24)])
    assert [windower.offset_at(k) for k in (-3, 0, 1, 2, 3, 4)] == [10, 10, 10, 11, 12, 13]


def test_the_offset_at_a_window_in_a_gap_is_that_of_the_frame_before() -> None:
    windower, _ = cut(decide(), [(0, 8), (28, 36)])
    assert [windower.offset_at(k) for k in (1, 4, 6, 7)] == [10, 10, 10, 11]


def test_sample_counters_of_centuries_do_not_lose_a_sample() -> None:
    first = 1 << 61
    windower = Windower(decide(), 1000, first, 0, taken_over=False)
    [(window, pcm), *_] = windower.feed(first, ramp(0, 16), 0, 0, 0)
    assert (window.start_sample, window.end_sample) == (first, first + 8)
    assert pcm is not None
    assert pcm.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000])
def test_a_window_of_another_rate_has_the_models_length_and_the_same_tone(rate_hz: int) -> None:
    decision = decide(rate_hz=16_000, window=16_000, hop=8_000)
    tone = (8_000 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)).astype(np.int16)
    windower = Windower(decision, rate_hz, 0, 0, taken_over=False)
    [(_, pcm)] = windower.feed(0, tone, 0, 0, 0)
    assert pcm is not None
    assert (pcm.dtype.name, len(pcm)) == ("int16", 16_000)
    expected = 8_000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    middle = slice(1_000, 15_000)  # a resampler rings where a window begins and ends
    assert np.abs(pcm[middle] - expected[middle]).max() < 40  # -46 dB


RATES_HZ = (8_000, 11_025, 16_000, 44_100, 48_000)


@st.composite
def _cuts(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
    """Draw a rate and two ways to cut the same sound, gaps and all, into frames."""
    rate_hz = draw(st.sampled_from(RATES_HZ))
    first = draw(st.integers(0, 300))
    lengths = draw(st.lists(st.integers(1, 700), min_size=1, max_size=6))
    gaps = draw(st.lists(st.integers(1, 400), min_size=len(lengths), max_size=len(lengths)))
    whole: list[tuple[int, int]] = []
    for length, gap in zip(lengths, gaps, strict=True):
        whole.append((first, first + length))
        first += length + gap
    parts = []
    for start, end in whole:
        inner = draw(st.sets(st.integers(start, end), max_size=8)) - {start, end}
        edges = [start, *sorted(inner), end]
        parts += list(pairwise(edges))
    return rate_hz, whole, parts


Heard = tuple[int, int, int, int, int, bytes | None]


def _heard(windows: list[Cut], rest: Stretch | None) -> tuple[list[Heard], list[tuple[object, ...]]]:
    what = [
        (
            w.index,
            w.start_sample,
            w.end_sample,
            w.missing,
            w.hop_missing,
            x.tobytes() if x is not None else None,
        )
        for w, x in windows
    ]
    stretches = [s for w, _ in windows for s in (w.head, w.fresh)] + [rest]
    return what, [(s.start_sample, s.end_sample, s.missing, s.tally) for s in stretches if s is not None]


@given(_cuts())
@settings(derandomize=True, max_examples=150, deadline=None)
def test_windows_do_not_depend_on_how_the_sound_was_cut_into_frames(
    drawn: tuple[int, list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    rate_hz, whole, parts = drawn
    decision = decide(rate_hz=16_000, window=160, hop=70, max_missing_s=0.005)
    one, windows = cut(decision, whole, rate_hz)
    other, same_windows = cut(decision, parts, rate_hz)
    assert _heard(windows, one.finish()) == _heard(same_windows, other.finish())
