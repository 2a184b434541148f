"""A run of `model train` and a model of it -> a trigger for that model, and what it would lose and save.

pools of the run ─── what the model hears in them ─── trigger
recordings in streams, heard by both ─── threshold ─── figures, of the fold that all of it left out
"""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.evaluation.evidence import NOISE, EvaluateSettings
from earwitness.evaluation.gate import Gated, Pair, choose_threshold, gated, hear_both, hear_model
from earwitness.evaluation.intervals import Share
from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import allowed, backgrounds
from earwitness.evaluation.robustness import Trial
from models.bank import HOP_SAMPLES, WINDOW_SAMPLES
from models.compress.edge import export_ort
from models.compress.entry import Entry
from models.dataset import Entry as Row
from models.export import write_spec
from models.features import RATE_HZ
from models.fit import repeat_exactly
from models.pool import is_pool, open_pool
from models.recordings import Heap, Recording, Sources, folder_name, read_heap
from models.session import check_silence
from models.train import EVEN_THRESHOLD, POOL, VARIETY_POOL
from models.train_settings import SETTINGS, check_name, folder_digest
from models.trigger import (
    TriggerSettings,
    Windows,
    export_trigger,
    read_trained,
    rule_of,
    train_trigger,
)
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, Name, read_spec

RUN = "the run folder of an `earwitness model train`"

Tick = Callable[[float], None]
"""Told the loss after every step."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which model is to get a trigger, from which run and recordings, and where to."""

    model: Entry
    run: Path
    sources: Sources
    """Recordings and ambience of the run."""
    fold: int | None
    """It takes no part but to measure; without one, what is measured on was learned and chosen by."""
    out: Path


@dataclass(frozen=True, slots=True)
class Made:
    """A trigger, and what it does in front of its model."""

    entry: Entry
    threshold: float
    chosen: Share
    """Of the detections that the threshold was chosen by: those that pass."""
    figures: Gated
    background: str
    """What was rejected: ambience, or generated noise where there is none of the fold."""

    def as_dict(self) -> dict[str, object]:
        """Return the figures as what JSON can hold."""
        told = {"threshold": self.threshold, "background": self.background}
        return told | {"chosen": asdict(self.chosen)} | asdict(self.figures)


def make_trigger(wanted: Wanted, settings: TriggerSettings, tick: Tick) -> Made:
    """Train a trigger on the windows of a run, choose its threshold on streams, and measure it.

    Raises:
        ConfigurationError: the run has no windows or is of other recordings, the model is not one that `model
            train` writes or detects nothing, the fold is not of the data, a recording cannot be read, or
            what was made hears something in silence. Nothing is written then.

    """
    repeat_exactly()
    model, out = wanted.model, wanted.out.resolve()
    _check_out(model, out)
    lessons, heap = windows_of(wanted.run, model, wanted.fold), _heap(wanted)
    chooses, measures = trials(model, heap, wanted.fold)
    _check_found(chooses, settings.seed)
    network = read_trained(model)
    thresholds = {label: model.spec.thresholds[label] for label in model.spec.labels}
    trigger = train_trigger(lessons, network, thresholds, settings, lambda _, loss: tick(loss))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".being-written-", dir=out.parent) as scratch:
        beside = Path(scratch) / out.parent.name / out.name
        export_trigger(trigger, EVEN_THRESHOLD, model.spec.licence, beside)
        pairs = [_heard(trial, beside, settings.seed, n) for n, trial in enumerate((chooses, measures))]
        threshold = choose_threshold(pairs[0])
        check_silence(beside / MODEL_FILE, [threshold])
        entry = Entry(beside, write_spec(rule_of(threshold), model.spec.licence, beside))
        heard = Listener.of(beside)
        behind = [heard.hear_whole(one.pcm, RATE_HZ) for one in measures.backgrounds]
        export_ort(entry, beside)
        out.mkdir(exist_ok=True)
        for file in sorted(beside.iterdir()):
            file.replace(out / file.name)
    chosen, figures = gated(pairs[0], (), threshold).passed, gated(pairs[1], behind, threshold)
    background = "ambience" if _ambience(model, heap, wanted.fold, held_out=True) else NOISE
    return Made(Entry(out, read_spec(out)), threshold, chosen, figures, background)


def windows_of(run: Path, model: Entry, fold: int | None) -> list[Windows]:
    """Return the windows of a run in which nothing of a fold is heard.

    Raises:
        ConfigurationError: there are none, or they are not such as the model hears.

    """
    if not is_pool(run / POOL):
        raise ConfigurationError("--run", str(run), RUN)
    heard = model.spec.sample_rate_hz, model.spec.window_samples, model.spec.hop_samples
    if heard != (RATE_HZ, WINDOW_SAMPLES, HOP_SAMPLES):
        accepted = f"windows of {WINDOW_SAMPLES} samples, {HOP_SAMPLES} apart, at {RATE_HZ} Hz"
        raise ConfigurationError("model", str(model.directory), f"one of `model train`: {accepted}")
    pool = open_pool(run / POOL)
    lessons = [(pool, pool.usable(fold))]
    if is_pool(run / VARIETY_POOL):
        variety = open_pool(run / VARIETY_POOL)
        lessons.append((variety, variety.usable(None)))
    if not lessons[0][1].size:
        raise ConfigurationError("--fold", fold, f"a fold that is not all of {run}: nothing is left to learn")
    return lessons


def trials(model: Entry, heap: Heap, fold: int | None) -> tuple[Trial, Trial]:
    """Return what a threshold is chosen by, and what of a fold measures; without a fold, everything twice.

    Raises:
        ConfigurationError: the fold is not of the data, or a part has no recording of the model's labels.

    """
    if fold is not None and fold not in heap.folds:
        raise ConfigurationError("--fold", fold, f"a fold of the data: {heap.folds}")
    listener = Listener.of(model.directory)

    chooses, measures = (_trial(model, listener, heap, fold, held_out=part) for part in (False, True))
    return chooses, measures


def _trial(model: Entry, listener: Listener, heap: Heap, fold: int | None, *, held_out: bool) -> Trial:
    behind = _ambience(model, heap, fold, held_out=held_out)
    drawn = backgrounds(behind, model.spec, len(behind), (), np.random.default_rng(0))
    trial = Trial(listener, _of(heap.labelled, fold, held_out=held_out), drawn)
    if not trial.known:
        accepted = f"recordings of {', '.join(model.spec.labels[:12])}, in the fold and outside of it"
        raise ConfigurationError("--data", f"fold {fold}", accepted)
    return trial


def _check_out(model: Entry, out: Path) -> None:
    """Refuse a directory that cannot be written, or is the model's own."""
    there = next(place for place in (out, *out.parents) if place.exists())
    if out == model.directory.resolve() or not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigurationError("--out", str(out), "a directory that may be written and is not the model's")
    for part in (out.parent.name, out.name):
        check_name(Name, "--out", part)


def _heap(wanted: Wanted) -> Heap:
    """Read the recordings, which must be those of the run: else its folds mean something else."""
    try:
        told: dict[str, Any] = json.loads((wanted.run / SETTINGS).read_text(encoding="utf-8"))
        made_of, digests, classes = told["sources"], told["digests"], told["classes"]
        data = [digests[folder_name(Path(made_of["data"]))]]
        ambience = [digests[folder_name(Path(folder))] for folder in made_of["ambience"]]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ConfigurationError("--run", str(wanted.run), RUN) from exc
    given = [(wanted.sources.data, "--data", data)]
    given += [(folder, "--ambience", ambience) for folder in wanted.sources.ambience]
    for folder, option, known in given:
        if folder_digest(folder) not in known:
            raise ConfigurationError(option, str(folder), f"what {wanted.run} is made of, unchanged")
    return read_heap(wanted.sources, classes)


def _heard(trial: Trial, trigger: Path, seed: int, number: int) -> list[Pair]:
    settings, rng = EvaluateSettings(seed=seed), np.random.default_rng([seed, number])
    return hear_both(trial, Listener.of(trigger), trial.listener.spec, settings, rng)


def _check_found(chooses: Trial, seed: int) -> None:
    """Refuse a model that detects nothing in what a threshold is to be chosen by."""
    spec, settings = chooses.listener.spec, EvaluateSettings(seed=seed)
    heard = hear_model(chooses, spec, settings, np.random.default_rng([seed, 0]))
    if not any(one.found for _, one in heard):
        accepted = "thresholds at which the model detects something: `model evaluate --choose-thresholds`"
        raise ConfigurationError("thresholds", dict(spec.thresholds), accepted)


def _of(recordings: Sequence[Recording], fold: int | None, *, held_out: bool) -> list[Row]:
    """Return the recordings of a fold, or all others; without a fold all of them."""
    some = (r for r in recordings if fold is None or (r.fold == fold) == held_out)
    return [Row(r.file, r.path, r.label, r.fold, r.licence, r.source) for r in some]


def _ambience(model: Entry, heap: Heap, fold: int | None, *, held_out: bool) -> tuple[Row, ...]:
    return allowed(_of(heap.backgrounds, fold, held_out=held_out), model.spec.labels, ())
