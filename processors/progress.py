"""What was read of each partition -> how far a generation has come: its lag, and whether it has caught up."""

from collections.abc import Callable, Iterator, Mapping
from time import monotonic, time
from typing import NamedTuple

from processors.partition import Partition
from processors.pipeline import PartitionKey


class Lag(NamedTuple):
    """How far a partition is behind its log's end: records not read, their age, records still needed."""

    key: PartitionKey
    records: int
    age_s: float
    committed_records: int


class Progress:
    """One generation's progress; `end_of` says where a partition's log ends, as far as is known."""

    def __init__(self, end_of: Callable[[PartitionKey], int | None]) -> None:
        self._end_of = end_of
        self._partitions: Mapping[PartitionKey, Partition] = {}
        self._assigned = False
        self._began_s = monotonic()
        self._read_s: dict[PartitionKey, float] = {}
        self._appended_ms: dict[PartitionKey, int] = {}
        self._first_ends: dict[PartitionKey, int] = {}
        self._caught_up = False

    def begin(self, partitions: Mapping[PartitionKey, Partition] | None) -> None:
        """Forget everything: a generation begins with these partitions; None ends one."""
        self._assigned, self._partitions = partitions is not None, partitions or {}
        self._began_s, self._caught_up = monotonic(), False
        self._read_s = dict.fromkeys(self._partitions, self._began_s)
        self._appended_ms.clear()
        self._first_ends.clear()

    @property
    def lasts_s(self) -> float:
        """How long the generation has lasted."""
        return monotonic() - self._began_s

    def fetched(self, key: PartitionKey) -> None:
        """Note that something of a partition has come, or is on its way."""
        self._read_s[key] = monotonic()

    def read(self, key: PartitionKey, appended_ms: int) -> None:
        """Note that a partition was read up to a record that was appended at this time."""
        self._appended_ms[key] = appended_ms

    def quiet(self, for_s: float) -> list[PartitionKey]:
        """Return the partitions of which nothing has come for so long."""
        since_s = monotonic() - for_s
        return [key for key, read_s in self._read_s.items() if read_s < since_s]

    def caught_up(self) -> bool:
        """Say whether all has been read up to where the logs ended when we first saw their ends.

        A generation without partitions has nothing to read; between generations nobody knows.
        """
        for key in self._partitions.keys() - self._first_ends.keys():
            end = self._end_of(key)
            if end is not None:
                self._first_ends[key] = end
        ends = self._first_ends
        read = (key in ends and found.position >= ends[key] for key, found in self._partitions.items())
        self._caught_up = self._caught_up or (self._assigned and all(read))
        return self._caught_up

    def unread_since_ms(self) -> Iterator[tuple[PartitionKey, int]]:
        """Yield, for each partition that is not read to its end, when what was read last was appended."""
        for key, appended_ms in self._appended_ms.items():
            end = self._end_of(key)
            if end is None or self._partitions[key].position < end:
                yield key, appended_ms

    def lags(self, held: bool) -> Iterator[Lag]:
        """Yield each partition's lag; while any are `held` nothing of them is fetched: ends stand still."""
        for key, partition in self._partitions.items():
            end = self._end_of(key)
            if end is not None:
                behind, read_ms = max(0, end - partition.position), self._appended_ms.get(key)
                age_s = max(0.0, time() - read_ms / 1000) if read_ms and (behind or held) else 0.0
                yield Lag(key, behind, age_s, max(0, end - partition.mark()))
