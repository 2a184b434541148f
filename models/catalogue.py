"""name -> directory: the models that ship, in `models/catalogue/<name>/<version>/`."""

from pathlib import Path

from schemas.errors import ConfigurationError
from schemas.model import SPEC_FILE

CATALOGUE = Path(__file__).parent / "catalogue"


def find(name: str, own: Path | None = None) -> Path:
    """Return the directory of a model: `earwitness-small/2`, or a path to a directory of one's own.

    `own` is a catalogue of one's own; what it has goes before what ships.

    Raises:
        ConfigurationError: neither the catalogue nor the disk has it; the message says what there is.

    """
    catalogues = [CATALOGUE] if own is None else [own, CATALOGUE]
    for directory in (*(catalogue / name for catalogue in catalogues), Path(name)):
        if _is_file(directory / SPEC_FILE):
            return directory
    known = ", ".join(name for catalogue in catalogues for name in names(catalogue)) or "nothing"
    raise ConfigurationError(
        "model.path", name, f"a directory with {SPEC_FILE}, or a name in the catalogue: {known}"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, or a directory that is not ours to look into
        return False


def names(catalogue: Path = CATALOGUE) -> list[str]:
    """Return the models of a catalogue, by default of those that ship, as `find` takes them."""
    specs = sorted(catalogue.glob(f"*/*/{SPEC_FILE}"))
    return [spec.parent.relative_to(catalogue).as_posix() for spec in specs]
