"""What a run is trained with, and a run folder that remembers it: another one's settings are refused."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models.dataset import TABLE, read_labels
from models.fit import FitSettings
from models.recordings import Sources, write_whole
from models.stage import StageSettings
from models.teacher import TeacherSettings
from schemas.errors import ConfigurationError
from schemas.model import Name, file_digest

LARGEST_SEED = 2**31 - 1
NO_LICENCE = "not stated: see the licences of the recordings that it was trained on"
SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What to train on, where to, and how much care to take.

    Raises:
        ConfigurationError: a value that cannot be.

    """

    sources: Sources
    run: Path
    name: str = "earwitness-small"
    version: str = "2"
    licence: str = NO_LICENCE
    classes: tuple[str, ...] = ()
    """Labels to be told apart; by default every label of the data."""
    teacher: TeacherSettings | None = None
    folds: tuple[int, ...] | None = None
    """Folds to hold out in turn; by default all."""
    validation_fold: int | None = None
    """A fold to stop early by, neither learnt nor tested; by default none, and every step is taken."""
    seeds: tuple[int, ...] = (0,)
    final: bool = True
    """Whether to train a network on all folds too, with the first seed."""
    fit: FitSettings = field(default_factory=FitSettings)
    stage: StageSettings = field(default_factory=StageSettings)
    speeds: tuple[float, ...] = (1.0, 0.8, 0.87, 0.93, 1.07, 1.15, 1.25)
    windows: int = 48_000
    """Of the pool."""
    pretrain_steps: int = 5000
    """On the variety alone, once for all trainings; 0 for none."""
    pretrain_windows: int = 40_000
    generated: int = 4000
    """Sounds that are generated to train on: half of them are nothing."""
    variety: int = 1800
    """Recordings of the variety that are mixed anew in every step, of each of its labels as many."""
    processes: int = 1

    def __post_init__(self) -> None:
        if not self.speeds or self.speeds[0] != 1.0:
            raise ConfigurationError("speeds", self.speeds, "1.0, then others")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigurationError("seeds", self.seeds, "one seed or more, each once")
        if not all(0 <= seed <= LARGEST_SEED for seed in self.seeds):
            raise ConfigurationError("seeds", self.seeds, f"seeds from 0 to {LARGEST_SEED}")
        if self.folds is not None and len(set(self.folds)) != len(self.folds):
            raise ConfigurationError("folds", self.folds, "each fold once")
        for what, name in (("name", self.name), ("version", self.version)):
            check_name(Name, what, name)

    @property
    def pretrains(self) -> bool:
        """Tell whether something is learnt before anything that has a fold."""
        return bool(self.pretrain_steps and self.teacher and self.sources.variety)


def check_name(kind: Any, what: str, name: str) -> None:
    """Refuse a name that is not of a kind.

    Raises:
        ConfigurationError: it is not.

    """
    try:
        TypeAdapter(kind).validate_python(name)
    except ValidationError as exc:
        raise ConfigurationError(what, name, exc.errors()[0]["msg"]) from exc


def claim(settings: TrainSettings) -> None:
    """Write down what the run is made with, and see that it is the same as before.

    Raises:
        ConfigurationError: it is not.

    """
    told = _told(settings)
    file = settings.run / SETTINGS
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        earlier, now = _placeless(before), _placeless(told)
        other = [name for name in now if now[name] != earlier.get(name) and name not in _MAY_CHANGE]
        if other:
            accepted = f"a new folder, or the settings of this one; other now: {', '.join(other)}"
            raise ConfigurationError("run", str(settings.run), accepted)
        told = _added(before, told)
    settings.run.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(told, indent=2) + "\n")


def _placeless(told: dict[str, Any]) -> dict[str, Any]:
    """Return what was told without where the data are: their digests say which they are."""
    sources = {role: len(folders) for role, folders in told["sources"].items() if role != "data"}
    teacher = told["teacher"] and told["teacher"] | {"file": None}
    return told | {"sources": sources, "teacher": teacher}


def _added(before: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Return what was told with the seeds and folds of earlier trainings of the run."""
    folds = [before["folds"], told["folds"]]
    return told | {
        "seeds": list(dict.fromkeys([*before["seeds"], *told["seeds"]])),
        "folds": None if None in folds else sorted({*folds[0], *folds[1]}),
        "final": before["final"] or told["final"],
    }


_MAY_CHANGE = frozenset({"seeds", "folds", "processes", "final", "run", "licence"})
"""More networks may be added to a run."""


def _told(settings: TrainSettings) -> dict[str, Any]:
    digests = {name: folder_digest(folder) for name, folder in settings.sources.folders.items()}
    if settings.teacher is not None and "teacher" in digests:
        raise ConfigurationError("data", "teacher", "folders of other names, where there is a teacher")
    if settings.teacher is not None:
        digests["teacher"] = file_digest(settings.teacher.file)
    told: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return told | {"digests": digests}


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's table and of the files that it names, in hex.

    Raises:
        ConfigurationError: the table or a file cannot be read.

    """
    files = sorted({row.path: row.file for row in read_labels(folder)}.items())
    digest = hashlib.sha256((folder / TABLE).read_bytes())
    for path, file in files:
        try:
            digest.update(f"{path}\0{file_digest(file)}\n".encode())
        except OSError as exc:
            raise ConfigurationError("data", str(file), f"a file that can be read: {exc.strerror}") from exc
    return digest.hexdigest()
