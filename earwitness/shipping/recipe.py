"""The folders of recordings -> the catalogue: trained, chosen, measured, made smaller, and told in cards.

    train ── networks without each fold, three seeds ─┬─ thresholds ── figures
       └──── a network on all folds ──────────────────┴──── classifier ─┬─ 8 bits
                                                                        └─ trigger

Everything is in the run folder. Networks that are there already are not trained again; what takes minutes,
measuring and the triggers, is. The cards are written from the run's figures.json, some of their limits by
hand.
"""

import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from earwitness.evaluation import gate
from earwitness.evaluation.clips import clip_figures
from earwitness.evaluation.draw import draw
from earwitness.evaluation.evaluate import Figures, measure
from earwitness.evaluation.evidence import EvaluateSettings
from earwitness.evaluation.heard import Heard
from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import hear_clips, recorded
from earwitness.evaluation.report import Report
from earwitness.evaluation.robustness import Trial, points, robustness
from earwitness.evaluation.thresholds import Choice
from earwitness.shipping.card import write_cards
from earwitness.shipping.crosswise import (
    Fold,
    choose,
    choose_crosswise,
    crosswise,
    hear_choosing,
    hear_empty,
    hear_fold,
)
from earwitness.shipping.patterns import Tried, found_by_pattern, try_patterns
from models import checkpoint
from models.compress.edge import export_ort
from models.compress.entry import Entry as Compressible
from models.compress.entry import read_entry
from models.compress.measure import compare, noise_clip, read_clips
from models.compress.quantise import calibration_windows, quantise
from models.dataset import Entry, read_labels
from models.export import Rule, export, write_spec
from models.fit import repeat_exactly
from models.network import Model, Network
from models.pool import open_pool
from models.recordings import Heap, Recording, read_heap
from models.session import check_silence
from models.train import EVEN_THRESHOLD, POOL, VARIETY_POOL, Job, Say, Trained, train
from models.train_settings import TrainSettings
from models.trigger import TriggerSettings, export_trigger, rule_of, train_trigger
from schemas.model import MODEL_FILE, ModelSpec, read_spec

FIGURES = "figures.json"
TRIGGER, TRIGGER_VERSION = "earwitness-trigger", "1"
MORE_NOISE = 4
"""So many times more generated noise for the model that ships: half an hour holds about one kettle."""
TRIGGER_ALARMS = 20
"""Of each kind, in each fold."""
CHOOSING = ("asterisk-core-sounds-es-wav", "asterisk-core-sounds-it-wav", "singularity-music")
"""Packages of the held-out sounds that thresholds are chosen by; the others only measure."""
EVERY_VARIETY = 6
"""Of the sounds that were learned as nothing every so many choose too: what is still found in them counts."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the catalogue is made with."""

    train: TrainSettings
    choosing: Mapping[str, Sequence[Entry]]
    """Negatives that thresholds are chosen by."""
    testing: Mapping[str, Sequence[Entry]]
    """Negatives that only measure."""
    per_hour: float = 2.0
    """False alarms an hour, over all labels, that thresholds are chosen for, on negatives that are harder
    than most places: more than a quarter of them is music, an eighth is generated noise."""
    evaluate: EvaluateSettings = field(default_factory=lambda: EvaluateSettings(passes=2, alarms=24))
    patterns: int = 8
    """Of every pattern of alerts at each SNR, for each network."""
    trigger: TriggerSettings = field(default_factory=TriggerSettings)

    @property
    def labelled(self) -> tuple[Entry, ...]:
        """The recordings that accuracy is counted on."""
        return read_labels(self.train.sources.data)


def parted(held_out: Path, variety: Path) -> tuple[dict[str, list[Entry]], dict[str, list[Entry]]]:
    """Part negatives by package: those that choose, with some of the variety, and those that measure."""
    choosing = {"variety": list(read_labels(variety)[::EVERY_VARIETY])}
    testing: dict[str, list[Entry]] = {}
    for entry in read_labels(held_out):
        package = Path(entry.path).parts[0]
        (choosing if package in CHOOSING else testing).setdefault(package, []).append(entry)
    return choosing, testing


def make_catalogue(recipe: Recipe, catalogue: Path, say: Say) -> dict[str, Any]:
    """Do everything, and return the figures.

    Raises:
        ConfigurationError: a folder cannot be used, or the run was made with other settings.

    """
    run = recipe.train.run
    trained = train(recipe.train, say)
    heap = read_heap(recipe.train.sources, recipe.train.classes)
    folds = _hear_folds(recipe, heap, trained, say)
    empty = hear_choosing(Listener.of(_final(trained).directory), recipe.choosing, recipe.evaluate)
    choice = choose(folds, empty, recipe.per_hour, recipe.evaluate)
    by_fold = choose_crosswise(folds, recipe.per_hour, recipe.evaluate)
    recipe_figures = measure(crosswise(folds, by_fold), recipe.evaluate)
    recipe_figures = replace(recipe_figures, robustness=_robustness(recipe, heap, trained, say))
    shipped = _ship(recipe, catalogue, trained, choice)
    figures: dict[str, Any] = {
        "accuracy": _accuracy(recipe, trained, say),
        "recipe": _told(recipe.evaluate, read_spec(shipped), recipe_figures, choice),
        "patterns": _patterns(recipe, heap, trained, by_fold, say),
        "shipped": _false_alarms(recipe, shipped, choice, say),
        "int8": _quantised(recipe, catalogue, trained, shipped, say),
        "trigger": _trigger(recipe, catalogue, heap, trained, choice, by_fold, say),
        "made_with": json.loads((run / "settings.json").read_text(encoding="utf-8")),
    }
    draw(recipe_figures, run)
    (run / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    write_cards(figures, heap, catalogue, catalogue / TRIGGER / TRIGGER_VERSION)
    return figures


def network_of(recipe: Recipe, job: Job, labels: int) -> Network:
    """Return the network that a job trained."""
    network = Network(labels, recipe.train.fit.layers)
    checkpoint.restore_network(network, recipe.train.run / job.name)
    return network


def _of_seed(trained: Sequence[Trained], seed: int) -> list[Trained]:
    return [one for one in trained if one.job.seed == seed and one.job.held_out is not None]


def _final(trained: Sequence[Trained]) -> Trained:
    return next(one for one in trained if one.job.held_out is None)


def _trial(recipe: Recipe, heap: Heap, one: Trained) -> Trial:
    """Return a network with the fold it was kept from, and that fold's ambience."""
    entries = [entry for entry in recipe.labelled if entry.fold == one.job.held_out]
    behind = _ambience(heap, one)
    listener = Listener.of(one.directory)
    rate_hz = listener.spec.sample_rate_hz
    return Trial(listener, entries, recorded(behind, rate_hz, len(behind), np.random.default_rng(0)))


def _ambience(heap: Heap, one: Trained) -> list[Entry]:
    """Return the ambience that a network was trained without."""
    return [_entry(r) for r in heap.backgrounds if r.fold == one.job.held_out]


def _entry(recording: Recording) -> Entry:
    r = recording
    return Entry(r.file, r.path, r.label, r.fold, r.licence, r.source)


def _hear_folds(recipe: Recipe, heap: Heap, trained: Sequence[Trained], say: Say) -> list[Fold]:
    first = _of_seed(trained, recipe.train.seeds[0])
    folds = []
    for number, one in enumerate(first):
        trial = _trial(recipe, heap, one)
        ambience = _ambience(heap, one)
        folds.append(hear_fold(trial, number, ambience, recipe.choosing, recipe.evaluate))
        say("folds heard", number + 1, len(first), float("nan"))
    return folds


def _robustness(
    recipe: Recipe, heap: Heap, trained: Sequence[Trained], say: Say
) -> Mapping[str, tuple[Any, ...]]:
    trials = [_trial(recipe, heap, one) for one in _of_seed(trained, recipe.train.seeds[0])]
    steps = count(1)
    return robustness(
        trials, recipe.evaluate.seed, lambda: say("robustness", next(steps), points(), float("nan"))
    )


def _patterns(
    recipe: Recipe, heap: Heap, trained: Sequence[Trained], by_fold: Sequence[Choice], say: Say
) -> dict[str, Any]:
    """Let the first seed's networks hear the second generator's patterns over the ambience of its fold."""
    tried, of_folds = list[Tried](), _of_seed(trained, recipe.train.seeds[0])
    for number, (one, choice) in enumerate(zip(of_folds, by_fold, strict=True), start=1):
        trial, seed = _trial(recipe, heap, one), [recipe.evaluate.seed, 3, number]
        tried += try_patterns(trial, choice.into(trial.listener.spec), recipe.patterns, seed)
        say("patterns", number, len(of_folds), float("nan"))
    return found_by_pattern(tried)


def _accuracy(recipe: Recipe, trained: Sequence[Trained], say: Say) -> dict[str, Any]:
    """Measure clip accuracy of every seed and fold, through the pipeline."""
    by_seed: dict[str, dict[str, Any]] = {}
    means = []
    for number, seed in enumerate(recipe.train.seeds, start=1):
        clips, folds = [], {}
        for one in _of_seed(trained, seed):
            entries = [entry for entry in recipe.labelled if entry.fold == one.job.held_out]
            heard = list(hear_clips(Listener.of(one.directory), entries))
            folds[str(one.job.held_out)] = clip_figures(heard).accuracy.value
            clips += heard
        found = clip_figures(clips)
        means.append(float(np.mean([value for value in folds.values() if value is not None])))
        by_seed[str(seed)] = {
            "folds": folds,
            "mean_of_folds": means[-1],
            "all": asdict(found.accuracy),
            "confusion": {"labels": found.labels, "counts": found.confusion},
            "wrong": found.wrong,
        }
        say("accuracy", number, len(recipe.train.seeds), float("nan"))
    return {"by_seed": by_seed, "mean": float(np.mean(means)), "spread": float(np.std(means))}


def _ship(recipe: Recipe, catalogue: Path, trained: Sequence[Trained], choice: Choice) -> Path:
    """Export the network of all folds with what was chosen."""
    directory = catalogue / recipe.train.name / recipe.train.version
    network = network_of(recipe, _final(trained).job, len(choice.labels))
    rule = Rule(choice.thresholds, *choice.windows)
    export(Model(network), rule, recipe.train.licence, directory)
    return directory


def _told(settings: EvaluateSettings, spec: ModelSpec, figures: Figures, choice: Choice) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Report(spec, {}, settings, figures, choice).as_json())
    return told


def _false_alarms(recipe: Recipe, shipped: Path, choice: Choice, say: Say) -> dict[str, Any]:
    """Count what the model that ships finds where there is nothing, in sounds it has never heard."""
    listener = Listener.of(shipped)
    settings = replace(
        recipe.evaluate,
        seed=recipe.evaluate.seed + 1000,
        noise_hours=MORE_NOISE * recipe.evaluate.noise_hours,
    )
    evidence = hear_empty(listener, recipe.testing, settings)
    say("false alarms", 1, 1, float("nan"))
    return _told(settings, listener.spec, measure(evidence, settings), choice)


def _quantised(
    recipe: Recipe, catalogue: Path, trained: Sequence[Trained], shipped: Path, say: Say
) -> dict[str, Any]:
    """Quantise the network of every fold to measure what it costs, and the one that ships."""
    folds, data = {}, recipe.train.sources.data
    for one in _of_seed(trained, recipe.train.seeds[0]):
        before, fold = read_entry(one.directory), one.job.held_out
        out = one.directory.parent.parent / f"{recipe.train.name}-int8" / recipe.train.version
        after = quantise(before, calibration_windows(data, before.spec, fold), out)
        folds[str(fold)] = compare(before, after, read_clips(data, before.spec, fold)).as_dict()
        say("8 bits", len(folds), len(_of_seed(trained, recipe.train.seeds[0])), float("nan"))
    before = read_entry(shipped)
    out = catalogue / f"{recipe.train.name}-int8" / recipe.train.version
    after = quantise(before, calibration_windows(data, before.spec), out)
    final = compare(before, after, read_clips(data, before.spec)).as_dict()
    return {"folds": folds, "shipped": final}


def _trigger(
    recipe: Recipe,
    catalogue: Path,
    heap: Heap,
    trained: Sequence[Trained],
    choice: Choice,
    by_fold: Sequence[Choice],
    say: Say,
) -> dict[str, Any]:
    """Train a trigger for every fold to choose its threshold and to measure it, then the one that ships."""
    shipped, of_folds = catalogue / TRIGGER / TRIGGER_VERSION, _of_seed(trained, recipe.train.seeds[0])
    directories = [one.directory.parent.parent / TRIGGER / TRIGGER_VERSION for one in of_folds]
    lessons = [*zip(of_folds, by_fold, directories, strict=True), (_final(trained), choice, shipped)]
    _train_triggers(recipe, lessons, say)
    pairs, behind = {}, {}
    for one, chosen, directory in lessons[:-1]:
        fold, trial = str(one.job.held_out), _trial(recipe, heap, one)
        pairs[fold], behind[fold] = _heard_by_both(recipe, int(fold), trial, chosen, directory)
    told, thresholds = {}, {}
    for fold in pairs:
        others = [pair for other, of_other in pairs.items() if other != fold for pair in of_other]
        thresholds[fold] = gate.choose_threshold(others)
        told[fold] = asdict(gate.gated(pairs[fold], behind[fold], thresholds[fold]))
    threshold = gate.choose_threshold([pair for of_fold in pairs.values() for pair in of_fold])
    write_spec(rule_of(threshold), recipe.train.licence, shipped)
    check_silence(shipped / MODEL_FILE, [threshold])
    main = read_entry(catalogue / recipe.train.name / recipe.train.version)
    speed = compare(main, Compressible(shipped, read_spec(shipped)), (noise_clip(main.spec),))
    export_ort(Compressible(shipped, read_spec(shipped)), shipped)
    return {"folds": told, "thresholds": thresholds, "threshold": threshold, "speed": speed.as_dict()}


def _train_triggers(recipe: Recipe, lessons: Sequence[tuple[Trained, Choice, Path]], say: Say) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(recipe.train.processes, context) as processes:
        futures = [processes.submit(_train_trigger, recipe, *lesson) for lesson in lessons]
        for number, future in enumerate(as_completed(futures), start=1):
            say("triggers", number, len(lessons), future.result())


def _train_trigger(recipe: Recipe, one: Trained, choice: Choice, directory: Path) -> float:
    """Train a trigger for a network, export it with a threshold of a half, and return its last loss."""
    repeat_exactly()
    run, losses = recipe.train.run, [float("nan")]
    pool = open_pool(run / POOL)
    lessons = [(pool, pool.usable(one.job.held_out))]
    if recipe.train.pretrains:
        variety = open_pool(run / VARIETY_POOL)
        lessons.append((variety, variety.usable(None)))
    network = network_of(recipe, one.job, len(choice.labels))
    trigger = train_trigger(
        lessons,
        network,
        choice.thresholds,
        recipe.trigger,
        lambda _, loss: losses.append(loss),
    )
    export_trigger(trigger, EVEN_THRESHOLD, recipe.train.licence, directory)
    return losses[-1]


def _heard_by_both(
    recipe: Recipe, fold: int, trial: Trial, choice: Choice, directory: Path
) -> tuple[list[gate.Pair], list[Heard]]:
    """Hear streams of a fold with its network and its trigger, and the fold's ambience with the trigger."""
    spec, trigger = trial.listener.spec, Listener.of(directory)
    settings, rng = (
        replace(recipe.evaluate, alarms=TRIGGER_ALARMS),
        np.random.default_rng([recipe.evaluate.seed + 2, fold]),
    )
    pairs = gate.hear_both(trial, trigger, choice.into(spec), settings, rng)
    return pairs, [trigger.hear_whole(behind.pcm, spec.sample_rate_hz) for behind in trial.backgrounds]
