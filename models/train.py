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

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from models import checkpoint
from models.bank import Takes, takes_of
from models.curves import draw_curves
from models.evaluate import clip_accuracy
from models.export import Rule, export
from models.fit import Course, Lesson, fit, repeat_exactly
from models.network import Model
from models.opinions import only_fold, opinions_without
from models.pool import Pool, is_pool, make_pool, open_pool
from models.recordings import Heap, read_heap, with_generated, without_folds, write_whole
from models.stage import Shares, Stage
from models.train_settings import TrainSettings, check_name, claim
from schemas.errors import ConfigurationError
from schemas.model import SPEC_FILE, Label

EVEN_THRESHOLD = 0.5
LARGEST_FOLD = 2**15 - 1
"""Folds of windows are kept as int16."""
CURVE = "curve.json"
POOL, VARIETY_POOL, PRETRAINED = "pool", "variety-pool", "pretrained"
ONLY_VARIETY = Shares(alone=0.0, pair=0.0, stream=0.0, nothing=0.0, variety=1.0, generated=0.0)

Say = Callable[[str, int, int, float], None]
"""Told what is being done, how many steps of how many are done, and the loss, or not a number."""


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
    claim(settings)
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
        check_name(Label, "label", label)


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
