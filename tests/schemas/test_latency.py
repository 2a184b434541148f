"""A header is read as it was written; what is none of ours is refused; targets are those of the whole."""

import json

import pytest

from schemas.latency import MAX_US, READINGS, TARGETS_MS, TOTAL_P50_MS, Readings, target_ms

BEGIN_US = 1_800_000_000_000_000
AT_US = {name: BEGIN_US + 1000 * n for n, name in enumerate(READINGS[:-1])}


def test_a_header_is_read_as_it_was_written_with_each_reading_named_in_its_unit() -> None:
    written = Readings(AT_US).to_wire()
    assert json.loads(written) == {f"{name}_us": at for name, at in AT_US.items()}
    assert Readings.from_wire(written) == Readings(AT_US)


def test_readings_of_a_later_version_are_passed_over_and_the_stages_add_up() -> None:
    later = {**Readings(AT_US).as_json(), "hashed_us": BEGIN_US + 1, "shape": "new"}
    assert Readings.from_wire(json.dumps(later).encode()) == Readings(AT_US)


@pytest.mark.parametrize(
    "odd",
    [{"sent_us": None}, {"sent_us": "late"}, {"scored_us": 1.5}, {"captured_us": -1}, {"sent_us": MAX_US}],
    ids=str,
)
def test_what_is_no_time_is_refused(odd: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="accepted"):
        Readings.from_wire(json.dumps({**Readings(AT_US).as_json(), **odd}).encode())


@pytest.mark.parametrize("value", [b"", b"soon", b"\xff", b"[1]", b"{}", b'{"sent_us": true}'])
def test_what_is_no_header_of_ours_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of JSON, of UTF-8, or our own
        Readings.from_wire(value)


def test_the_stage_to_blame_is_the_one_farthest_over_its_target_not_the_longest() -> None:
    lengths_ms = {**TARGETS_MS, "fetched": 7.0, "windowed": 3.5}
    at_us, now_us = {"captured": BEGIN_US}, BEGIN_US
    for name, length_ms in lengths_ms.items():
        now_us += round(1000 * length_ms)
        at_us[name] = now_us
    assert Readings(at_us).worst().name == "windowed"


def test_a_stage_that_holds_others_may_take_as_long_as_all_of_them() -> None:
    assert target_ms("captured", "published") == sum(TARGETS_MS.values()) <= TOTAL_P50_MS
    assert target_ms("appended", "batched") == 12.0
    assert target_ms("batched", "scored") == 6.0
