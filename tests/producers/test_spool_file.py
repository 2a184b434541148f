"""What a spool does with a disk that is full, rows that nobody can read, and eyes not its owner's."""

import sqlite3
import time
from pathlib import Path
from threading import Event

import pytest

from producers.client import PublisherSettings
from producers.drain import Drainer, DrainSettings
from producers.keeper import Keeper
from producers.readback import LogReader
from producers.spool import FILE, what_waits
from producers.spool_publisher import BackfillPublisher, Fates
from schemas.codec import Codec
from schemas.topics import Topics
from tests.producers.conftest import DEADLINE_S, a_frame, records_of
from tests.producers.test_spool import TOPIC, frame, keeper_of, numbers, small_disk, told
from tests.producers.test_spool_sink import make, topics

__all__ = ["topics"]
LARGE_SAMPLES = 10_000


def test_nobody_but_its_owner_can_read_what_people_said(tmp_path: Path) -> None:
    with keeper_of(tmp_path / "spool") as keeper:
        keeper.take("roof", frame(0), flying=False)
        keeper.commit(now=True)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()}
    assert modes == {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600, "lock": 0o600}
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


def test_a_row_that_nobody_can_read_is_set_aside_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with keeper_of(tmp_path) as keeper:
        for number in range(3):
            keeper.take("roof", frame(number), flying=False)
    db = sqlite3.connect(tmp_path / FILE)
    with db:
        db.execute("UPDATE frames SET encoding = CAST(x'ff' AS TEXT) WHERE first_sample = 320")
    db.close()
    with keeper_of(tmp_path) as keeper:
        assert numbers(keeper) == [0, 640]
        assert (keeper.kept.refused, keeper.kept.set_aside, keeper.kept.waiting) == (1, 0, 2)
        assert not keeper.kept.whole
    assert "cannot be read, and is set aside" in caplog.text
    db = sqlite3.connect(tmp_path / FILE)
    assert db.execute("SELECT first_sample, data FROM refused").fetchall() == [(320, frame(1).data)]
    db.close()


@pytest.mark.parametrize("written", [True, False])
def test_a_frame_that_can_never_be_sent_is_kept_in_a_table_of_its_own(tmp_path: Path, written: bool) -> None:
    with keeper_of(tmp_path) as keeper:
        for number in range(2):
            keeper.take("roof", frame(number), flying=False)
        if written:
            keeper.commit(now=True)
        keeper.refuse(keeper.backlog(0, 1)[0], "too large")
        assert numbers(keeper) == [320]
        assert (keeper.kept.refused, keeper.kept.waiting) == (1, 1)
    db = sqlite3.connect(tmp_path / FILE)
    assert db.execute("SELECT sensor, first_sample, why FROM refused").fetchall() == [
        ("roof", 0, "too large")
    ]
    db.close()


def test_what_comes_back_from_behind_the_cursor_is_sent_without_a_restart(tmp_path: Path) -> None:
    with keeper_of(tmp_path) as keeper:
        held = keeper.take("roof", frame(0), flying=True)
        last = keeper.take("roof", frame(1), flying=False)
        keeper.release(held, doubt=False)
        cursor = keeper.go_back(last)
        assert [spooled.number for spooled in keeper.backlog(cursor, 10)] == [held, last]
        assert keeper.go_back(last) == last


def test_while_acknowledgements_lag_behind_frames_only_those_that_are_due_are_written(tmp_path: Path) -> None:
    with keeper_of(tmp_path, commit_ms=500) as keeper:
        stuck, held = keeper.take("roof", frame(0), flying=True), []
        until_s, number = time.monotonic() + 1.0, 1
        while time.monotonic() < until_s:
            held.append(keeper.take("roof", frame(number), flying=True))
            if len(held) > 2:
                keeper.settle(held.pop(0))
            keeper.commit()
            number += 1
        assert [waits.frames for waits in what_waits(tmp_path)] == [1], "the one that is stuck"
        keeper.settle(stuck)


def test_a_disk_that_the_spool_itself_has_filled_drains_once_the_broker_is_back(
    embedded: str, topics: Topics, tmp_path: Path
) -> None:
    make(embedded, topics.frames, topics.backfill)
    client, codec, stop = {"bootstrap.servers": embedded}, Codec(), Event()

    def to_backfill(fates: Fates) -> BackfillPublisher:
        return BackfillPublisher(client, topics.backfill, codec, PublisherSettings(), fates)

    with small_disk(tmp_path / "disk") as disk:
        keeper = Keeper(told(disk, commit_ms=1.0), TOPIC)
        log, taken = LogReader(client, codec), 0
        cluster, ends = log.ends(topics.backfill)
        keeper.begin_at(cluster, topics.backfill, ends)
        while not keeper.crowded:
            number = keeper.take("roof", a_frame(LARGE_SAMPLES * taken, LARGE_SAMPLES), flying=taken == 0)
            taken += 1
            keeper.commit()
            if taken == 1:
                keeper.release(number)
        assert keeper.doubts
        assert not keeper.kept.writable
        drainer = Drainer(keeper, log, to_backfill, DrainSettings(topics.frames, topics.backfill, 500.0))
        deadline_s = time.monotonic() + DEADLINE_S
        while keeper.kept.waiting and time.monotonic() < deadline_s:
            drainer.step(stop)
            keeper.commit()
        drainer.close(DEADLINE_S)
        keeper.commit(now=True)
        assert keeper.kept.writable
        assert keeper.close() == 0
        assert what_waits(disk) == []
    assert drainer.drained == taken
    newest = records_of(embedded, topics.backfill, 100)  # the broker in memory keeps no more than 5 MB
    firsts = [record.frame.first_sample for record in newest]
    assert firsts == list(range(firsts[0], firsts[0] + 100 * LARGE_SAMPLES, LARGE_SAMPLES))
