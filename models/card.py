"""evidence -> CARD.md: what a model was made of, how it did on sounds it never heard, its limits."""

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from models.evaluate import SNRS_DB, Evidence, Heard, Trial, detections, scores_of
from models.export import window_ms
from models.features import RATE_HZ
from models.fit import FitSettings
from models.recordings import ALERTS, ESC10, LABELS, Recording
from schemas.model import MODEL_FILE, ModelSpec

CARD_FILE = "CARD.md"
NOT_MEASURED = "No fold was held out: nothing was measured, and every threshold is a plain half.\n"
LIMITS = """\
This is a first model, and a small one.

- It is **not certified for life safety** and must not stand in for a listed alarm, or for a person.
- Smoke alarms and sirens were learned from generated sound only: temporal-three patterns of 3.1 kHz
  and 520 Hz, wails and yelps. They were tried on other draws of the same generator, over recorded
  backgrounds. No recorded alarm was there to test on; other patterns, two-tone horns, worn sounders
  and real rooms were never heard.
- A temporal-three alarm pauses for 1.5 s. With the rule above it is found again after each pause, as a
  detection of its own: join what lies less than 2 s apart.
- Ten classes were learned from about 30 recordings each. Rain, sea waves, a helicopter and a fire are
  mistaken for each other, and for wind, traffic or a crowd; what is in none of the classes may still
  sound like one.
- Thresholds were chosen on the same held-out windows that the rates above are counted on, so expect
  somewhat worse in a place of your own, and choose thresholds there."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the training was made of."""

    fit: FitSettings
    seed: int
    recordings: Sequence[Recording]


def write(directory: Path, spec: ModelSpec, evidence: Evidence, facts: Facts) -> None:
    """Write the card of a model directory; the only figure that another run changes is the speed."""
    path = directory / MODEL_FILE
    sections = {
        f"{spec.name} {spec.version}": _summary(spec),
        "Made of": _material(facts),
        "Measured": _measured(spec, evidence),
        "Thresholds": _thresholds(spec, evidence),
        "Speed and size": _speed(path),
        "Limits": LIMITS,
        "Made again": _again(facts),
        "Sources": _sources(facts.recordings),
    }
    text = "\n\n".join(
        f"{'##' if i else '#'} {title}\n\n{body.strip()}" for i, (title, body) in enumerate(sections.items())
    )
    (directory / CARD_FILE).write_text(text + "\n", encoding="utf-8")


def _summary(spec: ModelSpec) -> str:
    return (
        f"A convolutional network on log-mel features, with the features inside the graph: "
        f"`{spec.input.name}` int16[B, {spec.window_samples}] ({spec.window_s:g} s at "
        f"{spec.sample_rate_hz} Hz, a window every {spec.hop_s:g} s) to `{spec.output.name}` "
        f"float32[B, {len(spec.labels)}], independent probabilities.\n\n"
        f"Labels: {', '.join(spec.labels)}. Licence: {spec.licence}."
    )


def _material(facts: Facts) -> str:
    counts = Counter((recording.path.split("/")[0], recording.licence) for recording in facts.recordings)
    rows = [[kind, licence, str(count)] for (kind, licence), count in sorted(counts.items())]
    return (
        "ESC-10 (K. J. Piczak, *ESC: Dataset for Environmental Sound Classification*, ACM Multimedia "
        "2015), folds 1 to 4, and long backgrounds. A thunderstorm was left out: rain and not rain.\n\n"
        + _table(["recordings", "licence", "files"], rows)
        + "\n\nSmoke alarms, sirens and part of the background are generated from numbers and belong to "
        "nobody. No weights or scores of another model were used."
    )


def _measured(spec: ModelSpec, evidence: Evidence) -> str:
    if not evidence.heard:
        return NOT_MEASURED
    esc10 = [heard for heard in evidence.heard if heard.is_esc10]
    return "\n\n".join(
        [
            "Cross-validated: each recording, and each background, was scored by a network trained "
            "without its fold. **The model that ships was trained on all folds** with the same "
            "settings; it was not measured itself, and cannot be on these recordings.",
            _accuracy(esc10),
            "Confusion of recordings (rows: what it is; columns: what was said, in the same order):",
            _confusion(esc10),
            "Generated alerts of 6 s over held-out backgrounds. *Windows*: those with at least 0.1 s of "
            "it, at the thresholds below. *Alerts*: found at least once by the m-of-n rule.",
            _alert_recall(spec, evidence.trials),
            _false_alarms(spec, evidence.heard),
        ]
    )


def _accuracy(esc10: Sequence[Heard]) -> str:
    folds = sorted({heard.recording.fold for heard in esc10})
    rows = [_accuracy_row(f"fold {fold}", _in_fold(esc10, fold)) for fold in folds]
    by_fold = [_clip_accuracy(_in_fold(esc10, fold)) for fold in folds]
    rows.append([f"**mean of {len(folds)}**", f"**{np.mean(by_fold):.3f}**", *_accuracy_row("", esc10)[2:]])
    return (
        _table(["held out", "recordings right", "windows right", "recordings"], rows)
        + "\n\nBest of the ten ESC-10 scores; a recording's is the mean of its windows' logits, weighted "
        "by the root of their power. Windows more than 30 dB below the loudest are not counted."
    )


def _accuracy_row(name: str, esc10: Sequence[Heard]) -> list[str]:
    windows = float(np.mean([heard.window_accuracy for heard in esc10]))
    return [name, f"{_clip_accuracy(esc10):.3f}", f"{windows:.3f}", str(len(esc10))]


def _clip_accuracy(esc10: Sequence[Heard]) -> float:
    return float(np.mean([heard.guess == heard.recording.label for heard in esc10]))


def _in_fold(esc10: Sequence[Heard], fold: int) -> list[Heard]:
    return [heard for heard in esc10 if heard.recording.fold == fold]


def _confusion(esc10: Sequence[Heard]) -> str:
    counts = Counter((heard.recording.label, heard.guess) for heard in esc10)
    rows = [[label, *(str(counts[label, said] or "·") for said in ESC10)] for label in ESC10]
    return _table(["", *(label.replace("_", " ") for label in ESC10)], rows)


def _alert_recall(spec: ModelSpec, trials: Sequence[Trial]) -> str:
    rows = []
    for label in ALERTS:
        for snr_db in SNRS_DB:
            some = [trial for trial in trials if (trial.label, trial.snr_db) == (label, snr_db)]
            windows = np.concatenate([_reached(spec, t.scores, label)[t.sounding] for t in some])
            found = [bool(detections(_reached(spec, t.scores, label), spec.m, spec.n)) for t in some]
            rows.append(
                [label, f"{snr_db:+g}", f"{windows.mean():.3f}", f"{np.mean(found):.3f}", str(len(some))]
            )
    return _table(["alert", "SNR, dB", "windows", "alerts", "tried"], rows)


def _false_alarms(spec: ModelSpec, heard: Sequence[Heard]) -> str:
    ambience = [one for one in heard if not one.is_esc10]
    seconds = sum(one.recording.audio.size for one in ambience) / RATE_HZ
    rows = [_false_row(spec, one) for one in sorted(ambience, key=lambda one: one.recording.path)]
    return (
        f"False detections (m of n) in {seconds:.0f} s of held-out ambience, its own label not counted:"
        "\n\n" + _table(["ambience", "what it is", "seconds", *ALERTS, "ESC-10 classes"], rows)
    )


def _false_row(spec: ModelSpec, one: Heard) -> list[str]:
    counts = {label: _detections(spec, one, label) for label in LABELS}
    counts[one.recording.label] = 0
    classes = ", ".join(f"{label} {counts[label]}" for label in ESC10 if counts[label])
    seconds = f"{one.recording.audio.size / RATE_HZ:.0f}"
    alerts = [str(counts[label]) for label in ALERTS]
    return [one.recording.path, one.recording.label, seconds, *alerts, classes or "0"]


def _detections(spec: ModelSpec, one: Heard, label: str) -> int:
    return detections(_reached(spec, scores_of(one.logits), label), spec.m, spec.n)


def _reached(spec: ModelSpec, scores: np.ndarray, label: str) -> np.ndarray:
    return np.asarray(scores[:, LABELS.index(label)] >= spec.thresholds[label])


def _thresholds(spec: ModelSpec, evidence: Evidence) -> str:
    rule = f"A label is active where {spec.m} of the last {spec.n} windows reached its threshold."
    if not evidence.heard:
        return rule + " " + NOT_MEASURED
    rows = [[label, f"{spec.thresholds[label]:.2f}", *_rates(spec, evidence, label)] for label in LABELS]
    return (
        f"{rule} Each threshold is the lowest at which at most 1 % (smoke alarm and siren 0.2 %) of the "
        "held-out windows without the label reach it, all recordings and backgrounds together, held "
        "within 0.3 and 0.95 (at 0.95 more than that share may reach it). They were chosen on the "
        "cross-validated networks' scores and are used with the model that ships.\n\n"
        + _table(["label", "threshold", "windows with it found", "windows without it, false"], rows)
    )


def _rates(spec: ModelSpec, evidence: Evidence, label: str) -> list[str]:
    """Return the shares of held-out windows with and without a label that reach its threshold."""
    having = [
        _reached(spec, trial.scores, label)[trial.sounding]
        for trial in evidence.trials
        if trial.label == label
    ]
    lacking = []
    for heard in evidence.heard:
        reached = _reached(spec, scores_of(heard.logits), label)
        if heard.recording.label == label:
            having.append(reached[heard.loud])
        else:
            lacking.append(reached)
    return [f"{np.concatenate(having).mean():.3f}", f"{np.concatenate(lacking).mean():.4f}"]


def _speed(path: Path) -> str:
    return (
        f"{window_ms(path):.2f} ms a window in a batch of 32 on one thread "
        f"(ONNX Runtime {onnxruntime.__version__}, {platform.machine()}), features included; "
        f"{path.stat().st_size / 1024:.0f} KiB. Scores of a window are the same to the last bit in "
        "batches of 1 to 64."
    )


def _again(facts: Facts) -> str:
    return (
        "`python -m earwitness.train --data <data> --out <directory>`: "
        f"{facts.fit.steps} steps of {facts.fit.batch} windows, seed {facts.seed}, one thread, "
        f"torch {torch.__version__}. On one machine the command gives the same `model.onnx` and "
        "`spec.json`, byte for byte; another processor or another torch adds in another order, and gives "
        "a model of the same quality with other last digits. The speed above is a clock's, and varies."
    )


def _sources(recordings: Iterable[Recording]) -> str:
    """Name where every recording came from: CC-BY asks for it."""
    named = sorted({f"{recording.source} ({recording.licence})" for recording in recordings})
    return "\n".join(f"- {name}" for name in named)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
