"""What can go wrong with a local server, sorted by what the reader has to do.

LocalServerError
├── MissingToolError     install a program and try again
└── ServerStartError     read the end of the server's log, which the message quotes
"""

from pathlib import Path

TAIL_CHARACTERS = 4000


class LocalServerError(Exception):
    """Base of every error about a local server."""


class MissingToolError(LocalServerError):
    """A program that has to be on this machine is not, or is too old."""

    def __init__(self, tool: str, install: str) -> None:
        self.tool = tool
        super().__init__(f"{tool} is needed and was not found: {install}")


class ServerStartError(LocalServerError):
    """A server, or a step on the way to it, ended or took too long."""

    def __init__(self, what: str, reason: str, output: str = "") -> None:
        self.what, self.reason = what, reason
        quoted = f"; its last output:\n{output[-TAIL_CHARACTERS:]}" if output else ""
        super().__init__(f"{what} {reason}{quoted}")


def tail(log_file: Path) -> str:
    """Return the end of a log as text, or nothing where there is no log yet."""
    if not log_file.exists():
        return ""
    return log_file.read_text(encoding="utf-8", errors="replace")[-TAIL_CHARACTERS:]
