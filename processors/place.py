"""Where a run's sound comes from: what every record that is said about it repeats."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A sensor's epoch, its format, and the partition that it lies in."""

    topic: str
    partition: int
    sensor: str
    epoch: str
    rate_hz: int
    channels: int
