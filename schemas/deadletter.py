"""DeadLetter: a record that could not be used, byte for byte, with the reason in its headers.

The header names are those of Kafka Streams' dead-letter queues (KIP-1034), all UTF-8 text. Duplicates of one
dead letter, which retries may make, share topic, partition and offset.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from schemas.errors import MalformedRecordError

_PREFIX = "__streams.errors."
_MAX_MESSAGE_CHARACTERS = 1000

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The exact key, value and headers of a record at `topic[partition]@offset`, and what was wrong."""

    topic: str
    partition: int
    offset: int
    exception: str
    message: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()

    def wire_headers(self) -> list[Header]:
        """Return the record's own headers followed by ours."""
        ours = {
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "exception": self.exception,
            "message": self.message[:_MAX_MESSAGE_CHARACTERS],
        }
        own = [header for header in self.headers if not header[0].startswith(_PREFIX)]
        return own + [(_PREFIX + name, text.encode()) for name, text in ours.items()]

    @classmethod
    def from_wire(cls, key: bytes | None, value: bytes | None, headers: Iterable[Header] | None) -> Self:
        """Read a dead letter back from its record.

        Raises:
            MalformedRecordError: the headers that make a record a dead letter are missing or wrong.

        """
        everything = list(headers or ())
        ours = {n.removeprefix(_PREFIX): v for n, v in everything if n.startswith(_PREFIX) and v}
        own = tuple(header for header in everything if not header[0].startswith(_PREFIX))
        try:
            return cls(
                topic=ours["topic"].decode(),
                partition=int(ours["partition"]),
                offset=int(ours["offset"]),
                exception=ours["exception"].decode(),
                message=ours.get("message", b"").decode(),
                key=key,
                value=value,
                headers=own,
            )
        except (KeyError, ValueError) as exc:
            raise MalformedRecordError(f"not a dead letter: header {_PREFIX}… {exc}") from exc
