"""Commands run as operators run them: what they print, and how they end."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.harness import Tenant, command, variables, worker_settings

WELL, BROKEN, WARNINGS, WRONG_SETTINGS = 0, 1, 3, 2


@dataclass(frozen=True, slots=True)
class Done:
    """What a command printed, and how it ended."""

    out: bytes
    said: str
    code: int

    @property
    def lines(self) -> list[dict[str, Any]]:
        """One JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(where: dict[str, object], *arguments: str) -> Done:
    """Run a command as an operator does."""
    told = {"PATH": os.environ["PATH"], "COLUMNS": "200", **variables(where)}
    done = subprocess.run(command(*arguments), env=told, capture_output=True, timeout=120)
    return Done(done.stdout, done.stderr.decode(), done.returncode)


def settings_of(tenant: Tenant, model: Path) -> dict[str, object]:
    return {key: value for key, value in worker_settings(tenant, model).items() if key != "status.port"}


def found(findings: Sequence[dict[str, Any]], check: str, level: str) -> str:
    """Return what a check found on a level, as text to look into."""
    return "\n".join(
        f"{one['subject']}: {one['found']}: {one['advice']}"
        for one in findings
        if (one["check"], one["level"]) == (check, level)
    )
