"""What was committed is in the spool's file, in order, whatever happens to the process or the disk."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from producers.errors import SpoolFullError
from producers.keeper import Keeper
from producers.pending import PENDING_BYTES
from producers.spool import FILE, SpoolSettings, what_waits
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame
from tests.producers.conftest import a_frame

TOPIC = "audio.frames"
KILLS, SEED = 4, 11
LARGE_SAMPLES = 100_000


def told(directory: Path, **more: object) -> SpoolSettings:
    """Return settings of a spool that need not outlive a power cut."""
    given = {"synchronous": "normal", **more}
    return SpoolSettings(directory=directory, **given)  # type: ignore[arg-type]


def numbers(keeper: Keeper) -> list[int]:
    """Return the first samples of what waits, in the order of the spool."""
    return [spooled.frame.first_sample for spooled in keeper.backlog(0, 10_000)]


def frame(number: int, samples: int = 320) -> AudioFrame:
    return a_frame(320 * number, samples)


@contextmanager
def keeper_of(directory: Path, **more: object) -> Iterator[Keeper]:
    keeper = Keeper(told(directory, **more), TOPIC)
    yield keeper
    keeper.close()


def test_frames_come_back_as_they_were_in_the_order_in_which_they_were_taken(tmp_path: Path) -> None:
    given = [("roof", frame(0)), ("hall", frame(0)), ("roof", replace(frame(1), captured_at_us=5))]
    with keeper_of(tmp_path) as keeper:
        for sensor, one in given:
            keeper.take(sensor, one, flying=False)
    with keeper_of(tmp_path) as keeper:
        assert [(spooled.sensor, spooled.frame) for spooled in keeper.backlog(0, 10)] == given
        assert keeper.doubts, "a process before may have sent them"


def test_what_is_acknowledged_before_its_commit_is_due_is_never_written(tmp_path: Path) -> None:
    with keeper_of(tmp_path, commit_ms=1000) as keeper:
        for number in range(10):
            keeper.settle(keeper.take("roof", frame(number), flying=True))
            keeper.commit()
        keeper.commit(now=True)
        assert what_waits(tmp_path) == []
        assert keeper.kept.waiting == 0


def test_nobody_else_is_given_what_a_client_holds(tmp_path: Path) -> None:
    with keeper_of(tmp_path) as keeper:
        held = keeper.take("roof", frame(0), flying=True)
        keeper.take("roof", frame(1), flying=False)
        assert numbers(keeper) == [320], "in memory"
        keeper.commit(now=True)
        assert numbers(keeper) == [320], "in the file"
        keeper.release(held)
        assert numbers(keeper) == [0, 320]
        assert keeper.doubts == 1, "whether the broker has it"


def test_what_is_found_in_the_log_waits_no_more_unless_a_client_still_has_to_report_it(
    tmp_path: Path,
) -> None:
    with keeper_of(tmp_path) as keeper:
        for number in range(4):
            keeper.take("roof", frame(number), flying=number == 3)
        keeper.commit(now=True)
        keeper.take("roof", frame(4), flying=False)
        keys = [("roof", frame(0).epoch, 320 * number) for number in (0, 3, 4, 9)]
        assert keeper.forget(keys) == 2
        assert keeper.forget(keys) == 0
        assert numbers(keeper) == [320, 640]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with keeper_of(tmp_path), pytest.raises(ConfigurationError, match="another one uses it now"):
        Keeper(told(tmp_path), TOPIC)


def test_the_sound_of_one_tenant_is_not_sent_to_another(tmp_path: Path) -> None:
    with keeper_of(tmp_path):
        pass
    with pytest.raises(
        ConfigurationError, match=r"a spool of b\.audio\.frames; this one holds sound of audio"
    ):
        Keeper(told(tmp_path), "b.audio.frames")


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"spool\.directory"):
        Keeper(told(tmp_path / "file"), TOPIC)


@pytest.mark.parametrize(
    "wrong",
    [{"max_bytes": 0}, {"after_s": 0.0}, {"drain_rate": 0.5}, {"commit_ms": 0.0}, {"commit_ms": 2000.0}],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    (key,) = wrong
    with pytest.raises(ConfigurationError, match=f"spool.{key}"):
        SpoolSettings(**wrong)  # type: ignore[arg-type]


def test_past_the_limit_the_oldest_sound_is_given_up_and_counted_but_not_what_a_client_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with keeper_of(tmp_path, max_bytes=1 << 20) as keeper:
        for number in range(40):
            keeper.take("roof", a_frame(LARGE_SAMPLES * number, LARGE_SAMPLES), flying=number == 0)
            keeper.commit(now=True)
        left = numbers(keeper)
        kept = keeper.kept
        assert left == [LARGE_SAMPLES * number for number in range(40 - len(left), 40)], "the newest are left"
        assert kept.given_up == 39 - len(left) > 0
        assert "are given up; LOST" in caplog.text
    (waits,) = what_waits(tmp_path)
    assert waits.frames == len(left) + 1


def test_a_file_that_is_no_spool_is_set_aside_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(b"no spool at all" * 1000)
    with keeper_of(tmp_path) as keeper:
        keeper.take("roof", frame(0), flying=False)
        assert keeper.commit(now=True)
        assert keeper.kept.set_aside == 1
    (aside,) = tmp_path.glob(f"{FILE}.broken-*")
    assert aside.read_bytes() == b"no spool at all" * 1000
    assert "it is set aside as" in caplog.text
    assert [w.frames for w in what_waits(tmp_path)] == [1]


def test_a_file_that_breaks_is_set_aside_and_what_follows_is_kept(tmp_path: Path) -> None:
    with keeper_of(tmp_path) as keeper:
        for number in range(200):
            keeper.take("roof", frame(number), flying=False)
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(SEED).randbytes(100_000))  # noqa: S311 - no secret
    with keeper_of(tmp_path) as keeper:
        keeper.take("roof", frame(500), flying=False)
        for _ in range(3):  # the first write finds that it is broken
            keeper.commit(now=True)
        assert keeper.kept.set_aside == 1
        assert numbers(keeper) == [320 * 500]
    assert len(list(tmp_path.glob(f"{FILE}.broken-*"))) >= 1


@contextmanager
def small_disk(directory: Path, size: str = "4m") -> Iterator[Path]:
    """Give a disk of a real size, where this machine lets us."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def test_a_full_disk_loses_nothing_that_memory_can_hold_and_then_refuses_what_is_new(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk") as disk, keeper_of(disk) as keeper:
        taken = 0
        while not keeper.crowded:
            keeper.take("roof", a_frame(10_000 * taken, 10_000), flying=False)
            taken += 1
            keeper.commit(now=True)
        with pytest.raises(SpoolFullError, match="the disk is full"):
            keeper.take("roof", a_frame(), flying=False)
        assert taken * 20_000 >= PENDING_BYTES
        assert not keeper.kept.writable
        assert caplog.text.count("the spool cannot be written") == 1
        keeper.settle(keeper.take("roof", frame(0), flying=True))  # live sound goes on
        remount(disk, "size=24m")
        assert keeper.commit(now=True)
        assert "the spool is written again" in caplog.text
        assert numbers(keeper) == [10_000 * number for number in range(taken)]


def test_a_disk_that_becomes_read_only_is_said_once_and_used_again_when_it_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        remount(disk, "ro")
        keeper = Keeper(told(disk / "spool"), TOPIC)
        for number in range(5):
            keeper.take("roof", frame(number), flying=False)
            assert not keeper.commit(now=True)
        assert numbers(keeper) == [320 * number for number in range(5)], "from memory"
        assert caplog.text.count("the spool cannot be written") == 1
        remount(disk, "rw")
        assert keeper.commit(now=True)
        assert keeper.close() == 0
        assert [w.frames for w in what_waits(disk / "spool")] == [5]


CHILD = """
import sys
from pathlib import Path
from producers.keeper import Keeper
from producers.spool import SpoolSettings
from tests.producers.conftest import a_frame

keeper = Keeper(SpoolSettings(directory=Path(sys.argv[1]), synchronous="normal"), "audio.frames")
number = int(sys.argv[2])
while True:
    numbers = [keeper.take("roof", a_frame(320 * (number + k)), flying=False) for k in range(5)]
    number += 5
    if number % 3 == 0:
        keeper.settle(numbers[0])
    if keeper.commit(now=True):
        print(number, flush=True)
"""


def test_what_was_committed_outlives_a_kill_at_any_point(tmp_path: Path) -> None:
    chance, begin = random.Random(SEED), 0  # noqa: S311 - a plan, no secret
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(begin)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert child.stdout is not None
        for _ in range(chance.randrange(1, 40)):
            said = child.stdout.readline()
        child.kill()
        committed = int((said + child.stdout.read()).split()[-1])
        child.wait()
        child.stdout.close()
        with keeper_of(tmp_path) as keeper:
            found = [first // 320 for first in numbers(keeper)]
            assert found == sorted(set(found)), "in order, each once"
            begun = [number for number in range(begin, committed, 5) if (number + 5) % 3 == 0]
            assert set(range(begin, committed)) - set(begun) <= set(found)
            begin = found[-1] + 1


class AnyOrder(RuleBasedStateMachine):
    """A keeper beside a model of it, through crashes: a copy of the file is what a killed process leaves."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._home = tempfile.TemporaryDirectory()
        self._directory = Path(self._home.name)
        self.keeper = Keeper(told(self._directory, commit_ms=1000), TOPIC)
        self.taken = 0
        self.flying: dict[int, int] = {}
        self.waiting: dict[int, int] = {}
        self.sent: set[int] = set()
        self.in_file: set[int] = set()

    @rule(flying=st.booleans())
    def take(self, flying: bool) -> None:
        number = self.keeper.take("roof", frame(self.taken), flying)
        (self.flying if flying else self.waiting)[number] = 320 * self.taken
        self.taken += 1

    @precondition(lambda self: self.flying)
    @rule(chance=st.randoms())
    def settle(self, chance: random.Random) -> None:
        number = chance.choice(list(self.flying))
        self.keeper.settle(number)
        del self.flying[number]
        self.sent.discard(number)

    @precondition(lambda self: self.flying)
    @rule(chance=st.randoms())
    def release(self, chance: random.Random) -> None:
        number = chance.choice(list(self.flying))
        self.keeper.release(number)
        self.waiting[number] = self.flying.pop(number)
        self.sent.discard(number)

    @precondition(lambda self: self.waiting)
    @rule()
    def send(self) -> None:
        number = min(self.waiting)
        self.keeper.fly(number)
        self.flying[number] = self.waiting.pop(number)
        self.sent.add(number)

    @rule()
    def commit(self) -> None:
        assert self.keeper.commit(now=True)
        self.in_file = set(self.flying) | set(self.waiting)

    @rule()
    def crash(self) -> None:
        """Forget all that was not committed, as a kill -9 does."""
        self.keeper._disk.close()
        self.keeper = Keeper(told(self._directory, commit_ms=1000), TOPIC)
        known = {**self.flying, **self.waiting}
        rest = self.keeper.backlog(0, 10_000)
        # What was acknowledged since the last commit is there again; the log will say so.
        assert set(known) & self.in_file <= {spooled.number for spooled in rest} <= self.in_file
        self.sent = set()
        self.flying, self.waiting = {}, {spooled.number: spooled.frame.first_sample for spooled in rest}

    @invariant()
    def what_waits_is_in_order(self) -> None:
        assert numbers(self.keeper) == [first for _, first in sorted(self.waiting.items())]
        assert self.keeper.kept.waiting == len(self.waiting) + len(self.sent)

    def teardown(self) -> None:
        self.keeper.close()
        self._home.cleanup()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
