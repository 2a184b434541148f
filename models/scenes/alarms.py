"""label -> Alarm: smoke alarms and sirens after the standards, to test models and never to train them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from models.scenes.oscillator import Signal
from models.scenes.sirens import SIRENS
from models.scenes.smoke_alarms import SMOKE_ALARMS
from schemas.errors import ConfigurationError

RATES_HZ = (8_000, 192_000)

PATTERNS: Mapping[str, Mapping[str, Callable[[np.random.Generator, int], Signal]]] = MappingProxyType(
    {"smoke_alarm": SMOKE_ALARMS, "siren": SIRENS}
)
"""Label -> pattern -> how to draw it at a rate in Hz."""

WEIGHTS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"smoke_alarm": (0.5, 0.15, 0.2, 0.15), "siren": (0.25, 0.2, 0.05, 0.05, 0.05, 0.25, 0.15)}
)
"""Label -> how often each of its patterns is drawn, in the order of `PATTERNS`."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm; the whole of `sound`, pauses of its pattern included, is the event `[0, S)`.

    `sound` is `float64[S]` with a peak of at most 1, 4 to 15 s long; `pattern` is a key of `PATTERNS[label]`.
    """

    sound: Signal
    label: str
    pattern: str


def draw_alarm(rng: np.random.Generator, label: str, rate_hz: int, pattern: str | None = None) -> Alarm:
    """Draw an alarm of a label, of any of its patterns or of the one given.

    Raises:
        ConfigurationError: no such label or pattern, or a rate that cannot hold the sounds.
    """
    if label not in PATTERNS:
        raise ConfigurationError("label", label, f"one of {', '.join(PATTERNS)}")
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise ConfigurationError("rate_hz", rate_hz, f"{RATES_HZ[0]} to {RATES_HZ[1]}")
    names = list(PATTERNS[label])
    if pattern is None:
        pattern = str(rng.choice(names, p=WEIGHTS[label]))
    if pattern not in names:
        raise ConfigurationError("pattern", pattern, f"one of {', '.join(names)}")
    sound = PATTERNS[label][pattern](rng, rate_hz)
    return Alarm(sound / np.abs(sound).max(), label, pattern)
