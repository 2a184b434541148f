"""Recordings made worse step by step -> clip accuracy at each step.

Noise and ambience are laid under at an SNR over the whole recording; gain clips at full scale, as a
microphone would; rooms are drawn anew for each recording; rates go into the pipeline as they are, from the
source's file; frames of 20 ms are lost in runs of ten, and are gaps in the pipeline.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earwitness.evaluation.clips import Clip, accuracy
from earwitness.evaluation.heard import Pcm
from earwitness.evaluation.intervals import Share
from earwitness.evaluation.listener import LOST_FRAME_MS, Listener
from earwitness.evaluation.material import FULL_SCALE
from models.dataset import Entry, read_pcm, to_pcm
from models.scenes.rooms import draw_room, place, shoebox
from models.scenes.streams import Recorded

SNRS_DB = (20.0, 10.0, 5.0, 0.0, -5.0)
GAINS_DB = (-40.0, -20.0, 0.0, 10.0, 20.0)
RT60S_S = (0.2, 0.4, 0.8, 1.2)
RATES_HZ = (8_000, 11_025, 22_050, 32_000, 44_100, 48_000)
LOST_SHARES = (0.01, 0.05, 0.1, 0.2, 0.4)
LOST_RUN = 10
"""Frames that are lost together: 0.2 s."""


@dataclass(frozen=True, slots=True)
class Point:
    """Clip accuracy where `x` is what the curve is over."""

    x: float
    accuracy: Share


Curves = Mapping[str, tuple[Point, ...]]
"""By what is changed; the name ends in the unit."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One model, and the recordings and backgrounds to try it on."""

    listener: Listener
    entries: Sequence[Entry]
    backgrounds: Sequence[Recorded]

    @property
    def known(self) -> list[Entry]:
        """The recordings whose label the model knows."""
        return [entry for entry in self.entries if entry.label in self.listener.spec.labels]


Worsen = Callable[[NDArray[np.float64], float, np.random.Generator], NDArray[np.float64]]
"""Changes a sound in [-1, 1]: how much the number says."""


def robustness(
    trials: Sequence[Trial],
    seed: int,
    tick: Callable[[], object] = lambda: None,
    among: Sequence[str] | None = None,
) -> Curves:
    """Measure every curve; trials are pooled. `tick` is called after each point.

    Guesses are `among` these labels, by default those that the trials' recordings have.

    Raises:
        ConfigurationError: a recording cannot be read.

    """
    curves: dict[str, tuple[Point, ...]] = {}
    for name, xs, hear in _ways(trials):
        points = []
        for x in xs:
            rng = np.random.default_rng(seed)
            clips = [clip for trial in trials for clip in hear(trial, x, rng)]
            points.append(Point(x, accuracy(clips, among)))
            tick()
        curves[name] = tuple(points)
    return curves


def points() -> int:
    """Return how often `tick` is called."""
    return sum(len(xs) for xs in (SNRS_DB, SNRS_DB, GAINS_DB, RT60S_S, RATES_HZ, LOST_SHARES))


Hear = Callable[[Trial, float, np.random.Generator], list[Clip]]


def _ways(trials: Sequence[Trial]) -> list[tuple[str, Sequence[float], Hear]]:
    def ambience(trial: Trial, x: float, rng: np.random.Generator) -> list[Clip]:
        return _worse(
            trial, x, rng, lambda sound, snr_db, r: _over(sound, _ambience(trial, sound, r), snr_db)
        )

    return [
        ("white_noise_snr_db", SNRS_DB, _way(_noisy)),
        ("background_snr_db", SNRS_DB, ambience),
        ("gain_db", GAINS_DB, _way(lambda sound, gain_db, _: sound * 10 ** (gain_db / 20))),
        ("reverberation_rt60_s", RT60S_S, _reverberant),
        ("sample_rate_hz", RATES_HZ, _at_rate),
        ("lost_share", LOST_SHARES, _with_losses),
    ]


def _way(worsen: Worsen) -> Hear:
    return lambda trial, x, rng: _worse(trial, x, rng, worsen)


def _worse(trial: Trial, x: float, rng: np.random.Generator, worsen: Worsen) -> list[Clip]:
    rate_hz = trial.listener.spec.sample_rate_hz
    clips = []
    for entry in trial.entries:
        sound = worsen(read_pcm(entry.file, rate_hz) / FULL_SCALE, x, rng)
        clips.append(_clip(trial, entry, to_pcm(sound), rate_hz))
    return clips


def _reverberant(trial: Trial, rt60_s: float, rng: np.random.Generator) -> list[Clip]:
    rate_hz = trial.listener.spec.sample_rate_hz

    def worsen(sound: NDArray[np.float64], rt60_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
        return place(sound, shoebox(rng, replace(draw_room(rng), rt60_s=rt60_s), rate_hz))

    return _worse(trial, rt60_s, rng, worsen)


def _at_rate(trial: Trial, rate_hz: float, rng: np.random.Generator) -> list[Clip]:
    rate = int(rate_hz)
    return [_clip(trial, entry, read_pcm(entry.file, rate), rate) for entry in trial.entries]


def _with_losses(trial: Trial, share: float, rng: np.random.Generator) -> list[Clip]:
    rate_hz, clips = trial.listener.spec.sample_rate_hz, []
    for entry in trial.entries:
        pcm = read_pcm(entry.file, rate_hz)
        runs = pcm.size * 1000 // (rate_hz * LOST_FRAME_MS * LOST_RUN) + 1
        lost = np.repeat(rng.random(runs) < share, LOST_RUN)
        lost[0] = False  # the epoch's first frame says that there is a sensor at all
        clips.append(Clip(entry.path, entry.label, trial.listener.hear_whole(pcm, rate_hz, lost)))
    return clips


def _noisy(sound: NDArray[np.float64], snr_db: float, rng: np.random.Generator) -> NDArray[np.float64]:
    return _over(sound, rng.standard_normal(sound.size), snr_db)


def _ambience(trial: Trial, sound: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    background = trial.backgrounds[int(rng.integers(len(trial.backgrounds)))].pcm
    start = int(rng.integers(max(1, background.size - sound.size)))
    return np.resize(background[start:], sound.size) / FULL_SCALE


def _over(sound: NDArray[np.float64], noise: NDArray[np.float64], snr_db: float) -> NDArray[np.float64]:
    """Lay noise under a sound; what would clip is made quieter as a whole."""
    power = float(np.mean(noise**2)) or 1.0
    mixed = sound + noise * np.sqrt(np.mean(sound**2) / power / 10 ** (snr_db / 10))
    return np.asarray(mixed / max(1.0, float(np.abs(mixed).max(initial=0.0))))


def _clip(trial: Trial, entry: Entry, pcm: Pcm, rate_hz: int) -> Clip:
    return Clip(entry.path, entry.label, trial.listener.hear_whole(pcm, rate_hz))
