"""audio.sensors -> who is there, what is wrong with whom: a table for people, JSON lines for programs.

The topic is compacted: the last record of a key is the sensor's state. Those of the last minutes are all
there, and tell how its clock drifts. Sensors that should be there, and of which nothing was ever said, are
SILENT, too.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import time

from earwitness.analysis.wanted import matches
from earwitness.operation.append import NewRecord
from earwitness.operation.health import Problem, Reading, Severity, drift_ppm, problems, utc, worst
from earwitness.settings import Settings
from processors.log import LogReader, Record, read_as
from processors.roster import Roster
from schemas.codec import Codec
from schemas.errors import ConfigurationError, DeadLetterError
from schemas.frame import sensor_of
from schemas.sensor import Presence, SensorState

HISTORY_S, READING_EVERY_S = 600.0, 15.0
"""So far back, and so often, a sensor's clock is read: the slope of 40 readings is as good as that of 120."""
MAX_READINGS = round(HISTORY_S / READING_EVERY_S)
MAX_EXPECTED_BYTES = 16 << 20
COLUMNS = (
    "sensor",
    "state",
    "since",
    "last sample",
    "clock",
    "drift",
    "RMS",
    "clipped",
    "zero",
    "DC",
    "what is wrong",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A sensor, the last that was said of it, and what is wrong with it."""

    sensor: str
    state: SensorState | None
    said_us: int | None
    drift_ppm: float | None
    problems: list[Problem]

    @property
    def level(self) -> Severity:
        """How bad its worst problem is."""
        return worst([problem.level for problem in self.problems])

    def as_json(self) -> str:
        """Return everything on one line; the state's fields are null where nothing was ever said."""
        nothing = {"sensor": self.sensor, "state": Presence.SILENT, "since_us": None, "level": None}
        said = nothing if self.state is None else asdict(self.state)
        seen = {"said_us": self.said_us, "drift_ppm": self.drift_ppm, "worst": self.level}
        return json.dumps({**dict.fromkeys(SensorState.__slots__), **said, **seen, "problems": self._wrong()})

    def as_cells(self) -> list[str]:
        """Return what a person wants to see, for `COLUMNS`."""
        state, wrong = self.state, "; ".join(problem.found for problem in self.problems) or "-"
        if state is None:
            return [self.sensor, Presence.SILENT, "never started", *["-"] * 7, wrong]
        since, last = state.since_us, state.end_sample / state.sample_rate_hz
        drift = "-" if self.drift_ppm is None else f"{self.drift_ppm:+.0f} ppm"
        heard = f"{utc(state.appended_at_us)[11:]} ({last:.0f} s)"
        clock = f"{-state.clock_offset_us / 1e6:+.3f} s"
        return [
            self.sensor,
            state.state,
            "-" if since is None else utc(since),
            heard,
            clock,
            drift,
            *self._sound(),
            wrong,
        ]

    def _sound(self) -> list[str]:
        level = None if self.state is None else self.state.level
        if level is None:
            return ["-"] * 4
        rms = "none" if level.rms_dbfs is None else f"{level.rms_dbfs:.0f} dB"
        return [rms, *(f"{x:.1%}" for x in (level.clipped_fraction, level.zero_fraction, level.dc_fraction))]

    def _wrong(self) -> list[dict[str, str]]:
        return [asdict(problem) for problem in self.problems]


@dataclass(slots=True)
class _Heard:
    """The last record of a sensor, and some of those before it."""

    last: Record
    some: deque[Record]

    def add(self, record: Record) -> None:
        if record.timestamp - self.some[-1].timestamp >= READING_EVERY_S * 1000:
            self.some.append(record)
        self.last = record


def sensors(
    reader: LogReader,
    codec: Codec,
    topic: str,
    expected: Iterable[str] = (),
    patterns: Iterable[str] = (),
    now_s: float | None = None,
) -> list[Row]:
    """Return the sensors that are named, or that a glob fits (none: all), the worst first.

    Raises:
        ConfigurationError: the topic does not exist, or no broker answers.

    """
    newest_ms, heard = _read(reader, topic)
    # The broker's clock cannot be asked: it shows at least what it has stamped last.
    now_us = max(round((time() if now_s is None else now_s) * 1e6), newest_ms * 1000)
    rows = [_row(codec, one, now_us) for one in heard.values()]
    known = {row.sensor: row for row in rows if row is not None}
    listed = set(expected)
    if listed:
        known = {name: row if name in listed else _unlisted(row) for name, row in known.items()}
    never = [Row(name, None, None, None, problems(None, 0, now_us)) for name in listed - set(known)]
    wanted = tuple(patterns)
    found = [row for row in (*known.values(), *never) if not wanted or matches(row.sensor, wanted)]
    return sorted(found, key=lambda row: (-row.level.rank, row.sensor))


def named(rows: Iterable[Row], names: Sequence[str]) -> list[Row]:
    """Return the sensors with these ids, taken literally: `hall[1]` is not `hall1`.

    Raises:
        ConfigurationError: there is no sensor with one of these ids.

    """
    known = {row.sensor: row for row in rows}
    for name in names:
        if name not in known:
            accepted = "ids as `earwitness sensors` lists them; what a glob would fit is not forgotten"
            raise ConfigurationError("--forget", name, accepted)
    return [known[name] for name in dict.fromkeys(names)]


def forgotten(rows: Iterable[Row], topic: str) -> dict[str, NewRecord]:
    """Return, for those that are SILENT, the record that lets the compacted topic forget them."""
    states = (row.state for row in rows)
    return {
        state.sensor: NewRecord(topic, state.sensor.encode(), None, partition=state.partition)
        for state in states
        if state is not None and state.state is Presence.SILENT
    }


def read_expected(path: Path | None) -> tuple[str, ...]:
    """Read a list of sensors: one id a line, what follows a # is a comment; none where there is no list.

    Raises:
        ConfigurationError: it cannot be read, or a line is no sensor's id.

    """
    if path is None:
        return ()
    try:
        if path.stat().st_size > MAX_EXPECTED_BYTES:
            raise ConfigurationError("sensors.expected", str(path), f"at most {MAX_EXPECTED_BYTES} bytes")
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(
            "sensors.expected", str(path), f"a text file that can be read: {exc}"
        ) from exc
    names = [line.partition("#")[0].strip() for line in lines]
    return tuple(dict.fromkeys(_checked(name) for name in names if name))


def roster_of(settings: Settings) -> Roster | None:
    """Return who should be there, for a worker that listens to live sound.

    Raises:
        ConfigurationError: the list cannot be read.

    """
    expected = read_expected(settings.sensors.expected)
    others = settings.topics.backfill or settings.topics.shadow
    return Roster(settings.tenant.frames, expected) if expected and not others else None


def _checked(name: str) -> str:
    try:
        return sensor_of(name.encode())
    except DeadLetterError as exc:
        raise ConfigurationError("sensors.expected", name, f"ids of sensors, one a line: {exc}") from exc


def _read(reader: LogReader, topic: str) -> tuple[int, Mapping[bytes, _Heard]]:
    """Return the last append time, and what is needed of each sensor; decoding is left for later."""
    heard: dict[bytes, _Heard] = {}
    newest_ms = 0
    for record in reader.read(topic):
        newest_ms = max(newest_ms, record.timestamp)
        if record.key is None:
            continue
        if record.value is None:  # somebody has deleted it: it is not expected any more
            heard.pop(record.key, None)
        elif record.key in heard:
            heard[record.key].add(record)
        else:
            heard[record.key] = _Heard(record, deque([record], maxlen=MAX_READINGS))
    return newest_ms, heard


def _row(codec: Codec, heard: _Heard, now_us: int) -> Row | None:
    state = read_as(codec, SensorState, heard.last)
    if state is None:
        return None
    readings = _readings(codec, heard, state)
    said_us = heard.last.timestamp * 1000
    found = problems(state, said_us, now_us, readings)
    return Row(state.sensor, state, said_us, drift_ppm(readings), found)


def _unlisted(row: Row) -> Row:
    """Take the silence of a sensor that is not on the list less seriously: it may have been taken down."""
    advice = "put it on the list of those expected, or `earwitness sensors --forget` it"
    found = [
        replace(problem, level=Severity.WARN, advice=advice) if problem.name == "SILENT" else problem
        for problem in row.problems
    ]
    return replace(row, problems=found)


def _readings(codec: Codec, heard: _Heard, last: SensorState) -> list[Reading]:
    """Read the clock of the sensor's present epoch, back to `HISTORY_S` before its last word."""
    since_us = last.appended_at_us - round(HISTORY_S * 1e6)
    some = [read_as(codec, SensorState, record) for record in heard.some]
    return [
        Reading(state.appended_at_us, state.clock_offset_us)
        for state in (*some, last)
        if state is not None and state.epoch == last.epoch and state.appended_at_us >= since_us
    ]
