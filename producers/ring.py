"""A sound card's callback -> whoever encodes: a ring of samples with one writer, one reader and one copy.

    callback ──copy──► |····|██████████████|····|  ──view──► encoder
                            tail           head

The writer never waits: what finds no room is dropped, counted, and marked where it is missing. The reader
gets views of the ring itself and gives them back; only a frame that lies across the ring's end comes in two.
Positions are counted from the beginning and never wrap. Each side writes its own counter and only reads the
other's; what else passes between them are the marks, in a deque, whose two ends are safe in two threads.
"""

from collections import deque
from threading import Event
from typing import NamedTuple

import numpy as np

from producers.framer import duration_us
from producers.source import Block


class Mark(NamedTuple):
    """What was written at once: up to `end`, captured then; before it `lost` samples are missing."""

    start: int
    end: int
    captured_us: int
    lost: int
    uncounted: bool
    """Whether samples are missing before it that nobody counted."""


class Stretch(NamedTuple):
    """Samples that the reader may use until it gives them back, in one piece."""

    block: Block
    captured_us: int
    lost: int
    uncounted: bool


class SampleRing:
    """Holds `int16[capacity, channels]`. `write` and `lose` belong to one thread, the rest to another."""

    def __init__(self, capacity: int, channels: int, sample_rate_hz: int) -> None:
        self._buffer = np.zeros((capacity, channels), np.int16)
        self._capacity, self._rate_hz = capacity, sample_rate_hz
        self._head, self._tail = 0, 0
        self._marks: deque[Mark] = deque()
        self._lost, self._uncounted = 0, False
        self._written = Event()

    @property
    def buffer(self) -> Block:
        """The memory that all samples lie in."""
        return self._buffer

    @property
    def waiting(self) -> int:
        """How many samples were written and not given back."""
        return self._head - self._tail

    def write(self, block: Block, captured_us: int) -> bool:
        """Copy samples in, the last captured at this time; return False where there is no room for them."""
        size = len(block)
        if size > self._capacity - (self._head - self._tail):
            self._lost += size
            self._written.set()
            return False
        at = self._head % self._capacity
        first = min(size, self._capacity - at)
        self._buffer[at : at + first] = block[:first]
        self._buffer[: size - first] = block[first:]
        end = self._head + size
        self._marks.append(Mark(self._head, end, captured_us, self._lost, self._uncounted))
        self._lost, self._uncounted = 0, False
        self._head = end
        self._written.set()
        return True

    def lose(self) -> None:
        """Note that samples were lost before they could be written, and nobody knows how many."""
        self._uncounted = True

    def wait(self, timeout_s: float) -> bool:
        """Wait until something is written after the last call; return whether it was."""
        written = self._written.wait(timeout_s)
        self._written.clear()
        return written

    def read(self, samples: int, rest: bool = False) -> Stretch | None:
        """Return a view of so many samples, none missing between them; None while they have not come.

        It is shorter where the ring ends and where samples are missing behind it; with `rest`, also where no
        more has come.
        """
        first = self._first_mark()
        if first is None:
            return None
        at = self._tail % self._capacity
        wanted = self._tail + min(samples, self._capacity - at)
        last, breaks = self._reaches(wanted)
        end = min(wanted, last.end)
        if end < wanted and not breaks and not rest:
            return None
        captured_us = last.captured_us - duration_us(last.end - end, self._rate_hz)
        begins = self._tail == first.start
        lost, uncounted = (first.lost, first.uncounted) if begins else (0, False)
        return Stretch(self._buffer[at : at + end - self._tail], captured_us, lost, uncounted)

    def release(self, samples: int) -> None:
        """Give back the first samples of what `read` returned: they will be written over."""
        self._tail += samples

    def unsaid(self) -> tuple[int, bool]:
        """Return what was lost since the last write, once nobody writes any more."""
        return self._lost, self._uncounted

    def _first_mark(self) -> Mark | None:
        while self._marks and self._marks[0].end <= self._tail:
            self._marks.popleft()
        return self._marks[0] if self._marks else None

    def _reaches(self, end: int) -> tuple[Mark, bool]:
        """Return the mark in which samples up to `end` end, or the last before some are missing."""
        last = self._marks[0]
        for index in range(1, len(self._marks)):
            if last.end >= end:
                break
            mark = self._marks[index]
            if mark.lost or mark.uncounted:
                return last, True
            last = mark
        return last, False
