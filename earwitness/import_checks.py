"""A model that was just given its spec -> what was tried on it, or why it is refused.

Everything runs through the product's own scorer. What is tried: sounds from hardly audible to clipped, every
one of them alone and in company, and silence.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from processors.readout import Readout, Scores
from processors.score import OnnxScorer, Pcm
from schemas.errors import ConfigurationError, ScorerError
from schemas.model import ModelOutput, ModelSpec

COMPANY = (*range(1, 17), 24, 31, 32, 33, 64)
"""Batch sizes: a runtime chooses its ways of multiplying by them."""
ARRANGEMENTS = 2
MOST_SIGNALS, FEWEST_SIGNALS = 64, 4
MOST_SAMPLES = 1 << 28
"""Fed to the graph while every signal is scored alone."""
OUTSIDE = 1e-5
"""By which a score may leave [0, 1]: rounding, and no more."""
QUIETEST, LOUDEST = 3.0, 80_000.0
"""Peaks; what is above 32,767 is clipped."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, in sentences for the card, and what whoever imports it should know."""

    passed: tuple[str, ...]
    warnings: tuple[str, ...]


def check_model(directory: Path, spec: ModelSpec, in_silence: Collection[str] = ()) -> Checked:
    """Try a model directory; labels in `in_silence` may be heard in silence.

    Raises:
        ConfigurationError: an output is no number, a score is outside of [0, 1] or depends on its company or
            on chance, or silence reaches a threshold.

    """
    windows = signals(_count(spec), spec.window_samples, spec.sample_rate_hz)
    with _opened(directory, _unread(spec)) as scorer:
        raw = _alone(scorer, windows)
        finite = _check_finite(raw)
        ranged, warnings = _check_range(raw, spec)
        company = _check_company(scorer, windows, raw, spec)
    with _opened(directory, spec) as scorer:
        silent = _check_silence(scorer, spec, in_silence)
    return Checked((finite, ranged, company, silent), warnings)


def signals(count: int, samples: int, rate_hz: int) -> Pcm:
    """Return noise, tones, chirps, clicks, bursts and voices of a kind, each louder than the one before."""
    rng = np.random.default_rng(0)
    time_s = np.arange(samples) / rate_hz
    peaks = np.geomspace(QUIETEST, LOUDEST, count)
    kinds = [_KINDS[at % len(_KINDS)](time_s, rng) for at in range(count)]
    scaled = (
        kind / max(float(np.abs(kind).max()), 1e-9) * peak for kind, peak in zip(kinds, peaks, strict=True)
    )
    return np.stack([np.clip(np.rint(wave), -32_768, 32_767).astype(np.int16) for wave in scaled])


Wave = NDArray[np.float64]


def _noise(time_s: Wave, rng: np.random.Generator) -> Wave:
    return rng.standard_normal(time_s.size)


def _tone(time_s: Wave, rng: np.random.Generator) -> Wave:
    return np.sin(2 * np.pi * rng.uniform(100, 4000) * time_s)


def _chirp(time_s: Wave, rng: np.random.Generator) -> Wave:
    rise_hz_s = rng.uniform(500, 3000) / max(float(time_s[-1]), 1e-9)
    return np.sin(2 * np.pi * (300 + rise_hz_s / 2 * time_s) * time_s)


def _clicks(time_s: Wave, rng: np.random.Generator) -> Wave:
    return (rng.random(time_s.size) < 0.001) + 0.01 * rng.standard_normal(time_s.size)


def _bursts(time_s: Wave, rng: np.random.Generator) -> Wave:
    return rng.standard_normal(time_s.size) * (np.sin(2 * np.pi * rng.uniform(2, 8) * time_s) > 0)


def _voice(time_s: Wave, rng: np.random.Generator) -> Wave:
    pitch = 2 * np.pi * rng.uniform(90, 400) * time_s + 3 * np.sin(2 * np.pi * 5 * time_s)
    tones = np.sum([np.sin(n * pitch) / n for n in range(1, 12)], axis=0)
    return np.asarray(tones * (1 + np.sin(2 * np.pi * 3 * time_s)))


_KINDS = (_noise, _tone, _chirp, _clicks, _bursts, _voice)


def _count(spec: ModelSpec) -> int:
    fed = spec.window_samples * (spec.input.batch or 1)
    return max(FEWEST_SIGNALS, min(MOST_SIGNALS, MOST_SAMPLES // fed))


def _unread(spec: ModelSpec) -> ModelSpec:
    """Return a spec of the same graph that gives all of its columns as they are."""
    labels = tuple(map(str, range(spec.raw_width)))
    output = ModelOutput(name=spec.output.name)
    thresholds = dict.fromkeys(labels, 1.0)
    return spec.model_copy(update={"labels": labels, "thresholds": thresholds, "output": output})


@contextmanager
def _opened(directory: Path, spec: ModelSpec) -> Iterator[OnnxScorer]:
    scorer = OnnxScorer(directory, spec)
    try:
        yield scorer
    except ScorerError as exc:
        hint = "" if spec.input.batch else "; or --batch 1, if the graph takes one at a time"
        raise ConfigurationError(
            "the graph", str(exc), f"one that scores 1 to 64 windows at once{hint}"
        ) from exc
    finally:
        asyncio.run(scorer.close())


def _alone(scorer: OnnxScorer, windows: Pcm) -> Scores:
    raw = np.concatenate([scorer.run(window[None]) for window in windows])
    again = np.concatenate([scorer.run(window[None]) for window in windows[:FEWEST_SIGNALS]])
    if not np.array_equal(raw[: len(again)], again, equal_nan=True):
        off = float(np.nanmax(np.abs(raw[: len(again)] - again)))
        found = f"different by {off:.2g} when it is scored once more"
        raise ConfigurationError("the score of a window", found, "the same every time: an operator is random")
    return raw


def _check_finite(raw: Scores) -> str:
    odd = int(np.count_nonzero(~np.isfinite(raw).all(axis=1)))
    if odd:
        found = f"not a number, or infinite, for {odd} of {len(raw)} test signals"
        raise ConfigurationError("the model's output", found, "numbers, whatever is heard")
    return (
        f"{len(raw)} test signals, from a peak of {QUIETEST:g} of int16 to clipped: all outputs are finite."
    )


def _check_range(raw: Scores, spec: ModelSpec) -> tuple[str, tuple[str, ...]]:
    scores, activation = Readout(spec)(raw), spec.output.activation
    least, most = float(raw.min()), float(raw.max())
    within = least >= -OUTSIDE and most <= 1 + OUTSIDE
    if activation == "none" and not within:
        accepted = (
            "scores from 0 to 1; for logits pass --activation sigmoid where several labels may hold at once, "
            "--activation softmax where one of all does"
        )
        raise ConfigurationError("the model's output", f"from {least:.4g} to {most:.4g}", accepted)
    warnings: tuple[str, ...] = ()
    if activation != "none" and within:
        said = f"the model's output is from {least:.4g} to {most:.4g}: are these scores already? Then pass"
        warnings = (f"{said} --activation none instead of {activation}",)
    told = f"from {float(scores.min()):.4g} to {float(scores.max()):.4g}, with activation {activation}"
    return f"Scores of what is reported are {told}.", warnings


def _check_company(scorer: OnnxScorer, windows: Pcm, alone: Scores, spec: ModelSpec) -> str:
    worst, sizes = 0.0, []
    batches = list(_companies(len(windows), spec.input.batch))
    for chosen in batches:
        scores = scorer.run(windows[chosen])
        if not np.array_equal(scores, alone[chosen]):
            sizes.append(len(chosen))
            worst = max(worst, float(np.nan_to_num(np.abs(scores - alone[chosen]), nan=np.inf).max()))
    if sizes:
        found = f"off by up to {worst:.2g} from what it is alone, in batches of {_some(sizes)}"
        way_out = "" if spec.input.batch else "; or --batch 1, which scores windows one at a time"
        accepted = f"the same to the bit, whoever else is in the batch{way_out}"
        raise ConfigurationError("the score of a window", found, accepted)
    largest = max(map(len, batches))
    if largest == 1:
        return "Windows are scored one at a time: no score can depend on its company."
    return (
        f"Every window alone, and in {len(batches)} batches of up to {largest}: scores are equal to the bit."
    )


def _companies(windows: int, batch: int | None) -> Iterator[NDArray[np.intp]]:
    """Yield which signals are scored together, in their order: first the quietest with the loudest."""
    most = min(windows, batch or windows)
    sizes = sorted({size for size in (*COMPANY, most) if size <= most})
    if most > 1:
        yield from (np.array([0, windows - 1]), np.array([windows - 1, 0]))
    rng = np.random.default_rng(1)
    for size in sizes:
        for _ in range(ARRANGEMENTS):
            yield rng.permutation(windows)[:size]


def _check_silence(scorer: OnnxScorer, spec: ModelSpec, allowed: Collection[str]) -> str:
    hiss = np.random.default_rng(2).integers(-1, 2, spec.window_samples).astype(np.int16)
    scores = scorer.run(np.stack([np.zeros(spec.window_samples, np.int16), hiss])).max(axis=0)
    reached = scores >= np.array([spec.thresholds[label] for label in spec.labels], np.float32)
    heard = [label for label, is_reached in zip(spec.labels, reached, strict=True) if is_reached]
    if odd := [f"{label} {scores[spec.labels.index(label)]:.3g}" for label in heard if label not in allowed]:
        accepted = (
            "no label at its threshold, or a quiet room would be reported without end; a higher --threshold, "
            "other labels by --report, or --in-silence LABEL where that is what the label means"
        )
        raise ConfigurationError("what is heard in silence", ", ".join(odd[:10]), accepted)
    highest = int(scores.argmax())
    said = (
        f"Silence, and noise of one step: the highest score is {scores[highest]:.3g}, {spec.labels[highest]}"
    )
    return f"{said}; allowed to reach their thresholds: {', '.join(heard)}." if heard else f"{said}."


def _some(sizes: Sequence[int]) -> str:
    there = sorted(set(sizes))
    return ", ".join(map(str, there[:6])) + (f" and {len(there) - 6} other sizes" if len(there) > 6 else "")
