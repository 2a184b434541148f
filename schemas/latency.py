"""earwitness-latency: when each stage of a window's way was over, from its last sample to its detection.

    captured ► appended ► fetched ► decoded ► windowed ► batched ► scored ► decided ► sent ► published
     sensor     broker    └───────────────────── the worker, monotonic ──────────────────┘    broker

A stage is named after its end: `scored` lasts from batched to scored. Times of day are microseconds since
1970, those of brokers whole milliseconds. `captured` is the sensor's own clock: its offset lies in the stage
`appended`, where it is shown. The header ends with `sent`; a reader adds the detection's own append time.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

LATENCY_HEADER = "earwitness-latency"
TARGETS_MS: Mapping[str, float] = {
    "appended": 4.0,  # 2 for the producer, 2 for the broker
    "fetched": 6.0,
    "decoded": 0.5,
    "windowed": 0.5,
    "batched": 5.0,
    "scored": 6.0,
    "decided": 0.5,
    "sent": 0.5,
    "published": 4.0,
}
"""By stage, half of the windows are to take at most this, with 100 real-time sensors and everything on two
cores."""
TOTAL_P50_MS, TOTAL_P99_MS = 30.0, 60.0
READINGS = ("captured", *TARGETS_MS)
"""In their order."""
NEEDED = "captured", "appended", "sent"
MAX_US = 1 << 53
"""The year 2255, and what every JSON reader takes for a whole number."""


def target_ms(before: str, name: str) -> float:
    """Return the target of the way from one reading to another: that of all stages which it holds."""
    stages = READINGS[READINGS.index(before) + 1 : READINGS.index(name) + 1]
    return sum(TARGETS_MS[stage] for stage in stages)


@dataclass(frozen=True, slots=True)
class Stage:
    """The way from one reading to the next that there is."""

    before: str
    name: str
    length_us: int

    @property
    def length_ms(self) -> float:
        """How long it took."""
        return self.length_us / 1000

    @property
    def over_ms(self) -> float:
        """By how much it took longer than its target; negative: less long."""
        return self.length_ms - target_ms(self.before, self.name)


@dataclass(frozen=True, slots=True)
class Readings:
    """When each stage was over, in microseconds since 1970; a reading that nobody took is left out.

    They are written as they are: a sensor's clock may stand anywhere, and must not stop a worker.
    """

    at_us: Mapping[str, int]

    @property
    def total_us(self) -> int:
        """From the first reading to the last."""
        return sum(stage.length_us for stage in self.stages())

    def stages(self) -> list[Stage]:
        """Return the stages in their order; they add up to the total, to the microsecond."""
        taken = [(name, self.at_us[name]) for name in READINGS if name in self.at_us]
        return [Stage(before, name, at - since) for (before, since), (name, at) in pairwise(taken)]

    def worst(self) -> Stage:
        """Return the stage that is to blame: the one that was longest over its target."""
        return max(self.stages(), key=lambda stage: stage.over_ms)

    def published(self, appended_ms: int) -> "Readings":
        """Return the same with the append time of the detection."""
        return Readings({**self.at_us, "published": appended_ms * 1000})

    def as_json(self) -> dict[str, int]:
        """Return the fields of the header: `captured_us`, `appended_us` and so on."""
        return {f"{name}_us": self.at_us[name] for name in READINGS if name in self.at_us}

    def to_wire(self) -> bytes:
        """Return the value of the header."""
        return json.dumps(self.as_json(), separators=(",", ":")).encode()

    @staticmethod
    def from_wire(value: bytes) -> "Readings":
        """Read the value of the header; readings that a later version may add are passed over.

        Raises:
            ValueError: it is not one of ours, what no window can do without is missing, or a time is none.

        """
        fields: Any = json.loads(value.decode())
        if not isinstance(fields, dict):
            raise ValueError("accepted: a JSON object of times in microseconds")
        at_us = {name: fields[f"{name}_us"] for name in READINGS if f"{name}_us" in fields}
        if any(name not in at_us for name in NEEDED):
            raise ValueError(f"accepted: {', '.join(f'{name}_us' for name in NEEDED)} in microseconds")
        if not all(type(at) is int and 0 <= at < MAX_US for at in at_us.values()):
            raise ValueError(f"accepted: times in whole microseconds, 0 to {MAX_US}")
        return Readings(at_us)
