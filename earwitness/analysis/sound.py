"""Log -> one sensor's sound: its frames out of a partition that many sensors share, decoded and cut.

    offsets   ···s·a·b·s·c·s·a·s·b·s·s·c·a·s···      s: the sensor that is meant
                 │   └── known to hold it ──┘  │
                 └─ looked for by append time ─┘     as far before and after as sound is wanted

Only records with the sensor's key are decoded, with all channels in the precision in which they came: not the
mix that a model hears. Joining the pieces is left to `earwitness/analysis/passage.py`.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Protocol

from earwitness.analysis.piece import Cut, Piece, piece_of
from processors.log import Only, Record, Stretches, read_as
from schemas.codec import Codec
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame

SLACK_MS = 300
"""Sound is looked for so much earlier and later than it was heard: it may have been delivered late."""
QUIET_MS = 5000
"""Where nothing was appended for so long, sound is not followed any further."""
MAX_STEP_MS = 10_000
"""How far sound is followed at first beyond the offsets that are known; then in ever longer steps."""
_FURTHER = 3


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Offsets that hold a sensor's sound, how long it took, and how much more is wanted around it."""

    topic: str
    partition: int
    sensor: str
    first_offset: int
    last_offset: int
    length_ms: int
    before_ms: int = 0
    after_ms: int = 0

    @property
    def text(self) -> str:
        """What it is called: `topic[partition]@first to last`."""
        return f"{self.topic}[{self.partition}]@{self.first_offset} to {self.last_offset}"


class SoundGoneError(ConfigurationError):
    """Retention has removed what is asked for."""


class Log(Protocol):
    """What is needed of a `LogReader`; it reads one thing at a time."""

    def read(
        self, topic: str, stretches: Stretches | None = None, only: Only | None = None
    ) -> Iterator[Record]:
        """Read from a first offset to the one before an end, in each partition that is named."""
        ...

    def offsets_at(self, topic: str, time_ms: int) -> dict[int, int]:
        """Return, for each partition, the first offset appended at or after a time."""
        ...

    def limits(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return, for each partition, its first offset that is still there and the one after its last."""
        ...


class SoundReader:
    """Reads one sensor's sound at a time."""

    def __init__(self, log: Log, codec: Codec) -> None:
        self._log, self._codec = log, codec

    def sounding(self, where: Sequence[Whereabouts], cut: Cut) -> list[Whereabouts]:
        """Return those that have any of what is wanted, the one that was heard first first.

        Raises:
            SoundGoneError: retention has removed all of it.

        """
        found, gone = [], None
        for one in where:
            try:
                with closing(self.pieces(one, cut)) as pieces:
                    found += [(piece.utc_us(piece.first_sample), one) for piece in islice(pieces, 1)]
            except SoundGoneError as exc:
                gone = exc
        if gone is not None and not found:
            raise gone
        return [one for _, one in sorted(found, key=itemgetter(0))]

    def pieces(self, where: Whereabouts, cut: Cut) -> Generator[Piece, None, None]:
        """Yield what is wanted of a sensor's frames in the order of the log; seeks, and reads little else.

        Raises:
            SoundGoneError: retention has removed all of it.

        """
        anchor_ms = self._first_appended_ms(where)
        for frame in self._from_early_enough(where, cut, anchor_ms):
            piece = cut.of(frame)
            if piece is not None:
                yield piece
            if frame.offset >= where.last_offset and cut.over(frame):
                return

    def _from_early_enough(self, where: Whereabouts, cut: Cut, anchor_ms: int) -> Iterator[Piece]:
        """Yield frames from the first wanted one on, going back for it as far as there is sound."""
        look_ms = min(where.before_ms, MAX_STEP_MS) + SLACK_MS
        while True:
            frames = self._onwards(where, self._begin(where, anchor_ms - look_ms), anchor_ms)
            first = next(frames, None)
            if first is None:
                return
            looked_ms = first.appended_ms - (anchor_ms - look_ms)
            if not where.before_ms or cut.begun(first) or looked_ms > QUIET_MS + first.length_ms:
                yield first
                yield from frames
                return
            frames.close()
            look_ms *= _FURTHER

    def _onwards(self, where: Whereabouts, begin: int, anchor_ms: int) -> Generator[Piece, None, None]:
        """Yield every frame from an offset on, past the last known one for as long as there is sound."""
        step_ms = min(where.after_ms, MAX_STEP_MS) + SLACK_MS
        until_ms, end = anchor_ms + where.length_ms + step_ms, where.last_offset + 1
        if where.after_ms:
            end = max(end, self._offset_at(where, until_ms))
        while begin < end:
            last: Piece | None = None
            for last in self._frames(where, begin, end):
                yield last
            if not where.after_ms or last is None or until_ms - last.appended_ms > QUIET_MS + last.length_ms:
                return
            step_ms *= _FURTHER
            until_ms += step_ms
            begin, end = end, self._offset_at(where, until_ms)

    def _frames(self, where: Whereabouts, begin: int, end: int) -> Iterator[Piece]:
        key = where.sensor.encode()
        offsets = {where.partition: (begin, end)}
        for record in self._log.read(where.topic, offsets, lambda read, _: read == key):
            frame = read_as(self._codec, AudioFrame, record)
            piece = None if frame is None else piece_of(frame, record)
            if piece is not None:
                yield piece

    def _begin(self, where: Whereabouts, time_ms: int) -> int:
        if not where.before_ms:
            return where.first_offset
        return min(where.first_offset, self._offset_at(where, time_ms))

    def _offset_at(self, where: Whereabouts, time_ms: int) -> int:
        return self._log.offsets_at(where.topic, max(0, time_ms))[where.partition]

    def _first_appended_ms(self, where: Whereabouts) -> int:
        offsets = where.first_offset, where.last_offset + 1
        record = next(self._log.read(where.topic, {where.partition: offsets}), None)
        if record is not None:
            return record.timestamp
        low, end = self._log.limits(where.topic)[where.partition]
        accepted = f"offsets that are still there, {low} to {end - 1}: retention has removed what came before"
        raise SoundGoneError("sound", where.text, accepted)
