"""Why a sound was not a detection: the reasons that there are, and one with its figures."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why a sound was not a detection, or that it was one."""

    DETECTED = "detected"
    DETECTED_OTHERWISE = "detected by another decision"
    """By another model, or with other settings, than those that are asked about."""
    NO_FRAMES = "no frames"
    EXPIRED = "expired"
    NOT_HEARD = "not heard"
    SHED = "shed"
    FAILED = "failed"
    GAP = "gap"
    SHORT = "short"
    M_OF_N = "m of n not reached"
    ANOTHER_LABEL = "another label"
    NO_SUCH_LABEL = "no such label"
    """The model that counted does not know it."""
    BELOW_THRESHOLD = "below threshold"
    NOT_PUBLISHED = "not published"
    """With the settings at hand it is a detection; the workers ran with others, or have not said so yet."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, in words, and its figures."""

    reason: Reason
    text: str
    facts: dict[str, Any] = field(default_factory=dict)
