"""Models are found by name or by directory, and a wrong name says what there is."""

import subprocess
import sys
from pathlib import Path

import pytest

from models import catalogue
from schemas.errors import ConfigurationError
from schemas.model import read_spec

SMALL = "earwitness-small/2"


def test_a_name_finds_the_model_that_ships() -> None:
    assert catalogue.find(SMALL) == catalogue.CATALOGUE / "earwitness-small" / "2"
    assert SMALL in catalogue.names()


def test_a_path_finds_a_model_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{}")
    assert catalogue.find(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["earwitness-small", "earwitness-huge/1", "/nowhere", ""])
def test_an_unknown_name_is_refused_with_the_names_that_exist(name: str) -> None:
    with pytest.raises(ConfigurationError, match=SMALL):
        catalogue.find(name)


def test_every_model_that_ships_has_a_valid_spec_and_the_digest_it_names() -> None:
    for name in catalogue.names():
        spec = read_spec(catalogue.find(name))
        assert f"{spec.name}/{spec.version}" == name


def test_finding_a_model_does_not_import_torch() -> None:
    code = "import sys, models.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
