from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.bench.page import write_page
from tests.bench.repeats import Distribution, Repeats, alternate
from tests.bench.sheet import Sheet


def sheet(name: str, plots: int = 0) -> Sheet:
    made = Sheet(name, f"About {name}")
    made.table(("contender", "rate"), [("one", 1)])
    for number in range(plots):
        made.plot(Figure(), f"picture {number}")
    return made


def written(tmp_path: Path, *sheets: Sheet) -> str:
    for each in sheets:
        each.save(tmp_path / "build")
    page = tmp_path / "docs" / "page.md"
    write_page(tmp_path / "build", page)
    return page.read_text("utf-8")


def test_a_missed_bar_and_one_that_was_not_measured_are_said_at_the_top(tmp_path: Path) -> None:
    made = sheet("one")
    made.at_least("fast", 2.0, 1.5)
    made.at_most("late", 3.0, 1.5)
    made.at_least("absent", None, 4.0)
    top = written(tmp_path, made).partition("## Machine")[0]
    assert "2 of 3 bars were MISSED" in top
    assert "| fast | 2 x | >= 1.5 x | met |" in top
    assert "| late | 3 x | <= 1.5 x | **MISSED** |" in top
    assert "| absent | not measured | >= 4 x | **MISSED** |" in top


def test_a_page_without_a_section_says_that_no_bar_was_measured(tmp_path: Path) -> None:
    assert "**No bar was measured.**" in written(tmp_path)


def test_a_bench_that_did_not_come_to_its_end_is_said_at_the_top(tmp_path: Path) -> None:
    stopped = "A bench failed or was stopped"
    assert stopped not in written(tmp_path, sheet("one"))
    write_page(tmp_path / "build", page := tmp_path / "docs" / "page.md", failed=True)
    assert stopped in page.read_text("utf-8").partition("## Machine")[0]


def test_large_figures_are_written_out(tmp_path: Path) -> None:
    made = sheet("one")
    made.at_least("fast", 1000.0, 900.0)
    assert "| fast | 1,000 x |" in written(tmp_path, made)


def test_every_picture_of_the_page_is_beside_it_and_no_old_one(tmp_path: Path) -> None:
    assert "](page/one-2.png)" in written(tmp_path, sheet("one", plots=2))
    text = written(tmp_path, sheet("one", plots=1))
    assert "](page/one-1.png)" in text
    assert [file.name for file in (tmp_path / "docs" / "page").glob("*.png")] == ["one-1.png"]


def test_a_bench_that_has_not_run_since_keeps_its_section(tmp_path: Path) -> None:
    written(tmp_path, sheet("one"))
    for file in (tmp_path / "build").iterdir():
        file.unlink()
    text = written(tmp_path, sheet("two"))
    assert text.index("## About one") < text.index("## About two")


def test_contenders_alternate_each_turn_in_another_order() -> None:
    order: list[str] = []
    found = alternate({name: lambda name=name: order.append(name) for name in "abc"}, turns=4)  # type: ignore[misc]
    turns = ["".join(order[at : at + 3]) for at in range(0, 12, 3)]
    assert len(set(turns)) == 4
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert {name: len(results) for name, results in found.items()} == {"a": 4, "b": 4, "c": 4}


def test_a_ratio_is_taken_turn_by_turn() -> None:
    ratio = Repeats((10.0, 30.0, 20.0)).per(Repeats((5.0, 10.0, 20.0)))
    assert ratio.values == (2.0, 3.0, 1.0)
    assert (ratio.median, ratio.low, ratio.high, ratio.spread) == (2.0, 1.0, 3.0, 1.0)


def test_percentiles_come_with_their_count() -> None:
    found = Distribution.of(range(101))
    assert found.count == 101
    assert (found.p50, found.p90, found.p99, found.max) == pytest.approx((50, 90, 99, 100))
