"""Bytes of a fetch -> records, whatever their headers are called.

aiokafka takes a header's name for UTF-8, and raises where it is not. Nothing could then be read past such a
record, by this worker or the next, and anybody who may write frames can write one. So where aiokafka gives
up, the same bytes are read once more with names escaped: `b"\\xff"` is called `\\xff`. Nothing else differs,
and as long as names are text nothing is read twice. Written for aiokafka 0.12 to 0.14.
"""

from collections.abc import Iterator
from typing import Any, SupportsIndex

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

_MAGIC_AT, _LAST_AT, _WITH_HEADERS = 16, 23, 2
"""Where a batch says its version, and the offset of its last record from its first."""


def survive_header_names() -> None:
    """Let every consumer of this process read records whose headers' names are not UTF-8."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = _Kept, _Survivor


class _Kept(MemoryRecords):  # type: ignore[misc, valid-type, unused-ignore]
    """What a fetch returned of one partition; keeps the bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class _Survivor(fetcher.PartitionRecords):  # type: ignore[misc, unused-ignore]
    """Reads on, escaping names, from the record that could not be read."""

    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            self._records = escaped = _Escaped(self._records.data)
            escaped.pass_over(self.next_fetch_offset)  # a batch that is read again sets the position back
            yield from super()._unpack_records()


class _Escaped(_MemoryRecordsPy):  # type: ignore[misc, unused-ignore]
    """Batches in aiokafka's own Python."""

    def pass_over(self, offset: int) -> None:
        """Pass over the batches that end before an offset."""
        while (part := self._next_slice) is not None and _batch_end(part) <= offset:
            self._cache_next()

    def next_batch(self, *_: Any) -> Any:
        """Return the next batch."""
        part = self._next_slice
        batch = super().next_batch()
        return batch if part is None or part[_MAGIC_AT] < _WITH_HEADERS else _EscapedBatch(part)


def _batch_end(part: memoryview) -> int:
    """Return the offset after a batch; of a version without headers its first one."""
    first = int.from_bytes(part[:8])
    if part[_MAGIC_AT] < _WITH_HEADERS:
        return first
    return first + int.from_bytes(part[_LAST_AT : _LAST_AT + 4]) + 1


class _EscapedBatch(_DefaultRecordBatchPy):  # type: ignore[misc, unused-ignore]
    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Escaping(self._buffer)


class _Escaping(bytearray):
    """Bytes of which any piece decodes: only names of headers are ever decoded."""

    def __getitem__(self, at: SupportsIndex | slice) -> Any:
        piece = super().__getitem__(at)
        return piece if isinstance(piece, int) else _Escaping(piece)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return text, with what is not text escaped."""
        return super().decode(encoding, "backslashreplace")
