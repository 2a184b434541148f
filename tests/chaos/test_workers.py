"""Who ends is started again, and nobody's end is overlooked."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.workers import Ending, Workers
from tests.integration.harness import wait_until

WRONG = {"kafka.bootstrap_servers": ""}
"""A worker that is told this ends at once."""
NOBODY_THERE = {"kafka.bootstrap_servers": "127.0.0.1:1"}
"""This one asks for seconds."""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    workers.close()


def test_who_ends_by_himself_is_noted_with_his_last_line_and_started_again(
    workers: Workers, tmp_path: Path
) -> None:
    workers.add("one", WRONG)
    found: list[Ending] = []

    def two_ends() -> bool:
        found.extend(workers.take_endings())
        return len(found) >= 2

    wait_until(two_ends, "two ends")
    assert {ending.seat for ending in found} == {"one"}
    assert all(ending.status == 2 and "kafka.bootstrap_servers" in ending.last_line for ending in found)
    assert not any(ending.asked or ending.traceback for ending in found)
    assert sorted(file.name for file in tmp_path.glob("one-*.log"))[:2] == ["one-001.log", "one-002.log"]


def test_who_is_killed_is_started_again_and_not_noted(workers: Workers, tmp_path: Path) -> None:
    workers.add("one", NOBODY_THERE)
    assert workers.kill("one") == -signal.SIGKILL
    wait_until((tmp_path / "one-002.log").exists, "a second start")
    assert workers.starts("one") == 2
    workers.kill("one")
    assert workers.take_endings() == []


def test_who_prints_a_traceback_is_noted_with_it(workers: Workers) -> None:
    def fails(_: list[str]) -> list[str]:
        return [sys.executable, "-c", "raise ValueError('broken')"]

    workers.add("one", NOBODY_THERE, fails)
    found: list[Ending] = []

    def an_end() -> bool:
        found.extend(workers.take_endings())
        return bool(found)

    wait_until(an_end, "an end")
    assert (found[0].status, found[0].last_line) == (1, "ValueError: broken")
    assert found[0].traceback


def test_nobody_follows_who_was_removed(workers: Workers) -> None:
    workers.add("one", NOBODY_THERE)
    workers.kill_and_remove("one")
    assert workers.names == []
    assert workers.ready(0.0) is None
