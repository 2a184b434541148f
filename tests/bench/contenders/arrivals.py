"""Frames in the hand of some reader -> how long after they were appended, for every one of them."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

READY = "ready"


class Arrivals:
    """Notes frames from some offsets on, each once, until there were as many as expected.

    A frame's latency is its reader's clock less its append time, which Kafka cuts off to whole milliseconds:
    half a millisecond too much on average, for all readers alike.
    """

    def __init__(self, begin: Mapping[int, int], frames: int) -> None:
        self._next, self._frames = dict(begin), frames
        self._appended_ms: list[int] = []
        self._latencies_ms: list[float] = []
        self._since_s = self._since_cpu_s = 0.0

    @classmethod
    def from_arguments(cls) -> "Arrivals":
        """Take `{"partition": offset}` and a number of frames from the end of the command line."""
        begin = json.loads(sys.argv[-3])
        return cls({int(number): offset for number, offset in begin.items()}, int(sys.argv[-2]))

    @property
    def begin(self) -> dict[int, int]:
        """The next offset of each partition."""
        return dict(self._next)

    @property
    def complete(self) -> bool:
        """Whether all are there."""
        return len(self._appended_ms) >= self._frames

    def add(self, now_s: float, partition: int, records: Sequence[tuple[int, int]]) -> None:
        """Note offset and append time in ms of frames of a partition, in order, that came at `now_s`."""
        if not self._appended_ms:
            self._since_s, self._since_cpu_s = perf_counter(), process_time()
        since, now_ms = self._next[partition], 1000 * now_s
        appended_ms = [appended_ms for offset, appended_ms in records if offset >= since]
        if appended_ms:
            self._next[partition] = records[-1][0] + 1
            self._appended_ms += appended_ms
            self._latencies_ms += [now_ms - appended for appended in appended_ms]

    def save(self) -> None:
        """Write float64[2, frames], append times and latencies in ms, to the last argument."""
        cpu = (process_time() - self._since_cpu_s) / (perf_counter() - self._since_s)
        np.save(Path(sys.argv[-1]), np.array((self._appended_ms, self._latencies_ms), np.float64))
        print(json.dumps({"frames": len(self._appended_ms), "cpu": cpu}), flush=True)
