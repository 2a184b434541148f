"""What a sensor's time looked like, from what was said of it."""

from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from rich.cells import cell_len
from rich.console import Console

from earwitness.analysis.draw_png import draw_png
from earwitness.analysis.draw_text import SIGNS, draw
from earwitness.analysis.outcome import NOT_HEARD, SEVERITY, spans
from earwitness.analysis.timeline import Timeline, timeline
from schemas.coverage import Coverage, Outcome
from schemas.errors import ConfigurationError
from tests.earwitness.analysis.said import SECOND_US, START_US, covered, detected, expired

Seconds = list[tuple[float, float, str]]


def laid_out(length_s: int, *said: Coverage, lost: tuple[Coverage, ...] = ()) -> Timeline:
    return timeline("kitchen", START_US, START_US + length_s * SECOND_US, said, [], lost)


def seconds(found: Timeline) -> Seconds:
    return [((s.start_us - START_US) / 1e6, (s.end_us - START_US) / 1e6, s.outcome) for s in found.spans]


def test_what_nobody_has_spoken_of_was_not_heard() -> None:
    # ├─SCORED─┤      ├─SCORED─┤
    # 0       10     20       30   40
    found = laid_out(40, covered(0, 10), covered(20, 30))
    assert seconds(found) == [(0, 10, "SCORED"), (10, 20, NOT_HEARD), (20, 30, "SCORED"), (30, 40, NOT_HEARD)]
    assert found.share() == {"SCORED": 0.5, NOT_HEARD: 0.5}


def test_where_statements_differ_scored_comes_first() -> None:
    # ├──────SHED──────┤
    #     ├─SCORED─┤
    # 0  10       20  30
    found = laid_out(30, covered(0, 30, Outcome.SHED), covered(10, 20))
    assert seconds(found) == [(0, 10, "SHED"), (10, 20, "SCORED"), (20, 30, "SHED")]


def test_a_seam_of_rounded_times_is_no_hole() -> None:
    found = laid_out(20, covered(0, 9.999), covered(10, 20))
    assert seconds(found) == [(0, 20, "SCORED")]


def test_a_hole_whose_offsets_expired_says_so_and_another_does_not() -> None:
    said = covered(0, 10), covered(20, 30), covered(40, 50)
    found = laid_out(50, *said, lost=(expired(12, 18),))
    assert [outcome for *_, outcome in seconds(found)] == ["SCORED", "EXPIRED", "SCORED", NOT_HEARD, "SCORED"]


def test_a_column_shows_the_worst_of_what_is_in_it_however_short() -> None:
    found = laid_out(100, covered(0, 40), covered(40, 40.5, Outcome.FAILED), covered(40.5, 100))
    assert [column.outcome for column in found.columns(5)] == [
        "SCORED",
        "SCORED",
        "FAILED",
        "SCORED",
        "SCORED",
    ]


def test_levels_are_added_up_as_energy_and_peaks_are_not() -> None:
    # half of the column at -20 dB, half of it digital silence: 3 dB less
    found = laid_out(20, covered(0, 10, rms_dbfs=-20.0), covered(10, 20, rms_dbfs=None))
    (column,) = found.columns(1)
    assert column.rms_dbfs == pytest.approx(-23.01, abs=0.01)
    assert column.peak_dbfs == -10.0


def test_what_is_said_twice_is_as_loud_as_once() -> None:
    once, twice = laid_out(20, covered(0, 20)), laid_out(20, covered(0, 20), covered(0, 20), covered(5, 10))
    assert [c.rms_dbfs for c in once.columns(3)] == pytest.approx([c.rms_dbfs for c in twice.columns(3)])


def test_a_column_has_the_highest_score_of_each_label_in_it() -> None:
    heard = [detected(1, 2, "siren", 0.6), detected(2, 3, "siren", 0.8), detected(8, 9, "bark", None)]
    found = timeline("kitchen", START_US, START_US + 10 * SECOND_US, [covered(0, 10)], heard)
    assert [column.labels for column in found.columns(2)] == [{"siren": 0.8}, {"bark": 0.0}]
    assert found.labels == ("siren", "bark")


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--to"):
        laid_out(0)


statements = st.lists(
    st.tuples(st.integers(-20, 120), st.integers(1, 60), st.sampled_from([o.value for o in Outcome])),
    max_size=12,
)


@given(statements)
def test_every_moment_has_the_best_that_was_said_of_it(said: list[tuple[int, int, str]]) -> None:
    second = 1_000_000
    found = spans([(start * second, (start + n) * second, o) for start, n, o in said], 0, 100 * second)
    assert (found[0].start_us, found[-1].end_us) == (0, 100 * second)
    assert all(a.end_us == b.start_us and a.outcome != b.outcome for a, b in pairwise(found))
    order = [outcome.value for outcome in Outcome]
    for span in found:
        for moment in range(span.start_us // second, span.end_us // second):
            holds = [o for start, n, o in said if start <= moment < start + n]
            assert span.outcome == min(holds, key=order.index, default=NOT_HEARD)


@given(statements, st.integers(1, 150))
def test_columns_hide_no_outcome(said: list[tuple[int, int, str]], count: int) -> None:
    pieces = [covered(s, s + n, Outcome(o)) for s, n, o in said]
    found = laid_out(100, *pieces)
    columns = found.columns(count)
    for span in found.spans:
        over = [c for c in columns if c.start_us < span.end_us and c.end_us > span.start_us]
        assert all(SEVERITY.index(c.outcome) <= SEVERITY.index(span.outcome) for c in over)


def everything() -> Timeline:
    said = [covered(n * 10, n * 10 + 10, outcome) for n, outcome in enumerate(list(Outcome)[:5])]
    heard = [
        detected(1, 9),
        detected(12, 18, "$\\frac{bark}$"),
        detected(20, 21, "a label that is long", None),
        detected(22, 23, "[/red]"),
    ]
    lost = (expired(52, 58),)
    said.append(covered(60, 70))
    return timeline("kitchen $1 [/a]", START_US, START_US + 80 * SECOND_US, said, heard, lost)


def test_a_name_in_wide_characters_takes_no_more_room_than_another() -> None:
    heard = [detected(1, 9, "[red]\x1b[2J\n"), detected(1, 9, "煙霧報警器警報聲")]
    found = timeline("kitchen", START_US, START_US + 10 * SECOND_US, [covered(0, 10)], heard)
    rows = [line.plain for line in draw(found, 80)[2:7]]
    assert [cell_len(row) for row in rows] == [80 - 1] * 5
    assert rows[3].lstrip().startswith("[red] [2J")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_shows_every_outcome_without_colour_and_fits(width: int) -> None:
    console = Console(file=StringIO(), width=width, no_color=True, highlight=False)
    for line in draw(everything(), width):
        console.print(line, soft_wrap=True)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    heard = next(line for line in text.splitlines() if line.lstrip().startswith("heard"))
    assert set(heard.split(maxsplit=1)[1]) == {sign for sign, *_ in SIGNS.values()}
    rows = text.splitlines()[4:13]
    assert all(cell_len(row) <= width for row in rows)
    assert all(name in text for name in ("kitchen $1 [/a]", "[/red]"))


def test_the_picture_is_a_png_of_1600_by_900(tmp_path: Path) -> None:
    draw_png(everything(), tmp_path / "kitchen.png")
    assert imread(tmp_path / "kitchen.png").shape[:2] == (900, 1600)


def test_an_hour_of_nothing_is_drawn_too(tmp_path: Path) -> None:
    draw_png(laid_out(3600), tmp_path / "nothing.png")
    assert len(draw(laid_out(3600), 80)) > 5
