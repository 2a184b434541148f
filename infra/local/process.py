"""command -> a child process that cannot outlive us, with its output in a file.

A parent that is killed runs no clean-up, so each child gets a guard: a shell that waits on a pipe of
which only we hold the other end. When we are gone, however that came about, the pipe closes and the
guard kills the child.

    us ──────── starts ───────► child ───► log file
     └── pipe ──► guard ── kill -9 ──┘   when the pipe closes
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

GUARD = 'read -r _; kill -9 "$1" 2>/dev/null'


class GuardedProcess:
    """One child in a session of its own: a terminal's Ctrl-C reaches us and not it."""

    def __init__(self, command: Sequence[str], log_file: Path, environment: Mapping[str, str]) -> None:
        with log_file.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - the caller's own command, no shell
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._guard = subprocess.Popen(  # noqa: S603 - a constant script and a number
            ["/bin/sh", "-c", GUARD, "guard", str(self._child.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        """The child's exit status, negative for a signal, or None while it runs."""
        return self._child.poll()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the child's end; return whether it came within `timeout_s` seconds."""
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._dismiss_guard()
        return True

    def stop(self, timeout_s: float) -> bool:
        """Ask the child to end, or kill it after `timeout_s` seconds; return whether it ended."""
        self._child.terminate()
        ended = self.wait(timeout_s)
        if not ended:
            self.kill()
        return ended

    def kill(self) -> None:
        """End the child at once, as a crash would, and wait until it is gone."""
        self._child.kill()
        self.wait()

    def freeze(self) -> None:
        """Stop the child from running, as a stalled machine would, until `thaw`."""
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen child go on."""
        self._child.send_signal(signal.SIGCONT)

    def _dismiss_guard(self) -> None:
        # Before its pipe closes: the child's pid may be somebody else's by then.
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
