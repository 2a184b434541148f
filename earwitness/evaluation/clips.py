"""Heard recordings and their labels -> how often a whole recording is named rightly, and as what it is taken.

The guess is among the labels that the table has and the model knows. A recording of any other label is a
negative, and has no part in this.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from earwitness.evaluation.heard import Heard
from earwitness.evaluation.intervals import Share, share


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording, what it is, and what was heard in it."""

    path: str
    label: str
    heard: Heard


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """How a label's recordings fared; None where a figure has no meaning."""

    recordings: int
    guessed: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """Of recordings: how many are named rightly, by label, and the confusion matrix.

    `confusion[i][j]` counts recordings of `labels[i]` that were taken for `labels[j]`; `unheard` those of
    which no window was scored, or that are silent (they are wrong guesses, too). `wrong` names them: path,
    label, guess. `unknown` counts the recordings of labels that the model does not know.
    """

    accuracy: Share
    labels: tuple[str, ...]
    by_label: dict[str, LabelFigures]
    confusion: tuple[tuple[int, ...], ...]
    unheard: int
    wrong: tuple[tuple[str, str, str | None], ...]
    unknown: dict[str, int]


def clip_figures(clips: Sequence[Clip], among: Sequence[str] | None = None) -> ClipFigures:
    """Count how the recordings are named, by default among the labels that they have."""
    labels = table_labels(clips) if among is None else tuple(among)
    guesses = [(clip.path, clip.label, clip.heard.guess(labels)) for clip in clips if clip.label in labels]
    pairs = Counter((label, guess) for _, label, guess in guesses)
    return ClipFigures(
        accuracy=share(sum(pairs[label, label] for label in labels), len(guesses)),
        labels=labels,
        by_label={label: _figures(pairs, label) for label in labels},
        confusion=tuple(tuple(pairs[label, other] for other in labels) for label in labels),
        unheard=sum(guess is None for _, _, guess in guesses),
        wrong=tuple(named for named in guesses if named[1] != named[2]),
        unknown=dict(sorted(Counter(clip.label for clip in clips if not is_known(clip)).items())),
    )


def accuracy(clips: Sequence[Clip], among: Sequence[str] | None = None) -> Share:
    """Return the share of recordings that are named rightly, by default among the labels that they have."""
    return clip_figures(clips, among).accuracy


def table_labels(clips: Iterable[Clip]) -> tuple[str, ...]:
    """Return the labels that recordings have and the model knows, in the model's order."""
    known = {clip.label: clip.heard.spec.labels.index(clip.label) for clip in clips if is_known(clip)}
    return tuple(sorted(known, key=known.__getitem__))


def is_known(clip: Clip) -> bool:
    """Tell whether the model knows a recording's label; else nothing should be found in it."""
    return clip.label in clip.heard.spec.labels


def _figures(pairs: Counter[tuple[str, str | None]], label: str) -> LabelFigures:
    right = pairs[label, label]
    recordings = sum(count for (given, _), count in pairs.items() if given == label)
    guessed = sum(count for (_, guess), count in pairs.items() if guess == label)
    return LabelFigures(
        recordings,
        guessed,
        right / guessed if guessed else None,
        right / recordings if recordings else None,
        f1_of(right, guessed - right, recordings - right),
    )


def f1_of(tp: int, fp: int, fn: int) -> float | None:
    """Return the harmonic mean of precision and recall, None where nothing was there and nothing found."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None
