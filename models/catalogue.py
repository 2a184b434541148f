"""name -> directory: the models that ship, in `models/catalogue/<name>/<version>/`."""

from pathlib import Path

from schemas.errors import ConfigurationError
from schemas.model import SPEC_FILE

CATALOGUE = Path(__file__).parent / "catalogue"


def find(name: str) -> Path:
    """Return the directory of a model: `earwitness-small/1`, or a path to a directory of one's own.

    Raises:
        ConfigurationError: neither the catalogue nor the disk has it; the message says what there is.

    """
    for directory in (CATALOGUE / name, Path(name)):
        if (directory / SPEC_FILE).is_file():
            return directory
    known = ", ".join(names()) or "nothing"
    raise ConfigurationError(
        "model.path", name, f"a directory with {SPEC_FILE}, or a name in the catalogue: {known}"
    )


def names() -> list[str]:
    """Return the models that ship, as `find` takes them."""
    specs = sorted(CATALOGUE.glob(f"*/*/{SPEC_FILE}"))
    return [spec.parent.relative_to(CATALOGUE).as_posix() for spec in specs]
