"""Errors that only producers meet."""

from schemas.errors import EarwitnessError


class BufferFullError(EarwitnessError):
    """The publisher holds as many frames as it may: this one was not taken."""

    def __init__(self, topic: str, sensor: str, buffered: int) -> None:
        self.topic, self.sensor, self.buffered = topic, sensor, buffered
        self.why = "the publisher's buffer is full"
        super().__init__(f"no room for a frame of {sensor} to {topic}: {buffered} frames wait for the broker")


class SpoolFullError(BufferFullError):
    """The broker takes nothing, and the spool cannot take this frame either."""

    def __init__(self, sensor: str, reason: str) -> None:
        self.sensor, self.why = sensor, reason
        EarwitnessError.__init__(self, f"no room for a frame of {sensor} in the spool: {reason}")


class LogAwayError(EarwitnessError):
    """The log of a topic cannot be read now; later it may be."""


class SpoolError(EarwitnessError):
    """The spool's file cannot be written or read now; later it may be."""


class SpoolBrokenError(SpoolError):
    """What stands in the spool's file is no spool any more."""
