"""audio.dead-letters -> what could not be read, why, and how it reads now.

What has become of a letter is told by reading its bytes again, as a worker would now.
"""

import json
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from earwitness.analysis.lookup import PLACE
from earwitness.analysis.wanted import matches
from earwitness.operation.health import utc
from processors.log import LogReader, Record
from processors.pcm import mono
from schemas.codec import Codec
from schemas.deadletter import DeadLetter
from schemas.errors import (
    ConfigurationError,
    DeadLetterError,
    MalformedRecordError,
    SchemaUnresolvedError,
)
from schemas.frame import AudioFrame, sensor_of
from schemas.identity import epoch_text

NO_LETTER = "NotADeadLetter"
DUMPED_BYTES, DUMP_WIDTH = 512, 16


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it stands in its topic; `letter` is None where somebody else wrote something there."""

    record: Record
    letter: DeadLetter | None

    @property
    def exception(self) -> str:
        """Why it could not be read: the name of the error."""
        return NO_LETTER if self.letter is None else self.letter.exception

    @property
    def message(self) -> str:
        """Why, in words."""
        return "its headers say no reason" if self.letter is None else self.letter.message

    @property
    def original(self) -> str | None:
        """Where the record stands that could not be read."""
        return None if self.letter is None else place_of(self.letter)

    @property
    def sensor(self) -> str:
        """The key as text, or in hex where it is none."""
        key = self.record.key
        if key is None:
            return "-"
        try:
            return sensor_of(key)
        except DeadLetterError:
            return f"0x{key[:32].hex()}"

    @property
    def size(self) -> int:
        """Bytes of its value."""
        return len(self.record.value or b"")

    def about(self) -> dict[str, Any]:
        """Return what is known of it without reading it."""
        key = self.record.key
        return {
            "place": self.record.place,
            "original": self.original,
            "exception": self.exception,
            "message": self.message,
            "sensor": self.sensor,
            "key_base64": None if key is None else b64encode(key).decode(),
            "size": self.size,
            "appended_ms": self.record.timestamp,
        }

    def as_cells(self) -> list[str]:
        """Return what a person wants to see."""
        original, when = self.original or "-", utc(self.record.timestamp * 1000)
        return [when, self.record.place, original, self.sensor, str(self.size), self.exception, self.message]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which letters are meant; everything that is not said is open. `sensor` is a name or a glob."""

    since_ms: int | None = None
    exception: str | None = None
    sensor: str | None = None

    def means(self, letter: Letter) -> bool:
        """Say whether a letter is meant."""
        return (self.exception is None or letter.exception == self.exception) and (
            self.sensor is None or matches(letter.sensor, (self.sensor,))
        )


def letters(reader: LogReader, topic: str, asked: Asked) -> Iterator[Letter]:
    """Yield the letters that are meant, in order within each partition.

    Raises:
        ConfigurationError: the topic does not exist, or no broker answers.

    """
    stretches = reader.limits(topic)
    if asked.since_ms is not None:
        begin = reader.offsets_at(topic, asked.since_ms)
        stretches = {number: (begin[number], end) for number, (_, end) in stretches.items()}
    for record in reader.read(topic, stretches):
        letter = _opened(record)
        if asked.means(letter):
            yield letter


def newest(found: Iterable[Letter], limit: int) -> tuple[list[Letter], int]:
    """Return the last letters by append time, the newest last, and how many there are in all."""
    # The last ones of the topic are not the last that are read: partitions come as they come.
    last: dict[int, deque[Letter]] = {}
    count = 0
    for letter in found:
        count += 1
        last.setdefault(letter.record.partition, deque(maxlen=limit)).append(letter)
    ordered = sorted(chain(*last.values()), key=lambda letter: letter.record.timestamp)
    return ordered[-limit:], count


def at(reader: LogReader, topic: str, place: str) -> Letter:
    """Return the letter at a place; or, as workers' logs name it, of the record at that place.

    Raises:
        ConfigurationError: that is no place, or there is no letter.

    """
    named = PLACE.fullmatch(place)
    if named is None:
        raise ConfigurationError("PLACE", place, f"a place, such as {topic}[0]@7")
    if named["topic"] == topic:
        number, offset = int(named["partition"]), int(named["offset"])
        record = reader.at(topic, number, offset) if number in reader.partitions(topic) else None
        found = None if record is None else _opened(record)
    else:
        found = next((one for one in letters(reader, topic, Asked()) if one.original == place), None)
    if found is None:
        accepted = f"the place of a letter in {topic} that is still there, or of the record that it tells of"
        raise ConfigurationError("PLACE", place, accepted)
    return found


def place_of(letter: DeadLetter) -> str:
    """Return where the record stands that could not be read."""
    return f"{letter.topic}[{letter.partition}]@{letter.offset}"


# -- reading again ------------------------------------------------------------------------------------------


def read_frame(codec: Codec, letter: Letter) -> AudioFrame:
    """Read a letter's bytes as a worker would now.

    Raises:
        DeadLetterError: they still are no frame.
        SchemaUnresolvedError: the registry does not answer.

    """
    if letter.letter is None:
        raise MalformedRecordError(letter.message)
    kept = dict(letter.letter.headers)
    if letter.record.value is None and "earwitness-value-bytes" in kept:
        size = (kept["earwitness-value-bytes"] or b"?").decode("utf-8", "replace")
        raise MalformedRecordError(
            f"its {size} bytes were too many for a letter: they stay at {letter.original}"
        )
    sensor_of(letter.record.key)
    try:
        frame = codec.decode(AudioFrame, letter.record.value)
    except SchemaUnresolvedError as exc:
        codec.resolve(exc.schema_id)
        frame = codec.decode(AudioFrame, letter.record.value)
    mono(frame)  # FLAC that does not decode is found only by decoding it
    return frame


def shown(codec: Codec, letter: Letter) -> dict[str, Any]:
    """Return all that can be said of a letter."""
    own = [] if letter.letter is None else letter.letter.headers
    headers = {name: None if value is None else value.decode("utf-8", "replace") for name, value in own}
    try:
        frame, reads = read_frame(codec, letter), "it is a frame now: `earwitness dead-letters retry`"
    except (DeadLetterError, SchemaUnresolvedError) as exc:
        frame, reads = None, f"{type(exc).__name__}: {exc}"
    return {**letter.about(), "headers": headers, "reads": reads, "frame": frame and _described(frame)}


def hexdump(value: bytes, limit: int = DUMPED_BYTES) -> Iterator[str]:
    """Yield lines of the first bytes of a value: where, in hex, as text."""
    for start in range(0, min(len(value), limit), DUMP_WIDTH):
        row = value[start : start + DUMP_WIDTH]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{3 * DUMP_WIDTH - 1}}  {text}"
    if len(value) > limit:
        yield f"… and {len(value) - limit} bytes more: --raw writes all of them"


def _described(frame: AudioFrame) -> dict[str, Any]:
    said = {name: getattr(frame, name) for name in AudioFrame.__slots__ if name not in ("epoch", "data")}
    return {"epoch": epoch_text(frame.epoch), **said, "data_bytes": len(frame.data)}


def summary(found: Iterable[Letter]) -> list[dict[str, Any]]:
    """Count letters by reason and sensor, the most first."""
    counts: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], Letter] = {}
    for letter in found:
        group = letter.exception, letter.sensor
        counts[group] += 1
        last[group] = letter
    return [
        {
            "exception": exception,
            "sensor": sensor,
            "count": count,
            "last": last[exception, sensor].record.place,
            "message": last[exception, sensor].message,
        }
        for (exception, sensor), count in counts.most_common()
    ]


def as_json(letter: Letter) -> str:
    """Return a letter on one line."""
    return json.dumps(letter.about())


def _opened(record: Record) -> Letter:
    try:
        return Letter(record, DeadLetter.from_wire(record.key, record.value, record.headers))
    except MalformedRecordError:
        return Letter(record, None)
