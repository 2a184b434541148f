"""Errors that only producers meet."""

from schemas.errors import EarwitnessError


class BufferFullError(EarwitnessError):
    """The publisher holds as many frames as it may: this one was not taken."""

    def __init__(self, topic: str, sensor: str, buffered: int) -> None:
        self.topic, self.sensor, self.buffered = topic, sensor, buffered
        super().__init__(f"no room for a frame of {sensor} to {topic}: {buffered} frames wait for the broker")
