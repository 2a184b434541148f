"""Sensors that should be there -> how many of them nobody hears, of the partitions that one worker reads.

A sensor's partition follows from its id alone, as for every client that writes frames (Java's murmur2), so
workers need not talk to each other: each one misses its own, and the sum over all of them is the fleet's.
"""

from collections.abc import Iterable, Mapping

from processors.partition import Partition
from schemas.topics import partition_of


class Roster:
    """The sensors of one frames topic that should be there."""

    def __init__(self, topic: str, expected: Iterable[str]) -> None:
        self.topic = topic
        self._keys = frozenset(sensor.encode() for sensor in expected)
        self._by_partition: dict[int, set[bytes]] = {}

    def split(self, partitions: int) -> None:
        """Learn how many partitions the topic has."""
        self._by_partition = {}
        for key in self._keys:
            self._by_partition.setdefault(partition_of(key, partitions), set()).add(key)

    def missing(self, partitions: Mapping[tuple[str, int], Partition]) -> int:
        """Count the sensors of these partitions that have no open run."""
        return sum(
            len(self._by_partition.get(number, set()) - partition.heard)
            for (topic, number), partition in partitions.items()
            if topic == self.topic
        )
