"""Settings -> workers under a supervisor: whoever ends, killed or by himself, is started again.

What systemd does with `Restart=always`. An end that nobody had ordered is noted with its last line of log.
"""

import re
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread

from infra.local.process import GuardedProcess
from tests.integration.harness import Worker, command, variables

LOOK_S, RESTART_S, LEAVE_S, ANSWER_S = 0.1, 1.0, 30.0, 1.0
Through = Callable[[list[str]], list[str]]
"""Turns a command line into one that runs elsewhere."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A worker that ended although nobody had told it to, or that did not end in order when told to."""

    seat: str
    status: int | None
    last_line: str
    asked: bool
    """Whether it had been told to end."""
    traceback: bool
    """Whether it printed one."""

    def __str__(self) -> str:
        return f"{self.seat} with {self.status}: {self.last_line}"


@dataclass(slots=True)
class _Seat:
    name: str
    settings: Mapping[str, object]
    through: Through | None
    worker: Worker | None = None
    started_s: float = 0.0
    ordered: bool = False
    """Whether its worker's end was."""
    ended: bool = False
    lock: Lock = field(default_factory=Lock)


class Workers:
    """Seats for workers, each filled again when it falls empty, until `close`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seats: dict[str, _Seat] = {}
        self._endings: list[Ending] = []
        self._starts = Counter[str]()
        self._closed = Event()
        self._thread = Thread(target=self._supervise, name="supervisor", daemon=True)
        self._thread.start()

    @property
    def names(self) -> list[str]:
        """The seats that there are."""
        return list(self._seats)

    def add(self, name: str, settings: Mapping[str, object], through: Through | None = None) -> None:
        """Make a seat and start its worker."""
        seat = _Seat(name, settings, through)
        with seat.lock:
            self._start(seat)
        self._seats[name] = seat

    def remove(self, name: str) -> int | None:
        """End a seat's worker in order and let nobody follow it; return its exit status."""
        seat = self._seats.pop(name)
        with seat.lock:
            self._end(seat)
            return _of(seat).process.exit_status

    def kill_and_remove(self, name: str) -> None:
        """End a seat's worker at once and let nobody follow it."""
        seat = self._seats.pop(name)
        with seat.lock:
            _of(seat).process.kill()

    def kill(self, name: str) -> int | None:
        """End a worker as a crash would; return its exit status."""
        seat = self._seats[name]
        with seat.lock:
            seat.ordered = True
            _of(seat).process.kill()
            return _of(seat).process.exit_status

    def starts(self, name: str) -> int:
        """Return how many workers a seat has had."""
        return self._starts[name]

    def log(self, name: str) -> str:
        """Return what the worker in a seat has printed; nothing where the seat is gone."""
        seat = self._seats.get(name)
        return "" if seat is None else _of(seat).log

    def stop(self, name: str) -> float:
        """Ask a worker to end, and wait for it; return how many seconds it took."""
        seat, since_s = self._seats[name], time.monotonic()
        with seat.lock:
            seat.ordered = True
            self._end(seat)
        return time.monotonic() - since_s

    def freeze(self, name: str) -> None:
        """Stop a worker from running until `thaw`."""
        _of(self._seats[name]).process.freeze()

    def thaw(self, name: str) -> None:
        """Let a frozen worker go on."""
        _of(self._seats[name]).process.thaw()

    def ready(self, within_s: float) -> str | None:
        """Wait until every seat has a settled member of the group; return what is missing, or None."""
        deadline_s = time.monotonic() + within_s
        while (missing := [name for name in self.names if not self._is_ready(name)]) and not (
            time.monotonic() > deadline_s
        ):
            self._closed.wait(LOOK_S)
        return f"not ready within {within_s:g} s: {', '.join(missing)}" if missing else None

    def take_endings(self) -> list[Ending]:
        """Return the ends that nobody had ordered, since the last time."""
        found, self._endings = self._endings, []
        return found

    def close(self) -> None:
        """End them all, and who supervises them."""
        self._closed.set()
        self._thread.join()
        for seat in self._seats.values():
            _of(seat).process.kill()

    def _is_ready(self, name: str) -> bool:
        seat = self._seats.get(name)
        if seat is None:
            return True
        worker = _of(seat)
        found = re.search(r"status on (http://\S+)", worker.log)
        return worker.process.exit_status is None and found is not None and _answers(f"{found[1]}/readyz")

    def _supervise(self) -> None:
        while not self._closed.wait(LOOK_S):
            for seat in list(self._seats.values()):
                self._look_after(seat)

    def _end(self, seat: _Seat) -> None:
        """End a worker in order; one that does not manage that is noted."""
        process = _of(seat).process
        process.thaw()
        process.stop(LEAVE_S)
        if process.exit_status != 0:
            self._note(seat, asked=True)

    def _note(self, seat: _Seat, *, asked: bool) -> None:
        worker = _of(seat)
        log = worker.log.strip()
        last_line = log[log.rfind("\n") + 1 :][:300]
        self._endings.append(
            Ending(
                seat.name, worker.process.exit_status, last_line, asked, traceback="Traceback (most" in log
            )
        )

    def _look_after(self, seat: _Seat) -> None:
        if not seat.lock.acquire(blocking=False):
            return  # somebody is ending it
        try:
            if _of(seat).process.exit_status is None or self._seats.get(seat.name) is not seat:
                return
            self._note_end(seat)
            if time.monotonic() - seat.started_s >= RESTART_S:
                self._start(seat)
        finally:
            seat.lock.release()

    def _note_end(self, seat: _Seat) -> None:
        if seat.ended:
            return
        seat.ended, worker = True, _of(seat)
        worker.process.wait()
        if not seat.ordered:
            self._note(seat, asked=False)

    def _start(self, seat: _Seat) -> None:
        self._starts[seat.name] += 1
        log_file = self._directory / f"{seat.name}-{self._starts[seat.name]:03d}.log"
        argv = command("work")
        process = GuardedProcess(
            seat.through(argv) if seat.through else argv, log_file, variables(seat.settings)
        )
        seat.worker, seat.started_s = Worker(process, log_file), time.monotonic()
        seat.ordered = seat.ended = False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S):  # noqa: S310
            return True
    except OSError:
        return False


def _of(seat: _Seat) -> Worker:
    assert seat.worker is not None
    return seat.worker
