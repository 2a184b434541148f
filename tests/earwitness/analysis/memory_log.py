"""A log in memory that is read as `LogReader` reads a real one."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from processors.log import Only, Record


class MemoryLog:
    """Topics of one partition each, number 0; append times may step back, as brokers' do."""

    def __init__(self, topics: Mapping[str, Sequence[Record]]) -> None:
        self._topics = topics

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions."""
        return [0] if topic in self._topics else []

    def limits(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return the first offset, and the one after the last."""
        records = self._topics[topic]
        return {0: (records[0].offset, records[-1].offset + 1) if records else (0, 0)}

    def offsets_at(self, topic: str, time_ms: int) -> dict[int, int]:
        """Return the first offset appended at or after a time, or the end."""
        found = (record.offset for record in self._topics[topic] if record.timestamp >= time_ms)
        return {0: next(found, self.limits(topic)[0][1])}

    def limits_of(self, topic: str, number: int) -> tuple[int, int]:
        """Return the first offset of a partition, and the one after its last."""
        return self.limits(topic)[number]

    def offset_at(self, topic: str, number: int, time_ms: int) -> int:
        """Return the first offset of a partition that was appended at or after a time, or its end."""
        return self.offsets_at(topic, time_ms)[number]

    def read(
        self, topic: str, stretches: Mapping[int, tuple[int, int]] | None = None, only: Only | None = None
    ) -> Iterator[Record]:
        """Read a stretch, or everything."""
        records = self._topics[topic]
        first, end = (stretches or self.limits(topic)).get(0, (0, 0))
        at = bisect_left([record.offset for record in records], first)
        before = (record for record in records[at:] if record.offset < end)
        yield from (record for record in before if only is None or only(record.key, record.value))

    def at(self, topic: str, partition: int, offset: int) -> Record | None:
        """Return one record."""
        return next(self.read(topic, {partition: (offset, offset + 1)}), None)
