"""What does not need a running system: plans, what is said of rounds, what broken records are."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import pytest

from schemas.codec import Codec
from schemas.errors import EarwitnessError
from schemas.frame import AudioFrame, sensor_of
from tests.chaos.broken import BREAKING, STALE
from tests.chaos.disturbance import LEAST_LIMIT_MS, course, disturbed_s, limit_ms, worst_ms
from tests.chaos.faults import KINDS, STORM
from tests.chaos.fleet import Part, Score, Stored, read_journal
from tests.chaos.ledger import Entry, Ledger, OtherCampaignError, as_markdown, as_text, rows
from tests.chaos.plan import plan_of
from tests.chaos.round import wrong_ends
from tests.chaos.stage import FULL, SMALL, Stage
from tests.chaos.workers import Ending

ALL = [*KINDS, STORM]
SAID_WHY = Ending("one", 1, "error: no broker answers", asked=False, traceback=False)
ENTRY = Entry(1, 1, "worker_kill", ("worker_kill",), ("4.0 s: kill -9",), 20.0, {"samples_acknowledged": 5})


def test_seed_and_number_decide_a_round() -> None:
    assert plan_of(1, 7, ALL) == plan_of(1, 7, ALL)
    assert plan_of(1, 7, ALL).seed != plan_of(1, 8, ALL).seed
    assert [plan_of(1, n, ALL).kind for n in range(1, 9)] != [plan_of(2, n, ALL).kind for n in range(1, 9)]


def test_each_kind_has_its_turn_before_one_comes_again() -> None:
    for cycle in range(3):
        numbers = range(cycle * len(ALL) + 1, (cycle + 1) * len(ALL) + 1)
        assert sorted(plan_of(1, number, ALL).kind for number in numbers) == sorted(ALL)


def test_a_storm_has_two_or_three_kinds_that_lay_hands_on_different_parts() -> None:
    plans = [plan_of(1, number, ALL, STORM) for number in range(1, 200)]
    assert {len(plan.faults) for plan in plans} == {2, 3}
    for plan in plans:
        parts = Counter(KINDS[fault.kind].part for fault in plan.faults)
        assert set(parts.values()) == {1}


def test_a_broken_record_is_a_dead_letter_whatever_the_log_holds_and_a_stale_one_is_a_frame() -> None:
    draw, codec = Random(1), Codec()  # noqa: S311
    for i, make in enumerate(BREAKING.values()):
        for _ in range(50):
            key, value = make(b"s-1", draw)
            if i == STALE:
                assert codec.decode(AudioFrame, value).epoch[:6] < b"\x01\x70"
            else:
                with pytest.raises(EarwitnessError):
                    _read(codec, key, value)


def _read(codec: Codec, key: bytes | None, value: bytes | None) -> None:
    sensor_of(key)
    codec.decode(AudioFrame, value)


def test_a_score_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    score = Score("localhost:1", "frames", "journal", 7, (Part("a", "pool", 20, 0.5, ((4.0, 6.0),)),))
    assert Score.read(score.write(tmp_path / "score.json")) == score
    assert [score.parts[0].silent_at(at_s) for at_s in (3.9, 4.0, 9.9, 10.0)] == [False, True, True, False]


def test_a_line_that_was_being_written_at_a_kill_counts_for_nothing(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert read_journal(journal) == []
    journal.write_text('["a", "00", 0, 320, 5]\n["a", "00", 320, 3')
    assert read_journal(journal) == [Stored("a", "00", 0, 320, 5)]


def test_seconds_are_counted_from_the_first_fault_and_disturbed_above_three_times_the_calm_ones() -> None:
    #     calm: 100 and 120 ms          on its way: 500      fault at 10 s: 900, then 200 ms
    calm = (7_500, 7_600), (8_500, 8_620)
    found = course([*calm, (9_900, 10_400), (10_100, 11_000), (11_500, 11_700)], 10_000)
    assert found == {-3: 100.0, -2: 120.0, -1: 500.0, 0: 900.0, 1: 200.0}
    limit = limit_ms([found])
    assert limit == pytest.approx(330.0)
    assert (disturbed_s(found, limit), worst_ms(found)) == (2, 900.0)
    assert limit_ms([{-2: 10.0}]) == limit_ms([]) == LEAST_LIMIT_MS


def test_a_ledger_is_read_back_as_it_was_written_but_for_a_line_that_a_kill_cut_short(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new")
    entries = [ENTRY, replace(ENTRY, number=2, course={-1: 100.0, 0: 900.0}, found={"MISSING": 2})]
    for entry in entries:
        ledger.write(entry)
    with (tmp_path / "new" / "ledger.jsonl").open("a") as file:
        file.write('{"number": 3, "ki')
    assert ledger.entries() == entries


def test_of_a_ledger_that_does_not_say_their_size_rounds_were_of_a_campaign(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    fields = asdict(ENTRY)
    del fields["size"]
    (tmp_path / "ledger.jsonl").write_text(json.dumps(fields) + "\n")
    assert ledger.entries() == [ENTRY]
    ledger.check(ENTRY.campaign, FULL.name)


@pytest.mark.parametrize(("seed", "size"), [(2, FULL.name), (1, SMALL.name)])
def test_rounds_of_another_seed_or_size_are_not_mixed(tmp_path: Path, seed: int, size: str) -> None:
    ledger = Ledger(tmp_path)
    ledger.check(seed, size)
    ledger.write(ENTRY)
    with pytest.raises(OtherCampaignError, match=f"of seed {seed} and size {size}"):
        ledger.check(seed, size)


@pytest.mark.parametrize(
    ("ending", "parts", "wrong"),
    [
        pytest.param(SAID_WHY, {"worker", "triton"}, 1, id="nothing-excuses-it"),
        pytest.param(SAID_WHY, {"worker", "broker"}, 0, id="brokers-were-away"),
        pytest.param(SAID_WHY, {"network"}, 0, id="the-network-was-bad"),
        pytest.param(replace(SAID_WHY, traceback=True), {"broker"}, 1, id="traceback"),
        pytest.param(replace(SAID_WHY, asked=True), {"broker"}, 1, id="ended-badly-when-told-to"),
    ],
)
def test_only_without_brokers_may_a_worker_give_up_and_never_with_a_traceback(
    ending: Ending, parts: set[str], wrong: int
) -> None:
    assert len(wrong_ends([ending], parts)) == wrong


def test_a_fault_of_which_there_is_no_sign_is_wrong() -> None:
    stage = Stage(None, None, FULL, Random(1))  # type: ignore[arg-type]  # noqa: S311
    stage.expect(lambda: True, "it bit", 0)
    assert stage.wrong == []
    stage.expect(lambda: False, "it bit", 0)
    assert stage.wrong == ["no sign within 0 s: it bit"]


def test_the_longest_quiet_is_the_most_of_the_rounds_that_measured_it() -> None:
    quiet = [replace(ENTRY, counts={"longest_unappended_ms": ms}) for ms in (200, 1500)]
    table = rows([ENTRY, *quiet])
    appended, published = (table[0].index(f"nothing {what}, s") for what in ("appended", "published"))
    assert [(row[appended], row[published]) for row in table[1:]] == [("1.5", "–")] * 2


def test_the_table_adds_up_rounds_by_kind_and_says_what_was_found() -> None:
    lost = replace(ENTRY, number=2, kind="calm", findings=("MISSING: 2",), found={"MISSING": 2})
    table = rows([ENTRY, ENTRY, lost])
    missing, stored = table[0].index("missing"), table[0].index("samples stored")
    assert {row[0]: (row[1], row[missing], row[stored]) for row in table[1:]} == {
        "calm": ("1", "2", "5"),
        "worker_kill": ("2", "0", "10"),
        "all": ("3", "2", "15"),
    }
    for text in (
        as_text([lost], {"network_cut": "no root"}),
        as_markdown([lost], {"network_cut": "no root"}),
    ):
        assert "Round 2 (calm): MISSING: 2" in text
        assert "network_cut was left out: no root" in text
    assert "No findings." in as_text([], {})
