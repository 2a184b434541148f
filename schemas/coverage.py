"""Coverage: what was listened to and how it sounded, what was not, and why.

Records are statements: re-runs may repeat them with other cuts. A reader takes the union over a sensor's
samples, and where two statements differ, SCORED first.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self


class Outcome(StrEnum):
    """What became of a stretch of appended samples."""

    SCORED = "SCORED"
    GAP = "GAP"
    """The window that they end had too many missing samples."""
    SHED = "SHED"
    """Skipped under overload."""
    FAILED = "FAILED"
    """The scorer's final error for the window that they end."""
    SHORT = "SHORT"
    """Before a run's first whole window, or left over where it ended inside one."""
    EXPIRED = "EXPIRED"
    """Removed by retention before anybody read it; only the offsets are known."""


@dataclass(frozen=True, slots=True)
class Level:
    """How a stretch of sound was: decibels relative to full scale, and fractions of its samples.

    The decibels are None for digital silence. `dc_fraction` is the mean over full scale, -1 to 1.
    """

    rms_dbfs: float | None
    peak_dbfs: float | None
    clipped_fraction: float
    zero_fraction: float
    dc_fraction: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """One outcome for `[start_sample, end_sample)` of a sensor's epoch.

    For EXPIRED only topic, partition and offsets are known: everything about a sensor is None.
    """

    NAME: ClassVar[str] = "coverage"

    sensor: str | None
    epoch: str | None
    start_sample: int | None
    end_sample: int | None
    sample_rate_hz: int | None
    start_us: int | None
    end_us: int | None
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    outcome: Outcome
    missing_samples: int
    decision_digest: str
    level: Level | None

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        """Build a coverage record from decoded Avro fields."""
        level = fields["level"]
        return cls(
            **{
                **fields,
                "outcome": Outcome(fields["outcome"]),
                "level": None if level is None else Level(**level),
            }
        )
