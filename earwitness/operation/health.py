"""A sensor's state -> what is wrong with it, how bad that is, and what to do. Pure.

Four questions, worst first: is it there, does anybody listen, does it hear, is its clock right? A sensor that
is connected and deaf answers the first two as a good one does, so its level is looked at each time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from earwitness.analysis.wanted import utc_text
from schemas.coverage import Level
from schemas.sensor import Presence, SensorState

STALE_S = 12.0
"""A worker speaks of a live sensor every 10 windows, 5 s by default: two of them are missing."""
DEAF_ZEROS = 0.95
"""Of samples that are exactly 0: no microphone gives so many."""
HALF_DEAF_ZEROS, HALF_DEAF_DBFS = 0.2, -70.0
"""Noise of -70 dBFS, ten steps of 16-bit sound, has 4 % zeros; more of them in sound that is louder are
stretches of digital silence: a loose contact, a gate, or a sensor that has just gone deaf."""
FAINT_DBFS = -90.3
"""RMS of one step of 16-bit sound, 20 log10(1 / 32768): less than the noise of any microphone."""
CLIPPED, OVERDRIVEN = 0.01, 0.1
"""Fractions of samples at full scale. A near alarm reaches the one for a moment; of the other a model hears
little else than distortion."""
LEANING, STUCK = 0.05, 0.5
"""Mean over full scale. Converters are a thousandth off; a twentieth is a fault, a half leaves no room."""
CLOCK_OFF_S, CLOCK_WRONG_S = 2.0, 60.0
"""Transport takes well under 2 s; beyond a minute, times in detections name the wrong moment."""
DRIFT_PPM = 200.0
"""Crystals keep within 100 ppm, 9 s a day; twice that is a broken one, or a clock that is being set."""
DRIFT_SPAN_S, DRIFT_READINGS, DRIFT_ERROR_PPM = 120.0, 8, 30.0
"""Frames arrive some milliseconds late, now more, now less: a slope counts once it is known to 30 ppm, which
takes two minutes on a quiet network and ten on a busy one."""


class Severity(StrEnum):
    """How bad a thing is."""

    OK = "ok"
    WARN = "warn"
    BROKEN = "broken"

    @property
    def rank(self) -> int:
        """The worse, the higher."""
        return (Severity.OK, Severity.WARN, Severity.BROKEN).index(self)


EXIT_CODES = {Severity.OK: 0, Severity.BROKEN: 1, Severity.WARN: 3}
"""3 for warnings only; 2 is for settings that cannot work."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a sensor."""

    name: str
    level: Severity
    found: str
    advice: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A sensor's clock against the broker's, once: `offset_us` is append time minus capture time."""

    appended_us: int
    offset_us: int


def problems(
    state: SensorState | None, said_us: int, now_us: int, readings: Sequence[Reading] = ()
) -> list[Problem]:
    """Return what is wrong with a sensor, worst first.

    `state` is the last that was said of it, None for nothing ever; `said_us` is when, by the broker's clock,
    and `now_us` what that clock shows now; `readings` are of its present epoch.
    """
    if state is None:
        return [_NEVER]
    found = [*_presence(state, said_us, now_us), *_hearing(state.level), *_clock(state, readings)]
    return sorted(found, key=lambda problem: -problem.level.rank)


def drift_ppm(readings: Sequence[Reading]) -> float | None:
    """Return how many millionths a sensor's clock runs fast against the broker's (negative: slow).

    The slope of the least squares line through the offsets, against append time. None while too few readings,
    too short a span, or a standard error above `DRIFT_ERROR_PPM` would make noise look like drift.
    """
    if len(readings) < DRIFT_READINGS:
        return None
    times = np.array([reading.appended_us for reading in readings], np.float64) / 1e6
    offsets = np.array([reading.offset_us for reading in readings], np.float64)
    if np.ptp(times) < DRIFT_SPAN_S:
        return None
    times -= times.mean()
    offsets -= offsets.mean()
    spread = float(times @ times)
    slope = float(times @ offsets) / spread  # microseconds a second
    noise = offsets - slope * times
    error = (float(noise @ noise) / (len(readings) - 2) / spread) ** 0.5
    return -slope if error <= DRIFT_ERROR_PPM else None  # an offset that grows is a clock that falls behind


def utc(time_us: int) -> str:
    """Return a time of day with its date, to the second: more is noise to people who look at a table."""
    return f"{utc_text(time_us)[:19]}Z"


def worst(levels: Sequence[Severity]) -> Severity:
    """Return the worst of some levels."""
    return max(levels, key=lambda level: level.rank, default=Severity.OK)


def exit_code(levels: Sequence[Severity]) -> int:
    """Return how a command ends that found these."""
    return EXIT_CODES[worst(levels)]


def length(seconds: float) -> str:
    """Return a length of time as people say it."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if abs(seconds) >= 1 else f"{seconds * 1000:.0f} ms"


_NEVER = Problem(
    "NEVER_STARTED",
    Severity.BROKEN,
    "expected, and never heard of",
    "start it; see that its id, its broker and its tenant are these",
)


def _presence(state: SensorState, said_us: int, now_us: int) -> Iterator[Problem]:
    if state.state is Presence.SILENT:
        since_us = state.since_us or state.appended_at_us
        found = f"no sound since {utc(since_us)}, for {length(max(0, now_us - since_us) / 1e6)}"
        yield Problem("SILENT", Severity.BROKEN, found, "see to its power, its network and its program")
    elif now_us - said_us > STALE_S * 1e6:
        found = f"said to be LIVE, but nobody has spoken of it for {length((now_us - said_us) / 1e6)}"
        yield Problem(
            "UNATTENDED",
            Severity.BROKEN,
            found,
            "nobody listens, or workers lag: see `earwitness doctor`",
        )


def _hearing(level: Level | None) -> Iterator[Problem]:
    if level is None:
        return
    zeros, rms = level.zero_fraction, level.rms_dbfs
    advice = "a muted input, an unplugged microphone, or another program that holds it"
    if zeros >= DEAF_ZEROS or rms is None:
        found = f"connected but deaf: {zeros:.1%} of its samples are exactly 0"
        yield Problem("DIGITAL_SILENCE", Severity.BROKEN, found, advice)
    elif zeros >= HALF_DEAF_ZEROS and rms > HALF_DEAF_DBFS:
        found = f"deaf at times: {zeros:.1%} of its samples are exactly 0"
        yield Problem("PARTLY_SILENT", Severity.WARN, found, advice)
    elif rms < FAINT_DBFS:
        found = f"RMS {rms:.0f} dBFS, less than the noise of any microphone"
        yield Problem("FAINT", Severity.WARN, found, "raise its gain; see to the cable and the microphone")
    if level.clipped_fraction >= CLIPPED:
        severity = Severity.BROKEN if level.clipped_fraction >= OVERDRIVEN else Severity.WARN
        found = f"{level.clipped_fraction:.1%} of its samples are at full scale"
        yield Problem("CLIPPING", severity, found, "lower its gain")
    if abs(level.dc_fraction) >= LEANING:
        severity = Severity.BROKEN if abs(level.dc_fraction) >= STUCK else Severity.WARN
        found = f"its sound leans to one side: mean {level.dc_fraction:+.1%} of full scale"
        yield Problem("DC_OFFSET", severity, found, "see to its input stage, or have it remove the offset")


def _clock(state: SensorState, readings: Sequence[Reading]) -> Iterator[Problem]:
    ahead_s = -state.clock_offset_us / 1e6
    if abs(ahead_s) > CLOCK_OFF_S:
        severity = Severity.BROKEN if abs(ahead_s) > CLOCK_WRONG_S else Severity.WARN
        name, side = ("CLOCK_AHEAD", "ahead") if ahead_s > 0 else ("CLOCK_BEHIND", "behind")
        found = f"its clock is {length(abs(ahead_s))} {side} of the broker's"
        late = "" if ahead_s > 0 else ", or its sound comes that late"
        yield Problem(
            name, severity, found + late, "have it keep time by NTP; what it hears is dated wrongly"
        )
    drift = drift_ppm(readings)
    if drift is not None and abs(drift) > DRIFT_PPM:
        found = f"its clock runs {abs(drift):.0f} ppm {'fast' if drift > 0 else 'slow'}"
        yield Problem("CLOCK_DRIFT", Severity.WARN, found, "have it keep time by NTP, or replace its clock")
