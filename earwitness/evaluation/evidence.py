"""Models, recordings and negatives -> everything that was heard, to be measured.

Hearing and measuring are apart: what was heard can be decided again with other thresholds, without a model.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from earwitness.evaluation.clips import Clip
from earwitness.evaluation.events import EventSettings, Scene
from earwitness.evaluation.heard import Heard
from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import LEFT_OUT, hear_clips, hear_streams, recorded
from earwitness.evaluation.negatives import Negative, hear_negatives, hear_noises, split
from earwitness.evaluation.robustness import Trial
from models.dataset import Entry
from models.scenes.alarms import PATTERNS
from models.scenes.streams import StreamSettings, draw_alarms, draw_streams
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec

T = TypeVar("T")
NOISE = "generated noise"
ALARM_EVENTS = (3, 5)
"""In a stream; an alarm lasts 4 to 15 s."""

Tick = Callable[[], object]
Begin = Callable[[str, int], Tick]
"""Told what is done next and in how many steps; returns what is called after each of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """How much is measured, and from which seed.

    Raises:
        ConfigurationError: a value that measures nothing.

    """

    seed: int = 0
    passes: int = 1
    """How often every recording is laid into a stream; 0 for no streams."""
    most_stream_recordings: int = 2000
    most_backgrounds: int = 200
    streams: StreamSettings = field(default_factory=StreamSettings)
    events: EventSettings = field(default_factory=EventSettings)
    alarms: int = 20
    """Generated alarms of each label, at each SNR; 0 for none."""
    alarm_snrs_db: tuple[float, ...] = (-5.0, 0.0, 5.0, 10.0, 20.0, 40.0)
    noise_hours: float = 0.5
    left_out: tuple[str, ...] = LEFT_OUT
    most_robustness_recordings: int = 400
    """0 for no curves."""

    def __post_init__(self) -> None:
        for key, most in (("passes", 100), ("alarms", 10_000), ("noise_hours", 1000), ("seed", 2**32)):
            if not 0 <= getattr(self, key) <= most:
                raise ConfigurationError(f"evaluate.{key}", getattr(self, key), f"0 to {most}")


QUICK = EvaluateSettings(
    most_stream_recordings=40,
    most_backgrounds=5,
    alarms=3,
    alarm_snrs_db=(0.0,),
    noise_hours=0.05,
    most_robustness_recordings=10,
)
"""To see in a minute that everything works: the figures are of little weight."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was heard."""

    spec: ModelSpec
    clips: tuple[Clip, ...]
    scenes: tuple[Scene, ...]
    alarms: Mapping[float, tuple[Scene, ...]]
    """By SNR in dB."""
    negatives: tuple[Negative, ...]
    counts: Mapping[str, tuple[int, int]]
    """Of each source of negatives how many recordings were heard, and were left out."""

    def decided_by(self, spec: ModelSpec) -> "Evidence":
        """Return what would have been detected by a spec with other thresholds and other m of n."""

        def again(heard: Heard) -> Heard:
            return heard.decided_by(spec)

        def scenes(old: Iterable[Scene]) -> tuple[Scene, ...]:
            return tuple(replace(scene, heard=again(scene.heard)) for scene in old)

        return replace(
            self,
            spec=spec,
            clips=tuple(replace(clip, heard=again(clip.heard)) for clip in self.clips),
            scenes=scenes(self.scenes),
            alarms={snr_db: scenes(old) for snr_db, old in self.alarms.items()},
            negatives=tuple(replace(of, heard=again(of.heard)) for of in self.negatives),
        )


def hear(
    trials: Sequence[Trial],
    negatives: Mapping[str, Sequence[Entry]],
    settings: EvaluateSettings,
    begin: Begin,
) -> Evidence:
    """Hear everything but what robustness asks for.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    spec = trials[0].listener.spec
    tick = begin("recordings", sum(len(trial.entries) for trial in trials))
    clips = [c for trial in trials for c in _told(hear_clips(trial.listener, trial.entries), tick)]
    scenes: list[Scene] = []
    alarms: dict[float, list[Scene]] = {snr_db: [] for snr_db in settings.alarm_snrs_db}
    for number, trial in enumerate(trials):
        rng = np.random.default_rng([settings.seed, number])
        scenes += _scenes(trial, settings, rng, begin)
        for snr_db, found in alarms.items():
            found += _alarms(trial, snr_db, -(-settings.alarms // len(trials)), settings, rng, begin)
    kept, counts = _negatives(spec, negatives, settings)
    heard = _hear_negatives([trial.listener for trial in trials], kept, settings, begin)
    by_snr = {snr_db: tuple(found) for snr_db, found in alarms.items() if found}
    return Evidence(spec, tuple(clips), tuple(scenes), by_snr, tuple(heard), counts)


def alarm_labels(spec: ModelSpec) -> tuple[str, ...]:
    """Return the labels of a model that alarms can be generated of."""
    return tuple(label for label in spec.labels if label in PATTERNS)


def _scenes(trial: Trial, settings: EvaluateSettings, rng: np.random.Generator, begin: Begin) -> list[Scene]:
    if not settings.passes or not trial.known:
        return []
    rate_hz = trial.listener.spec.sample_rate_hz
    events = recorded(trial.known, rate_hz, settings.most_stream_recordings, rng)
    made = replace(settings.streams, rate_hz=rate_hz)
    drawn = draw_streams(rng, events, trial.backgrounds, made, settings.passes)
    about = round(settings.passes * len(events) / np.mean(made.events))
    return list(_told(hear_streams(trial.listener, drawn), begin("streams", about)))


def _alarms(
    trial: Trial,
    snr_db: float,
    count: int,
    settings: EvaluateSettings,
    rng: np.random.Generator,
    begin: Begin,
) -> list[Scene]:
    spec = trial.listener.spec
    labels = alarm_labels(spec)
    if not labels or not count:
        return []
    made = replace(
        settings.streams,
        rate_hz=spec.sample_rate_hz,
        snr_db=(snr_db, snr_db),
        events=ALARM_EVENTS,
        overlapping=0.0,
    )
    alarms = list(draw_alarms(rng, labels, count, spec.sample_rate_hz))
    drawn = draw_streams(rng, alarms, trial.backgrounds, made)
    about = round(len(alarms) / np.mean(made.events))
    return list(_told(hear_streams(trial.listener, drawn), begin(f"alarms at {snr_db:g} dB", about)))


def _negatives(
    spec: ModelSpec, negatives: Mapping[str, Sequence[Entry]], settings: EvaluateSettings
) -> tuple[dict[str, tuple[Entry, ...]], dict[str, tuple[int, int]]]:
    parted = {
        name: split(entries, spec.labels, settings.left_out) for name, entries in sorted(negatives.items())
    }
    counts = {name: count for name, (_, count) in parted.items()}
    return {name: kept for name, (kept, _) in parted.items()}, counts | {NOISE: (0, 0)}


def _hear_negatives(
    listeners: Sequence[Listener],
    negatives: Mapping[str, Sequence[Entry]],
    settings: EvaluateSettings,
    begin: Begin,
) -> Iterator[Negative]:
    for number, listener in enumerate(listeners):
        for place, (name, entries) in enumerate(negatives.items()):
            share, seed = entries[number :: len(listeners)], [settings.seed, number, 0, place]
            yield from _told(hear_negatives(listener, name, share, seed), begin(name, 0))
        hours = settings.noise_hours / len(listeners)
        noise = hear_noises(listener, NOISE, hours, [settings.seed, number])
        yield from _told(noise, begin(NOISE, round(hours * 60)))


def _told(items: Iterable[T], tick: Tick) -> Iterator[T]:
    for item in items:
        yield item
        tick()
