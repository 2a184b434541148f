"""Detection: a label active over `[start_sample, end_sample)`, and where in the log it can be heard again."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from schemas.errors import MalformedRecordError


class DetectionState(StrEnum):
    """ACTIVE is published at a detection's first window, ENDED at its end, with the same id."""

    ACTIVE = "ACTIVE"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class Detection:
    """One statement about one detection; consumers upsert by `id`, ENDED over ACTIVE.

    Samples count on the sensor's own clock in its `epoch`; `start_us` and `end_us` are the UTC, in
    microseconds since 1970, that the sensor gave for them. `peak_score` is None where every active window
    was a gap. `first_offset` and `last_offset` are those of the frames that hold the sound.
    """

    NAME: ClassVar[str] = "detection"

    id: str
    sensor: str
    label: str
    state: DetectionState
    epoch: str
    start_sample: int
    end_sample: int
    sample_rate_hz: int
    start_us: int
    end_us: int
    peak_score: float | None
    windows: int
    threshold: float
    continued: bool
    missing_samples: int
    model_name: str
    model_version: str
    decision_digest: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        """Build a detection from decoded fields.

        Raises:
            MalformedRecordError: its rate is none, by which nobody could say when it was.

        """
        if fields["sample_rate_hz"] < 1:
            raise MalformedRecordError(f"sample_rate_hz is {fields['sample_rate_hz']}; accepted: 1 or more")
        return cls(**{**fields, "state": DetectionState(fields["state"])})
