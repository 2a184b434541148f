"""What is written into the ring comes out in order, as views, with a mark wherever something is missing."""

from threading import Thread

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from producers.framer import duration_us
from producers.ring import SampleRing
from producers.source import Block
from tests.producers.conftest import counting

RATE_HZ = 16_000


def taken(ring: SampleRing, samples: int, rest: bool = False) -> Block | None:
    """Read and give back; the samples are copied out first, as an encoder would."""
    stretch = ring.read(samples, rest)
    if stretch is None:
        return None
    ring.release(len(stretch.block))
    return stretch.block.copy()


def test_nothing_is_read_until_a_whole_frame_is_there_unless_the_rest_is_wanted() -> None:
    ring = SampleRing(1000, 1, RATE_HZ)
    ring.write(counting(100), 1)
    assert ring.read(320) is None
    rest = ring.read(320, rest=True)
    assert rest is not None
    assert np.array_equal(rest.block, counting(100))


def test_the_reader_gets_the_rings_own_memory() -> None:
    ring = SampleRing(1000, 2, RATE_HZ)
    ring.write(counting(320, 2), 1)
    stretch = ring.read(320)
    assert stretch is not None
    assert np.shares_memory(stretch.block, ring.buffer)
    assert stretch.block.flags.c_contiguous


def test_a_frame_across_the_end_of_the_ring_comes_in_two_parts() -> None:
    ring = SampleRing(500, 1, RATE_HZ)
    ring.write(counting(400), 1)
    assert taken(ring, 400) is not None
    ring.write(counting(320), 2)
    parts = [taken(ring, 320), taken(ring, 220)]
    assert [len(part) for part in parts if part is not None] == [100, 220]
    assert np.array_equal(np.concatenate([part for part in parts if part is not None]), counting(320))


def test_captured_is_that_of_the_last_sample_of_what_is_read() -> None:
    ring = SampleRing(1000, 1, RATE_HZ)
    ring.write(counting(160), 10_000)
    ring.write(counting(480), 40_000)
    first = ring.read(320)
    assert first is not None
    assert first.captured_us == 40_000 - duration_us(320, RATE_HZ)


def test_what_finds_no_room_is_dropped_whole_and_marked_before_what_follows() -> None:
    ring = SampleRing(500, 1, RATE_HZ)
    assert ring.write(counting(400), 1)
    assert not ring.write(counting(200), 2)
    assert not ring.write(counting(150), 3)
    assert taken(ring, 320) is not None
    assert ring.write(counting(300), 4)
    before, after = ring.read(320), None
    assert before is not None
    assert (len(before.block), before.lost) == (80, 0)
    ring.release(80)
    after = ring.read(100)
    assert after is not None
    assert (len(after.block), after.lost, after.uncounted) == (100, 350, False)
    assert np.array_equal(after.block, counting(300)[:100])


def test_a_loss_is_told_once_and_only_where_it_was() -> None:
    ring = SampleRing(1000, 1, RATE_HZ)
    ring.write(counting(100), 1)
    ring.lose()
    ring.write(counting(200), 2)
    lost = []
    while (stretch := ring.read(50, rest=True)) is not None:
        lost.append(stretch.uncounted)
        ring.release(len(stretch.block))
    assert lost == [False, False, True, False, False, False]


def test_what_was_lost_at_the_very_end_is_still_told() -> None:
    ring = SampleRing(100, 1, RATE_HZ)
    ring.write(counting(100), 1)
    ring.write(counting(70), 2)
    assert ring.unsaid() == (70, False)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=60), st.integers(1, 64), st.integers(100, 200))
def test_every_sample_comes_out_or_is_counted_as_lost_where_it_is_missing(
    sizes: list[int], frame: int, capacity: int
) -> None:
    ring, sound = SampleRing(capacity, 1, RATE_HZ), counting(sum(sizes))
    heard: list[Block] = []
    at = 0

    def drain(rest: bool) -> None:
        while (stretch := ring.read(frame, rest)) is not None:
            heard.append(np.zeros((stretch.lost, 1), np.int16))
            heard.append(stretch.block.copy())
            ring.release(len(stretch.block))

    kept = np.ones(len(sound), bool)
    for turn, size in enumerate(sizes):
        if not ring.write(sound[at : at + size], at):
            kept[at : at + size] = False
        at += size
        if turn % 3 == 0:
            drain(rest=False)
    drain(rest=True)
    heard.append(np.zeros((ring.unsaid()[0], 1), np.int16))
    assert np.array_equal(np.concatenate(heard), np.where(kept[:, None], sound, 0))


def test_a_writer_and_a_reader_in_threads_of_their_own_lose_and_change_nothing() -> None:
    ring, sound = SampleRing(2000, 1, RATE_HZ), counting(400_000)
    heard: list[Block] = []

    def write() -> None:
        at = 0
        while at < len(sound):
            if ring.waiting < 1800:
                ring.write(sound[at : at + 160], at)
                at += 160

    writer = Thread(target=write, daemon=True)
    writer.start()
    while sum(map(len, heard)) < len(sound):
        block = taken(ring, 320)
        if block is None:
            ring.wait(1.0)
        else:
            heard.append(block)
    writer.join()
    assert np.array_equal(np.concatenate(heard), sound)
