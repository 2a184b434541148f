"""A model small enough for unit tests, and an environment with no settings in it."""

import os
from pathlib import Path

import pytest

from earwitness.settings import load_settings
from schemas.errors import ConfigurationError
from tests.processors.tiny_model import write_model


def refused(config: Path | None = None, flags: dict[str, str] | None = None) -> str:
    """Return the message with which settings are refused."""
    with pytest.raises(ConfigurationError) as error:
        load_settings(config, flags)
    return str(error.value)


def toml(directory: Path, text: str, name: str = "earwitness.toml") -> Path:
    """Write a file of settings."""
    file = directory / name
    file.write_text(text, "utf-8")
    return file


@pytest.fixture(autouse=True)
def no_settings_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory, without the settings that whoever runs the tests may have."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith("EARWITNESS_") and name != "EARWITNESS_CACHE":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model with the labels `loud` and `high`; windows of 0.2 s, hops of 0.1 s."""
    directory = tmp_path_factory.mktemp("tiny")
    write_model(directory, m=2, n=3)
    return directory
