"""Dead letters that are frames now -> audio.frames.backfill, byte for byte.

Not back to where they came from: there a frame that is late would open a run in the midst of what its sensor
sends now, or cut it. Workers of the backfill hear it, and say so beside what the live ones say.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from earwitness.operation.append import NewRecord
from earwitness.operation.letters import Letter, read_frame
from schemas.codec import Codec
from schemas.errors import ConfigurationError, DeadLetterError, SchemaUnresolvedError
from schemas.topics import Topics

MAX_BYTES, RECORD_BYTES = 512 << 20, 1000
"""What may be held at once, and what a record takes besides its value."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of the letters: those that are frames now, in the order to append them, and the others."""

    good: list[Letter]
    still_bad: list[tuple[Letter, str]]


def bounded(found: Iterable[Letter]) -> Iterator[Letter]:
    """Pass letters on, while they are not too many to be put in order in memory.

    Raises:
        ConfigurationError: they are.

    """
    size = 0
    for letter in found:
        size += letter.size + RECORD_BYTES
        if size > MAX_BYTES:
            accepted = f"a choice of at most {MAX_BYTES >> 20} MiB at once: --since, --sensor or --exception"
            raise ConfigurationError("retry", "too many dead letters", accepted)
        yield letter


def tried(codec: Codec, found: Iterable[Letter]) -> Tried:
    """Read letters again. Duplicates of one letter count once; a sensor's frames follow each other."""
    order: list[tuple[bytes, bytes, int, Letter]] = []
    bad: list[tuple[Letter, str]] = []
    for letter in {letter.original or letter.record.place: letter for letter in found}.values():
        try:
            frame = read_frame(codec, letter)
        except (DeadLetterError, SchemaUnresolvedError) as exc:
            bad.append((letter, f"{type(exc).__name__}: {exc}"))
        else:
            order.append((letter.record.key or b"", frame.epoch, frame.first_sample, letter))
    return Tried([letter for *_, letter in sorted(order, key=lambda one: one[:3])], bad)


def to_backfill(topics: Topics, good: Iterable[Letter]) -> Iterator[NewRecord]:
    """Return letters as records of the backfill, byte for byte, with their own keys and headers."""
    for letter in good:
        own = letter.letter.headers if letter.letter else ()
        yield NewRecord(topics.backfill, letter.record.key, letter.record.value, own)
