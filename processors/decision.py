"""Everything that decides what is detected, and its digest.

Two workers with the same digest, reading the same log, say the same; a change of anything in here gives
detections other ids.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError
from schemas.identity import decision_digest
from schemas.model import ModelSpec

MIX_DOWN = "mean of channels, half to even, int16"
RESAMPLER = "soxr HQ on float32, half to even, int16"
MAX_GAP_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSettings:
    """The rules that detections follow; times in seconds, counts in windows.

    Raises:
        ConfigurationError: with these values nothing could ever be detected, or the rules contradict.

    """

    segment_windows: int = 20
    """A detection is cut at window indices that are multiples of this."""
    max_missing_s: float = 0.1
    """A window with at most this much missing is zero-filled and scored; with more it is a GAP."""
    max_gap_s: float = 10.0
    """A frame that starts at most this far from where it was expected belongs to the same run."""
    idle_s: float = 5.0
    """A sensor is live for this long after its last frame, by the broker's clock."""
    margin_s: float = 1.0
    """How far the brokers' clocks may step back against each other."""

    def __post_init__(self) -> None:
        _require("detect.segment_windows", self.segment_windows, self.segment_windows >= 1, "at least 1")
        _require("detect.max_missing_s", self.max_missing_s, self.max_missing_s >= 0, "0 or more")
        limit = f"more than 0, at most {MAX_GAP_LIMIT_S:g}"
        _require("detect.max_gap_s", self.max_gap_s, 0 < self.max_gap_s <= MAX_GAP_LIMIT_S, limit)
        _require("detect.idle_s", self.idle_s, self.idle_s > 0, "more than 0")
        _require("detect.margin_s", self.margin_s, self.margin_s >= 0, "0 or more")


@dataclass(frozen=True, slots=True)
class Decision:
    """A model together with the rules: what the core is given."""

    spec: ModelSpec
    rules: DecisionSettings = field(default_factory=DecisionSettings)
    digest: str = field(init=False)
    thresholds: NDArray[np.float32] = field(init=False, compare=False)
    """float32[labels]"""

    def __post_init__(self) -> None:
        window_s, missing_s = self.spec.window_s, self.rules.max_missing_s
        _require(
            "detect.max_missing_s", missing_s, missing_s < window_s, f"less than a window, {window_s:g} s"
        )
        by_label = [self.spec.thresholds[label] for label in self.spec.labels]
        object.__setattr__(self, "thresholds", np.array(by_label, np.float32))
        object.__setattr__(self, "digest", decision_digest(self._decides()))

    def _decides(self) -> dict[str, object]:
        rules = self.rules
        return {
            "spec": self.spec.model_dump(mode="json"),
            "segment_windows": rules.segment_windows,
            "max_missing_s": rules.max_missing_s,
            "max_gap_s": rules.max_gap_s,
            "idle_s": rules.idle_s,
            "mix_down": MIX_DOWN,
            "resampler": RESAMPLER,
        }


def _require(key: str, value: object, holds: bool, accepted: str) -> None:
    if not holds:
        raise ConfigurationError(key, value, accepted)
