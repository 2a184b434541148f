"""A run of `model train` and a model of it -> a trigger for that model, and what it would lose and save.

pools of the run ─── what the model hears in them ─── trigger
recordings in streams, heard by both ─── threshold ─── figures, of the fold that all of it left out
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from earwitness.evaluation.evidence import EvaluateSettings
from earwitness.evaluation.gate import Gated, choose_threshold, gated, hear_both
from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import backgrounds
from earwitness.evaluation.robustness import Trial
from models.compress.entry import Entry
from models.compress.weights import read_network
from models.dataset import Entry as Row
from models.export import write_spec
from models.features import RATE_HZ
from models.fit import repeat_exactly
from models.pool import is_pool, open_pool
from models.recordings import Heap, Recording, Sources, read_heap
from models.stage import WINDOW_SAMPLES
from models.train import EVEN_THRESHOLD, POOL, VARIETY_POOL
from models.trigger import TriggerSettings, Windows, export_trigger, rule_of, train_trigger
from schemas.errors import ConfigurationError

Tick = Callable[[float], None]
"""Told the loss after every step."""


@dataclass(frozen=True, slots=True)
class Made:
    """A trigger, and what it does in front of its model."""

    entry: Entry
    threshold: float
    figures: Gated

    def as_dict(self) -> dict[str, object]:
        """Return the figures as what JSON can hold."""
        return {"threshold": self.threshold} | asdict(self.figures)


def make_trigger(
    model: Entry,
    run: Path,
    sources: Sources,
    fold: int | None,
    out: Path,
    settings: TriggerSettings,
    tick: Tick,
) -> Made:
    """Train a trigger on the windows of a run, choose its threshold on streams, and measure it.

    With a fold, that takes no part but to measure; without, it is measured on what it was made with.

    Raises:
        ConfigurationError: the run has no windows, or the model is not one that `model train` writes, or a
            recording cannot be read.

    """
    repeat_exactly()
    lessons, heap = windows_of(run, model, fold), read_heap(sources)
    if fold is not None and fold not in heap.folds:
        raise ConfigurationError("--fold", fold, f"a fold of the data: {heap.folds}")
    network, thresholds = read_network(model.graph()), model.spec.thresholds
    trigger = train_trigger(lessons, network, thresholds, settings, lambda _, loss: tick(loss))
    export_trigger(trigger, EVEN_THRESHOLD, model.spec.licence, out)
    heard = Listener.of(out)
    chooses, measures = (_trial(model, heap, fold, held_out=held_out) for held_out in (False, True))
    evaluate = EvaluateSettings(seed=settings.seed)
    rngs = [np.random.default_rng([settings.seed, number]) for number in range(2)]
    threshold = choose_threshold(hear_both(chooses, heard, model.spec, evaluate, rngs[0]))
    pairs = hear_both(measures, heard, model.spec, evaluate, rngs[1])
    behind = [heard.hear_whole(one.pcm, RATE_HZ) for one in measures.backgrounds]
    spec = write_spec(rule_of(threshold), model.spec.licence, out)
    return Made(Entry(out, spec), threshold, gated(pairs, behind, threshold))


def windows_of(run: Path, model: Entry, fold: int | None) -> list[Windows]:
    """Return the windows of a run in which nothing of a fold is heard.

    Raises:
        ConfigurationError: there are none, or they are not such as the model hears.

    """
    if not is_pool(run / POOL):
        raise ConfigurationError("--run", str(run), "the run folder of an `earwitness model train`")
    heard = model.spec.sample_rate_hz, model.spec.window_samples
    if heard != (RATE_HZ, WINDOW_SAMPLES):
        accepted = f"a model of `model train`: windows of {WINDOW_SAMPLES} samples at {RATE_HZ} Hz"
        raise ConfigurationError("model", str(model.directory), accepted)
    pool = open_pool(run / POOL)
    lessons = [(pool, pool.usable(fold))]
    if is_pool(run / VARIETY_POOL):
        variety = open_pool(run / VARIETY_POOL)
        lessons.append((variety, variety.usable(None)))
    return lessons


def _trial(model: Entry, heap: Heap, fold: int | None, *, held_out: bool) -> Trial:
    """Return what a threshold is chosen by, or what of a fold measures; without a fold, everything."""

    def of(recordings: tuple[Recording, ...]) -> list[Row]:
        some = (r for r in recordings if fold is None or (r.fold == fold) == held_out)
        return [Row(r.file, r.path, r.label, r.fold, r.licence, r.source) for r in some]

    listener = Listener.of(model.directory)
    behind = backgrounds(
        of(heap.backgrounds), listener.spec, len(heap.backgrounds), (), np.random.default_rng(0)
    )
    return Trial(listener, of(heap.labelled), behind)
