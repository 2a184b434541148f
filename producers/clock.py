"""The clocks that pace a producer, and its one way to wait: until a time or until it is told to stop."""

import time
from threading import Event
from typing import Protocol


class Clock(Protocol):
    """Two clocks and a wait, so that pacing can be tested without time passing."""

    def wall_us(self) -> int:
        """Return UTC in microseconds since 1970; it may step."""
        ...

    def monotonic_us(self) -> int:
        """Return microseconds since some point; it never steps."""
        ...

    def wait(self, stop: Event, seconds: float) -> bool:
        """Wait until `stop` is set or the seconds are over; return whether it is set."""
        ...


class SystemClock:
    """This machine's clocks."""

    def wall_us(self) -> int:
        """Return UTC in microseconds since 1970."""
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        """Return microseconds since the machine started."""
        return time.monotonic_ns() // 1000

    def wait(self, stop: Event, seconds: float) -> bool:
        """Wait until `stop` is set or the seconds are over; return whether it is set."""
        return stop.wait(seconds)
