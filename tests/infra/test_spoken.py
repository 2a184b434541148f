"""Every sentence is spoken, by a program that the tests write."""

import stat
from pathlib import Path

import pytest

from infra.local.debian import Program
from infra.local.errors import ServerStartError
from infra.local.spoken import SENTENCES, VARIANTS, speak


def program(path: Path, script: str) -> Program:
    """Write a program that stands where a package would have put it."""
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Program(path)


def test_every_sentence_is_said_in_every_variant_with_the_voices_that_came_along(tmp_path: Path) -> None:
    voices = tmp_path / "usr" / "lib" / "x86_64" / "espeak-ng-data"
    voices.mkdir(parents=True)
    # -v VOICE -s SPEED -p PITCH -w FILE -- TEXT
    espeak = program(tmp_path / "usr" / "bin" / "espeak-ng", 'echo "$ESPEAK_DATA_PATH $2 ${10}" > "$8"')
    speak(espeak, tmp_path / "spoken")
    assert len(list((tmp_path / "spoken").iterdir())) == len(SENTENCES) * len(VARIANTS)
    said = (tmp_path / "spoken" / "de+f2.wav").read_text(encoding="utf-8")
    assert said == f"{voices.parent} de+f2 {SENTENCES['de']}\n"


def test_a_program_that_cannot_speak_is_named(tmp_path: Path) -> None:
    espeak = program(tmp_path / "usr" / "bin" / "espeak-ng", "exit 3")
    with pytest.raises(ServerStartError, match=r"espeak-ng could not speak.*exit status 3"):
        speak(espeak, tmp_path / "spoken")
