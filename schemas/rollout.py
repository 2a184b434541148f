"""Rollout: which model counts from when on. The control topic keeps them all, each under its own key."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from schemas.errors import MalformedRecordError
from schemas.model import ModelSpec

LEAD_S = 10.0
"""A rollout begins at least so long after its record was appended: every worker has read it by then."""


class Mode(StrEnum):
    """What becomes of the candidate."""

    SWITCH = "SWITCH"
    """There is none: the model counts for every sensor."""
    SPLIT = "SPLIT"
    """It counts for a share of the sensors, the model for the others."""
    SHADOW = "SHADOW"
    """It hears everything beside the model, and publishes to topics of its own."""
    CANCEL = "CANCEL"
    """There is neither: what was to begin at this time does not."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """From `at_us` on, by the frames' append times, `model` counts; each is the JSON of a model's spec.

    `share` is the candidate's part of the sensors, between 0 and 1; None unless the mode is SPLIT. Of those
    with the same time the one written last counts.

    Raises:
        MalformedRecordError: the fields contradict one another, or a spec is not one.

    """

    NAME: ClassVar[str] = "rollout"

    at_us: int
    mode: Mode
    model: str | None
    candidate: str | None
    share: float | None

    def __post_init__(self) -> None:
        if (self.model is None) != (self.mode is Mode.CANCEL):
            raise MalformedRecordError(
                f"a {self.mode} with model {self.model!r}; accepted: in all but CANCEL"
            )
        if (self.candidate is None) != (self.mode in (Mode.SWITCH, Mode.CANCEL)):
            raise MalformedRecordError(
                f"a {self.mode} with candidate {self.candidate!r}; accepted: in others"
            )
        split = self.mode is Mode.SPLIT
        if split != (self.share is not None) or not (self.share is None or 0 < self.share < 1):
            accepted = "between 0 and 1" if split else "none"
            raise MalformedRecordError(f"share {self.share} in a {self.mode}; accepted: {accepted}")
        for text in (self.model, self.candidate):
            if text is not None:
                _spec(text)

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        """Build a rollout from decoded Avro fields."""
        return cls(**{**fields, "mode": Mode(fields["mode"])})

    @property
    def at_ms(self) -> int:
        """When it begins, in whole milliseconds, as append times are."""
        return -(-self.at_us // 1000)

    @property
    def spec(self) -> ModelSpec:
        """The spec of the model, which all but a CANCEL have."""
        return _spec(self.model or "")

    @property
    def candidate_spec(self) -> ModelSpec | None:
        """The candidate's spec."""
        return None if self.candidate is None else _spec(self.candidate)


def standing(written: Iterable[Rollout]) -> list[Rollout]:
    """Return what counts, by time, of rollouts in the order in which they were written."""
    last = {rollout.at_ms: rollout for rollout in written}
    return [last[at_ms] for at_ms in sorted(last) if last[at_ms].mode is not Mode.CANCEL]


def bucket_of(key: bytes) -> float:
    """Return a sensor's place in [0, 1): the first 52 bits of the SHA-256 of its id, over 2^52.

    Where the place is less than a rollout's share, the candidate counts. A share that grows keeps the sensors
    that it had.
    """
    return (int.from_bytes(hashlib.sha256(key).digest()[:8]) >> 12) / (1 << 52)


def _spec(text: str) -> ModelSpec:
    try:
        return ModelSpec.model_validate_json(text)
    except ValidationError as exc:
        raise MalformedRecordError(f"not a model's spec: {exc.errors(include_url=False)[0]['msg']}") from exc
