"""Where in the log frames of the spool may stand at the earliest, and whether that has to be looked at.

A position is noted before anything is sent there, moves up with what is acknowledged, and is written into the
spool together with what is removed from it: what the file still holds is always found from there on.
"""

from collections.abc import Mapping

from producers.spool import Place


class Positions:
    """Positions by place, and how often it became uncertain what the log has; for one thread at a time."""

    def __init__(self) -> None:
        self._places: dict[Place, int] = {}
        self._unwritten: dict[Place, int] = {}
        self.doubts = 0

    def of(self, cluster: str, topic: str) -> dict[int, int]:
        """Return the positions in a topic, by partition."""
        return {p: offset for (c, t, p), offset in self._places.items() if (c, t) == (cluster, topic)}

    def begin_at(self, cluster: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Note where to look from on, by partition."""
        places = {(cluster, topic, partition): offset for partition, offset in offsets.items()}
        self._places |= places
        self._unwritten |= places

    def move_up(self, place: Place, offset: int) -> None:
        """Note that all before `offset` is settled; in doubt it may not be."""
        if not self.doubts:
            self._places[place] = self._unwritten[place] = offset

    def dispel(self, doubts: int) -> None:
        """Note that the log was read since there were so many doubts."""
        if self.doubts == doubts:
            self.doubts = 0

    def unwritten(self) -> dict[Place, int]:
        """Return what the file does not have yet."""
        return dict(self._unwritten)

    def wrote(self, positions: Mapping[Place, int]) -> None:
        """Note what the file has."""
        for place, offset in positions.items():
            if self._unwritten.get(place) == offset:
                del self._unwritten[place]

    def join(self, written: Mapping[Place, int]) -> None:
        """Take those of a file, which may be older than what memory has."""
        for place, offset in written.items():
            self._places[place] = min(offset, self._places.get(place, offset))
        self._unwritten = {p: offset for p, offset in self._places.items() if written.get(p) != offset}
