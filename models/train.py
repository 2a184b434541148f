"""Folders of recordings -> a run folder: networks trained without each fold, and one that has heard all.

    <run>/settings.json           what it was made with, and the digests of the data
    <run>/pool/                   windows of mixed streams, and what the teacher made of each
    <run>/seed-0/without-1/       a training: its state while it runs, then curve.json and
          …/<name>/<version>/     the model, not to be shipped: fold 1 measures it
    <run>/seed-0/all/<name>/<version>/
    <run>/curves.png

A run that was stopped goes on where it was; one whose settings or data have changed is refused. Thresholds
are a half until `earwitness` has measured the networks of the folds.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models import checkpoint
from models.bank import Takes, takes_of
from models.curves import draw_curves
from models.dataset import TABLE, read_labels
from models.evaluate import clip_accuracy
from models.export import Rule, export
from models.fit import Course, FitSettings, Lesson, fit, repeat_exactly
from models.network import Model
from models.opinions import only_fold, opinions_without
from models.pool import Pool, is_pool, make_pool, open_pool
from models.recordings import Heap, Sources, read_heap, with_generated, without_folds, write_whole
from models.stage import Shares, Stage, StageSettings
from models.teacher import TeacherSettings
from schemas.errors import ConfigurationError
from schemas.model import SPEC_FILE, Label, Name, file_digest

EVEN_THRESHOLD = 0.5
LARGEST_FOLD = 2**15 - 1
"""Folds of windows are kept as int16."""
LARGEST_SEED = 2**31 - 1
NO_LICENCE = "not stated: see the licences of the recordings that it was trained on"
SETTINGS, CURVE = "settings.json", "curve.json"
POOL, VARIETY_POOL, PRETRAINED = "pool", "variety-pool", "pretrained"
ONLY_VARIETY = Shares(alone=0.0, pair=0.0, stream=0.0, nothing=0.0, variety=1.0)

Say = Callable[[str, int, int, float], None]
"""Told what is being done, how many steps of how many are done, and the loss, or not a number."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What to train on, where to, and how much care to take."""

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
    generated: int = 3000
    """Sounds that are generated to train on."""
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
            _check_name(Name, what, name)

    @property
    def pretrains(self) -> bool:
        """Tell whether something is learnt before anything that has a fold."""
        return bool(self.pretrain_steps and self.teacher and self.sources.variety)


def _check_name(kind: Any, what: str, name: str) -> None:
    try:
        TypeAdapter(kind).validate_python(name)
    except ValidationError as exc:
        raise ConfigurationError(what, name, exc.errors()[0]["msg"]) from exc


@dataclass(frozen=True, slots=True)
class Job:
    """One network to be trained, and the fold that it is kept from."""

    seed: int
    held_out: int | None

    @property
    def name(self) -> str:
        """The folder of the training in the run, such as `seed-0/without-1`."""
        return f"seed-{self.seed}/{'all' if self.held_out is None else f'without-{self.held_out}'}"


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that was trained."""

    job: Job
    directory: Path
    accuracy: float
    """A first look: the share of the held-out fold's recordings that were guessed right, or NaN."""
    course: Course


def train(settings: TrainSettings, say: Say) -> list[Trained]:
    """Train every network of a run that is not there yet, and draw the curves.

    Raises:
        ConfigurationError: the data cannot be used, the run was made with other settings, or a model fails
            its checks.

    """
    repeat_exactly()
    jobs = _jobs(settings, read_heap(settings.sources, settings.classes))
    _claim(settings)
    heap = _heap(settings)
    _pools(settings, heap, say)
    _pretrain(settings, heap, say)
    trained = sorted(_all(settings, heap, jobs, say), key=lambda one: jobs.index(one.job))
    draw_curves({one.job.name: one.course for one in trained}, settings.run / "curves.png")
    return trained


def _pools(settings: TrainSettings, heap: Heap, say: Say) -> None:
    """Make the pool, and another of the variety alone where that is learnt first."""
    wanted = [(POOL, settings.stage, settings.windows)]
    if settings.pretrains:
        alone = replace(settings.stage, shares=ONLY_VARIETY)
        wanted.append((VARIETY_POOL, alone, settings.pretrain_windows))
    for number, (name, stage, windows) in enumerate(wanted):
        if not is_pool(settings.run / name):
            tick = _counting(say, name, windows)
            make_pool(Stage(heap, stage), settings.teacher, windows, number, settings.run / name, tick)


def _pretrain(settings: TrainSettings, heap: Heap, say: Say) -> None:
    """Learn what the teacher makes of the variety, in which no fold has a part: all trainings begin there."""
    folder, steps = settings.run / PRETRAINED, settings.pretrain_steps
    if not settings.pretrains or (folder / CURVE).is_file():
        return
    pool, classes = open_pool(settings.run / VARIETY_POOL), len(heap.classes)
    lesson = Lesson(None, opinions_without(pool, classes, heap.folds), classes)
    tick = partial(_say_steps, say, PRETRAINED, steps)
    _, course = fit(lesson, replace(settings.fit, steps=steps), 0, tick, folder)
    write_whole(folder / CURVE, json.dumps(asdict(course)))


def _say_steps(say: Say, name: str, steps: int, done: int, loss: float) -> None:
    say(name, done, steps, loss)


def _counting(say: Say, name: str, windows: int) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        say(f"windows of {name}", done, windows, float("nan"))

    return count


def _heap(settings: TrainSettings) -> Heap:
    heap = read_heap(settings.sources, settings.classes)
    return with_generated(heap, settings.generated, settings.run / "generated")


def _jobs(settings: TrainSettings, heap: Heap) -> list[Job]:
    """List the networks that are to be trained, and refuse what cannot be.

    Raises:
        ConfigurationError: a label cannot be one, a fold is not of the data, there is nothing to train, or
            nothing to train on.

    """
    _check_labels(heap.classes)
    _check_folds(settings, heap)
    folds = heap.folds if settings.folds is None else settings.folds
    held_out = [fold for fold in folds if fold != settings.validation_fold]
    jobs = [Job(seed, fold) for seed in settings.seeds for fold in held_out]
    jobs += [Job(settings.seeds[0], None)] if settings.final else []
    if not jobs:
        raise ConfigurationError("folds", list(folds), "a fold to hold out, or a network on all (--final)")
    for job in jobs:
        if not without_folds(heap.labelled, _kept_from(settings, job)):
            raise ConfigurationError("folds", job.name, "a recording of a class that is left to train on")
    return jobs


def _check_labels(labels: Sequence[str]) -> None:
    if len(set(labels)) != len(labels):
        raise ConfigurationError("classes", list(labels), "each label once")
    for label in labels:
        _check_name(Label, "label", label)


def _check_folds(settings: TrainSettings, heap: Heap) -> None:
    if heap.folds and heap.folds[-1] > LARGEST_FOLD:
        raise ConfigurationError("folds", heap.folds[-1], f"folds of the data up to {LARGEST_FOLD}")
    asked = {*(settings.folds or ()), settings.validation_fold} - {None}
    odd = sorted(fold for fold in asked if fold is not None and fold not in heap.folds)
    if odd:
        raise ConfigurationError("folds", odd, f"folds of the data: {heap.folds}")


def _kept_from(settings: TrainSettings, job: Job) -> tuple[int, ...]:
    """Return the folds that a network must not have heard."""
    return tuple(fold for fold in (job.held_out, settings.validation_fold) if fold is not None)


def _claim(settings: TrainSettings) -> None:
    """Write down what the run is made with, and see that it is the same as before."""
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
    """Return the SHA-256 of a folder's table and of the files that it names, in hex."""
    digest = hashlib.sha256((folder / TABLE).read_bytes())
    for path, file in sorted({row.path: row.file for row in read_labels(folder)}.items()):
        digest.update(f"{path}\0{file_digest(file)}\n".encode())
    return digest.hexdigest()


def _all(settings: TrainSettings, heap: Heap, jobs: Sequence[Job], say: Say) -> Iterator[Trained]:
    done = [job for job in jobs if (_folder(settings, job) / CURVE).is_file()]
    todo = [job for job in jobs if job not in done]
    yield from (_found(settings, job) for job in done)
    if settings.processes == 1 or len(todo) < 2:
        takes = takes_of(heap, settings.speeds, settings.variety, 0) if todo else None
        yield from (_train(settings, takes, job, say) for job in todo if takes is not None)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(settings.processes, context, _prepare, (settings,)) as processes:
        futures = [processes.submit(_train_here, job) for job in todo]
        for number, future in enumerate(as_completed(futures), start=1):
            say("networks", number, len(todo), future.result().course.losses[-1])
            yield future.result()


_here: dict[str, Any] = {}
"""What a process of its own has read, once for all of its trainings."""


def _prepare(settings: TrainSettings) -> None:
    repeat_exactly()
    _here.update(settings=settings, takes=takes_of(_heap(settings), settings.speeds, settings.variety, 0))


def _train_here(job: Job) -> Trained:
    return _train(_here["settings"], _here["takes"], job, lambda *_: None)


def _train(settings: TrainSettings, takes: Takes, job: Job, say: Say) -> Trained:
    """Train one network, export it, and take a first look at it."""
    repeat_exactly()
    pool = open_pool(settings.run / POOL)
    lesson = _lesson(settings, takes, pool, _kept_from(settings, job))
    folder = _folder(settings, job)
    network, course = fit(
        lesson,
        settings.fit,
        job.seed,
        partial(_say_steps, say, job.name, settings.fit.steps),
        folder,
        settings.run / PRETRAINED if settings.pretrains else None,
    )
    checkpoint.save_network(network, folder)
    heap, model = takes.heap, Model(network)
    rule = Rule(dict.fromkeys(heap.labels, EVEN_THRESHOLD))
    export(model, rule, settings.licence, _directory(settings, job))
    held_out = [r for r in heap.labelled if r.fold == job.held_out and r.fold is not None]
    accuracy = clip_accuracy(model, held_out, heap.classes)
    curve = asdict(course) | {"accuracy": accuracy}
    write_whole(folder / CURVE, json.dumps(curve))
    return Trained(job, _directory(settings, job), accuracy, course)


def _lesson(settings: TrainSettings, takes: Takes, pool: Pool, kept_from: tuple[int, ...]) -> Lesson:
    classes = len(takes.heap.classes)
    validation = settings.validation_fold
    opinions = opinions_without(pool, classes, kept_from, settings.run / POOL)
    return Lesson(
        bank=takes.bank(kept_from),
        opinions=opinions,
        classes=classes,
        validation=None if validation is None else only_fold(pool, validation),
        empty=(opinions.of(open_pool(settings.run / VARIETY_POOL)),) if settings.pretrains else (),
    )


def _found(settings: TrainSettings, job: Job) -> Trained:
    folder = _folder(settings, job)
    told = json.loads((folder / CURVE).read_text(encoding="utf-8"))
    directory = _directory(settings, job)
    if not (directory / SPEC_FILE).is_file():
        raise ConfigurationError("run", str(directory), "the model that was trained here; remove the folder")
    return Trained(job, directory, told["accuracy"], Course(told["losses"], told["validation"]))


def _folder(settings: TrainSettings, job: Job) -> Path:
    return settings.run / job.name


def _directory(settings: TrainSettings, job: Job) -> Path:
    return _folder(settings, job) / settings.name / settings.version
