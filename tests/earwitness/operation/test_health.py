"""What is wrong with a sensor follows from its last state, the broker's clock, and how its own clock went."""

from dataclasses import replace

import pytest

from earwitness.operation.health import (
    DRIFT_READINGS,
    Problem,
    Reading,
    Severity,
    drift_ppm,
    exit_code,
    length,
    problems,
)
from schemas.coverage import Level
from schemas.sensor import Presence, SensorState
from tests.schemas.records import SENSOR

NOW_US = 1_790_000_000_000_000
SECOND_US = 1_000_000
SOUND = Level(rms_dbfs=-40.0, peak_dbfs=-12.0, clipped_fraction=0.0, zero_fraction=0.01, dc_fraction=0.001)
WELL = replace(
    SENSOR,
    state=Presence.LIVE,
    since_us=NOW_US - 60 * SECOND_US,
    appended_at_us=NOW_US,
    clock_offset_us=4000,
    level=SOUND,
)


def wrong(state: SensorState | None, said_s_ago: float = 1.0) -> dict[str, Severity]:
    found = problems(state, NOW_US - round(said_s_ago * SECOND_US), NOW_US)
    return {problem.name: problem.level for problem in found}


def sounding(**level: float | None) -> SensorState:
    return replace(WELL, level=replace(SOUND, **level))  # type: ignore[arg-type]


def readings(ppm: float, seconds: int, every_s: int = 5, jitter_us: int = 0) -> list[Reading]:
    """A clock that runs `ppm` fast against the broker's: its offset falls by that many µs a second."""
    times = range(0, seconds, every_s)
    return [
        Reading(NOW_US + t * SECOND_US, round(4000 - ppm * t) + (-1) ** n * jitter_us)
        for n, t in enumerate(times)
    ]


def test_a_sensor_that_hears_has_nothing_wrong() -> None:
    assert wrong(WELL) == {}
    assert wrong(replace(WELL, level=None)) == {}  # its first word comes before its first level


def test_a_sensor_of_which_nothing_was_ever_said_never_started() -> None:
    assert wrong(None) == {"NEVER_STARTED": Severity.BROKEN}


def test_a_sensor_that_went_quiet_is_silent_since_its_last_frame() -> None:
    gone = replace(WELL, state=Presence.SILENT, since_us=NOW_US - 3 * 3600 * SECOND_US)
    (problem,) = problems(gone, NOW_US, NOW_US)
    assert (problem.name, problem.level) == ("SILENT", Severity.BROKEN)
    assert "for 3.0 h" in problem.found


@pytest.mark.parametrize(("said_s_ago", "names"), [(11.0, set()), (13.0, {"UNATTENDED"})])
def test_a_live_sensor_that_nobody_speaks_of_any_more_is_unattended(
    said_s_ago: float, names: set[str]
) -> None:
    assert set(wrong(WELL, said_s_ago)) == names


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ({"rms_dbfs": None, "peak_dbfs": None, "zero_fraction": 1.0}, {"DIGITAL_SILENCE": Severity.BROKEN}),
        ({"zero_fraction": 0.96}, {"DIGITAL_SILENCE": Severity.BROKEN}),
        ({"zero_fraction": 0.25}, {"PARTLY_SILENT": Severity.WARN}),
        ({"zero_fraction": 0.25, "rms_dbfs": -86.0}, {}),  # a quiet room: noise of 1.6 steps is often 0
        ({"zero_fraction": 0.6, "rms_dbfs": -92.0}, {"FAINT": Severity.WARN}),
        ({"clipped_fraction": 0.009}, {}),
        ({"clipped_fraction": 0.02}, {"CLIPPING": Severity.WARN}),
        ({"clipped_fraction": 0.2}, {"CLIPPING": Severity.BROKEN}),
        ({"dc_fraction": -0.06}, {"DC_OFFSET": Severity.WARN}),
        ({"dc_fraction": 0.6}, {"DC_OFFSET": Severity.BROKEN}),
    ],
    ids=str,
)
def test_how_it_sounded_says_whether_it_hears(
    level: dict[str, float | None], expected: dict[str, Severity]
) -> None:
    assert wrong(sounding(**level)) == expected


@pytest.mark.parametrize(
    ("offset_s", "expected"),
    [
        (1.9, {}),
        (5.0, {"CLOCK_BEHIND": Severity.WARN}),
        (3600.0, {"CLOCK_BEHIND": Severity.BROKEN}),
        (-5.0, {"CLOCK_AHEAD": Severity.WARN}),
        (-3600.0, {"CLOCK_AHEAD": Severity.BROKEN}),
    ],
)
def test_a_clock_that_is_off_is_told_by_how_much_and_to_which_side(
    offset_s: float, expected: dict[str, Severity]
) -> None:
    assert wrong(replace(WELL, clock_offset_us=round(offset_s * SECOND_US))) == expected


def test_the_worst_problem_comes_first() -> None:
    state = replace(sounding(clipped_fraction=0.02), clock_offset_us=-3600 * SECOND_US)
    assert [problem.name for problem in problems(state, NOW_US, NOW_US)] == ["CLOCK_AHEAD", "CLIPPING"]


def test_drift_is_the_slope_of_the_offset_against_the_brokers_clock() -> None:
    for ppm in (-300.0, 0.0, 50.0, 300.0):
        assert drift_ppm(readings(ppm, 600)) == pytest.approx(ppm, abs=0.5)
        assert drift_ppm(readings(ppm, 600, jitter_us=8000)) == pytest.approx(ppm, abs=10)


def test_drift_is_unknown_while_noise_would_look_like_it() -> None:
    assert drift_ppm(readings(300, 100)) is None
    assert drift_ppm(readings(300, 130, jitter_us=20_000)) is None
    assert drift_ppm(readings(300, 600)[: DRIFT_READINGS - 1]) is None
    assert drift_ppm([]) is None


def test_a_clock_that_drifts_further_than_any_crystal_is_named() -> None:
    fast = problems(WELL, NOW_US, NOW_US, readings(300, 600))
    assert [(problem.name, "300 ppm fast" in problem.found) for problem in fast] == [("CLOCK_DRIFT", True)]
    assert problems(WELL, NOW_US, NOW_US, readings(-150, 600)) == []


def test_every_problem_says_what_to_do() -> None:
    everything = [
        *problems(None, 0, NOW_US),
        *problems(replace(WELL, state=Presence.SILENT), NOW_US, NOW_US),
        *problems(sounding(clipped_fraction=1.0, dc_fraction=1.0), 0, NOW_US, readings(300, 600)),
    ]
    assert len(everything) == 6
    assert all(isinstance(problem, Problem) and problem.found and problem.advice for problem in everything)


def test_the_worst_level_decides_how_a_command_ends() -> None:
    ok, warn, broken = Severity
    assert [exit_code(x) for x in ([], [ok], [ok, warn], [warn, broken, ok])] == [0, 0, 3, 1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.02, "20 ms"),
        (1.5, "1.5 s"),
        (119, "119.0 s"),
        (300, "5.0 min"),
        (7200, "2.0 h"),
        (400_000, "4.6 d"),
    ],
)
def test_lengths_of_time_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert length(seconds) == text
