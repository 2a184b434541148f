"""Names of files -> what is to be written into them, and whether that can be done.

Every file is written beside its place and moved there when it is whole.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from schemas.errors import ConfigurationError


class Form(StrEnum):
    """What a file holds, by how its name ends; the first ending that fits counts."""

    RAVEN = ".selections.txt"
    AUDACITY = ".txt"
    WAV = ".wav"
    FLAC = ".flac"
    PARQUET = ".parquet"
    CSV = ".csv"
    JSONL = ".jsonl"


PICTURE = ".png"
SOUND, LABELS = (Form.WAV, Form.FLAC), (Form.RAVEN, Form.AUDACITY)


@dataclass(frozen=True, slots=True)
class Target:
    """A file that is asked for.

    Raises:
        ConfigurationError: from `named`, where the name ends in nothing that we write.

    """

    stem: str
    form: Form
    ending: str
    folder: Path

    @classmethod
    def named(cls, file: Path) -> "Target":
        """Read what is asked for from a file's name."""
        for form in Form:
            if file.name.lower().endswith(form) and len(file.name) > len(form):
                return cls(file.name[: -len(form)], form, file.name[-len(form) :], file.parent)
        raise ConfigurationError("--out", str(file), f"a name that ends in {', '.join(Form)}")

    def file(self, number: int = 1) -> Path:
        """Return the file's name; the second is `name-2`."""
        return self.folder / f"{self.stem}{'' if number == 1 else f'-{number}'}{self.ending}"


def check_target(option: str, file: Path, endings: Sequence[str], *, force: bool) -> None:
    """Refuse a file that cannot be written, before there is anything to write.

    Raises:
        ConfigurationError: its name ends in none of these, it is there already and nobody said `force`, or
            its folder is not.

    """
    if not file.name.lower().endswith(tuple(endings)):
        raise ConfigurationError(option, str(file), f"a name that ends in {', '.join(endings)}")
    if not file.absolute().parent.is_dir():
        raise ConfigurationError(option, str(file), "a file in a folder that exists")
    if file.is_dir():
        raise ConfigurationError(option, str(file), "a file, which this is not")
    if file.exists() and not force:
        raise ConfigurationError(option, str(file), "a file that is not there yet, or --force")


@contextmanager
def part_of(file: Path, option: str = "--out") -> Iterator[Path]:
    """Give a file to write to that becomes `file` when it is whole, and is gone when it is not.

    Raises:
        ConfigurationError: it cannot be written: no room, no right.

    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        try:
            yield part
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigurationError(option, str(file), f"a file that can be written: {exc.strerror}") from exc
