"""Frames -> windows: cuts a sensor's run into overlapping model inputs, on a grid that only the epoch sets.

    samples   0         start(1)   start(2)   start(3)
              |----------|----------|----------|----------|
    window 0  [=====================)
    window 1             [=====================)            hop = start(1) - start(0)
    window 2                        [=====================)
    fresh     [=====================)----------)----------)  what each window adds; coverage is said of it

Window k starts at `k * hop * rate // model_rate` on the sensor's own counter, so it does not depend on where
a frame began, nor on when anything arrived. Whether it is scored, and what that means, is left to others.
"""

from dataclasses import dataclass, replace

import numpy as np

from processors.decision import Decision
from processors.pcm import Pcm, Tally, resample, tally


@dataclass(frozen=True, slots=True)
class Grid:
    """Where windows lie on a sensor of `rate_hz`; `length` and `hop` count samples at the model's rate."""

    rate_hz: int
    model_rate_hz: int
    length: int
    hop: int

    @property
    def samples(self) -> int:
        """Samples of the sensor in a window, rounded up."""
        return -(-self.length * self.rate_hz // self.model_rate_hz)

    def start(self, index: int) -> int:
        """Return the first sample of a window."""
        return index * self.hop * self.rate_hz // self.model_rate_hz

    def first_from(self, sample: int) -> int:
        """Return the first window that starts at or after a sample."""
        return -(-sample * self.model_rate_hz // (self.hop * self.rate_hz))


@dataclass(frozen=True, slots=True)
class Stretch:
    """`[start_sample, end_sample)` of a run, the frames that hold it, and what it sounded like."""

    start_sample: int
    end_sample: int
    start_us: int
    end_us: int
    first_offset: int
    last_offset: int
    missing: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a run: where it is, and what of it is missing; its samples travel beside it.

    `head` is what lies before a run's first window. `hop_missing` counts what is missing before the next
    window starts; `before_offset` is the frame that holds the sample before the window's first.
    `appended_ms` and `captured_us` are those of the frame that completed it.
    """

    index: int
    start_sample: int
    end_sample: int
    start_us: int
    end_us: int
    first_offset: int
    before_offset: int
    last_offset: int
    missing: int
    hop_missing: int
    appended_ms: int
    captured_us: int
    head: Stretch | None
    fresh: Stretch


@dataclass(frozen=True, slots=True)
class _Anchor:
    """The frame at or before a window's first sample."""

    offset: int
    before_offset: int
    start_us: int


class Windower:
    """Cuts one run into windows.

    A run that this worker saw open is accounted for from its first sample; one that was taken over, from the
    newest hop of its first whole window, since another worker has said the rest.
    """

    def __init__(
        self, decision: Decision, rate_hz: int, first_sample: int, offset: int, taken_over: bool
    ) -> None:
        spec = decision.spec
        self.grid = grid = Grid(rate_hz, spec.sample_rate_hz, spec.window_samples, spec.hop_samples)
        self.first_offset = offset
        self.first_index = self._next = grid.first_from(first_sample)
        self.end_sample = first_sample
        self._samples = grid.samples
        self._max_missing = int(decision.rules.max_missing_s * rate_hz)
        self._step = max(1, grid.start(1))
        self._buffer: Pcm = np.zeros(grid.samples + 2 * self._step + 2, np.int16)
        self._base = first_sample
        self._gaps: list[tuple[int, int]] = []
        self._anchors: dict[int, _Anchor] = {}
        self._next_anchor, self._next_start = self._next, grid.start(self._next)
        self._next_end = self._next_start + self._samples
        self.last_offset = self._before_offset = offset
        self._frame_start = self._frame_end = first_sample
        self.captured_us = self.appended_ms = 0
        self._fresh_from = first_sample
        if taken_over:
            self._fresh_from = max(first_sample, grid.start(self._next - 1) + self._samples)
        self._fresh_us: int | None = None
        self._fresh_offset = offset
        self._bytes = self._buffer.data.cast("B")
        self._quiet_until = first_sample

    def go_on(
        self, end_sample: int, value: bytes, data_at: int, offset: int, captured_us: int, appended_ms: int
    ) -> bool:
        """Take the next frame, PCM_S16LE in `value` from `data_at` to its end, if it completes no window.

        Most frames are such: the same as `feed`, in a fifth of the time. Returns whether it was one.
        """
        if end_sample > self._quiet_until:
            return False
        at = 2 * (self.end_sample - self._base)
        self._bytes[at : at + len(value) - data_at] = value[data_at:]
        self._before_offset, self.last_offset = self.last_offset, offset
        self._frame_start, self._frame_end = self.end_sample, end_sample
        self.end_sample = end_sample
        self.captured_us, self.appended_ms = captured_us, appended_ms
        if self._fresh_us is None and end_sample > self._fresh_from:
            self._fresh_us, self._fresh_offset = self._utc(self._fresh_from), offset
        while self._next_start < end_sample:
            self._anchor()
        return True

    def feed(
        self, first_sample: int, pcm: Pcm, offset: int, captured_us: int, appended_ms: int
    ) -> list[tuple[Window, Pcm | None]]:
        """Take the run's next frame; return the windows that it completes, with int16[length] or None.

        `first_sample` is at least `end_sample`: what lies between is missing. A window comes without samples
        if more of it is missing than may be filled in.
        """
        windows: list[tuple[Window, Pcm | None]] = []
        if first_sample > self.end_sample:
            self._gaps.append((self.end_sample, first_sample))
            self._write(np.zeros(first_sample - self.end_sample, np.int16), windows)
        self._before_offset, self.last_offset = self.last_offset, offset
        self._frame_start, self._frame_end = first_sample, first_sample + len(pcm)
        self.captured_us, self.appended_ms = captured_us, appended_ms
        if self._fresh_us is None and self._frame_end > self._fresh_from:
            self._fresh_us, self._fresh_offset = self._utc(self._fresh_from), offset
        self._write(pcm, windows)
        self._look_ahead()
        return windows

    def finish(self) -> Stretch | None:
        """Return what is left over where the run ends: too little for another window."""
        if self._fresh_from >= self.end_sample:
            return None
        return self._stretch(self._fresh_from, self.end_sample)

    def offset_at(self, index: int) -> int:
        """Return the offset of the latest frame at or before a window's start; forget windows before it."""
        if index < self.first_index:
            return self.first_offset
        while next(iter(self._anchors)) < index:
            del self._anchors[next(iter(self._anchors))]
        return self._anchors[index].offset

    def _look_ahead(self) -> None:
        """Find up to which sample there is room, and no window is complete (`go_on`)."""
        self._quiet_until = min(self._next_end - 1, self._base + len(self._buffer))

    def _write(self, pcm: Pcm, windows: list[tuple[Window, Pcm | None]]) -> None:
        size = len(pcm)
        if size > self._step:  # rare: a frame or a gap longer than a hop goes through the buffer in parts
            for at in range(0, size, self._step):
                self._write(pcm[at : at + self._step], windows)
            return
        position = self.end_sample - self._base
        if position + size > len(self._buffer):
            position = self._make_room()
        self._buffer[position : position + size] = pcm
        self.end_sample += size
        while self._next_start < self.end_sample:
            self._anchor()
        while self._next_end <= self.end_sample:
            windows.append(self._window())

    def _make_room(self) -> int:
        keep = min(self.grid.start(self._next), self._fresh_from)
        kept = self._buffer[keep - self._base : self.end_sample - self._base]
        self._buffer[: len(kept)] = kept
        self._base = keep
        self._gaps = [gap for gap in self._gaps if gap[1] > keep]
        return len(kept)

    def _anchor(self) -> None:
        """Note which frame holds the first sample of the next window."""
        inside = self._next_start > self._frame_start
        before = self.last_offset if inside else self._before_offset
        self._anchors[self._next_anchor] = _Anchor(self.last_offset, before, self._utc(self._next_start))
        self._next_anchor += 1
        self._next_start = self.grid.start(self._next_anchor)

    def _window(self) -> tuple[Window, Pcm | None]:
        index, end = self._next, self._next_end
        start, anchor = self.grid.start(index), self._anchors[index]
        head = None
        if self._fresh_from < start:
            head = replace(
                self._stretch(self._fresh_from, start),
                end_us=anchor.start_us,
                last_offset=anchor.before_offset,
            )
            self._fresh_from, self._fresh_us, self._fresh_offset = start, anchor.start_us, anchor.offset
        missing = self._missing(start, end)
        window = Window(
            index=index,
            start_sample=start,
            end_sample=end,
            start_us=anchor.start_us,
            end_us=self._utc(end),
            first_offset=anchor.offset,
            before_offset=anchor.before_offset,
            last_offset=self.last_offset,
            missing=missing,
            hop_missing=self._missing(start, self.grid.start(index + 1)) if missing else 0,
            appended_ms=self.appended_ms,
            captured_us=self.captured_us,
            head=head,
            fresh=self._stretch(self._fresh_from, end),
        )
        self._move_on(end)
        return window, self._samples_of(start, end) if missing <= self._max_missing else None

    def _move_on(self, end: int) -> None:
        self._next += 1
        self._next_end = self.grid.start(self._next) + self._samples
        self._fresh_from, self._fresh_us = end, None
        if self._frame_end > end:
            self._fresh_us, self._fresh_offset = self._utc(end), self.last_offset

    def _samples_of(self, start: int, end: int) -> Pcm:
        grid = self.grid
        pcm = self._buffer[start - self._base : end - self._base]
        if grid.rate_hz == grid.model_rate_hz:
            return pcm.copy()
        return resample(pcm, grid.rate_hz, grid.model_rate_hz, grid.length)

    def _stretch(self, start: int, end: int) -> Stretch:
        known = self._fresh_us is not None
        missing = self._missing(start, end)
        return Stretch(
            start_sample=start,
            end_sample=end,
            start_us=self._fresh_us if self._fresh_us is not None else self._utc(start),
            end_us=self._utc(end),
            first_offset=self._fresh_offset if known else self.last_offset,
            last_offset=self.last_offset,
            missing=missing,
            tally=tally(self._buffer[start - self._base : end - self._base], missing),
        )

    def _missing(self, start: int, end: int) -> int:
        return sum(max(0, min(end, e) - max(start, s)) for s, e in self._gaps)

    def _utc(self, sample: int) -> int:
        """Return the sensor's clock at a sample, from the frame that holds it or the latest before."""
        return self.captured_us + (sample - self._frame_end + 1) * 1_000_000 // self.grid.rate_hz
