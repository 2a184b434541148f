"""Frames of one topic -> windows, in plain Python: what one would write without any of our rules.

No admission, no offsets, no gaps, no levels, no outputs. All contenders but the worker cut their windows with
this, so that they differ in how frames reach it. It imports nothing of ours: some of them run in an
environment of their own.
"""

import json
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

import fastavro
import numpy as np

SCHEMA = Path(__file__).parents[3] / "schemas" / "avro" / "audio_frame.1.avsc"
HEADER_BYTES = 10
WINDOW_SAMPLES, HOP_SAMPLES, BATCH_WINDOWS = 16_000, 8_000, 32
FETCH_MIN_BYTES, FETCH_MAX_WAIT_MS, MAX_PARTITION_FETCH_BYTES, MAX_RECORDS = 1_000_000, 10, 1 << 20, 1000
"""How a worker fetches by default."""

Pcm = np.ndarray[Any, np.dtype[np.int16]]


class PlainWindows:
    """A buffer for every sensor; windows are cut as they fill, and gathered 32 at a time.

    The clock runs from the first frame to `flush`.
    """

    def __init__(self) -> None:
        self._schema = fastavro.parse_schema(json.loads(SCHEMA.read_text("utf-8")))
        self._read = fastavro.schemaless_reader
        self._buffers: dict[bytes, Pcm] = {}
        self._filled: dict[bytes, int] = {}
        self._batch: list[Pcm] = []
        self._first_s = self._last_s = 0.0
        self.frames, self.windows, self.checksum = 0, 0, 0

    def add(self, key: bytes, value: bytes) -> None:
        """Take one frame as it stands in the log."""
        if not self.frames:
            self._first_s = perf_counter()
        self.frames += 1
        body = BytesIO(value)
        body.seek(HEADER_BYTES)
        frame: Any = self._read(body, self._schema, None)
        pcm = np.frombuffer(frame["data"], "<i2")
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = np.empty(2 * WINDOW_SAMPLES, np.int16)
            self._filled[key] = 0
        at = self._filled[key]
        buffer[at : at + len(pcm)] = pcm
        self._filled[key] = at = at + len(pcm)
        if at >= WINDOW_SAMPLES:
            self._window(key, buffer, at)

    def _window(self, key: bytes, buffer: Pcm, at: int) -> None:
        self._batch.append(buffer[:WINDOW_SAMPLES].copy())
        rest = at - HOP_SAMPLES
        buffer[:rest] = buffer[HOP_SAMPLES:at].copy()
        self._filled[key] = rest
        if len(self._batch) >= BATCH_WINDOWS:
            self._take()

    def _take(self) -> None:
        """Take what was gathered as one batch, int16[B, 16000]."""
        pcm = np.stack(self._batch)
        self._batch.clear()
        self.windows += len(pcm)
        self.checksum += int(pcm.sum(dtype=np.int64))

    def flush(self) -> None:
        """Take the last batch, and stop the clock."""
        if self._batch:
            self._take()
        self._last_s = perf_counter()

    def print(self) -> None:
        """Print what there was, as one JSON object."""
        found = {"frames": self.frames, "windows": self.windows, "checksum": self.checksum}
        print(json.dumps({**found, "seconds": self._last_s - self._first_s}), flush=True)
