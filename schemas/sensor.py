"""SensorState: who is there. The topic is compacted: the last record of a key is the sensor's state."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from schemas.coverage import Level


class Presence(StrEnum):
    """Whether a sensor's frames arrive."""

    LIVE = "LIVE"
    SILENT = "SILENT"


@dataclass(frozen=True, slots=True)
class SensorState:
    """A sensor's presence, where its sample counter stands, and how it sounded lately.

    `since_us` is when it became LIVE or SILENT by the broker's clock: the append time of the first, or of the
    last, frame of its run; None where the worker took the run over and cannot know. `clock_offset_us` is
    append time minus capture time of the last frame: transport delay plus how far the sensor's clock is
    behind (negative: ahead).
    """

    NAME: ClassVar[str] = "sensor_state"

    sensor: str
    state: Presence
    since_us: int | None
    epoch: str
    end_sample: int
    sample_rate_hz: int
    channels: int
    captured_at_us: int
    appended_at_us: int
    clock_offset_us: int
    topic: str
    partition: int
    last_offset: int
    level: Level | None

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        """Build a sensor state from decoded Avro fields."""
        level = fields["level"]
        return cls(
            **{
                **fields,
                "state": Presence(fields["state"]),
                "level": None if level is None else Level(**level),
            }
        )
