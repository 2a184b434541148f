"""rng -> responses of rooms, streets and loudspeakers, `float64[taps]`: what lies between a source and us.

        direct   images (Allen and Berkley)        diffuse tail (noise)
          |      | | |  || ||| ||||||\\\\\\\\
          |      | | |  || ||| ||||||/////////////////\\\\\\\\\\\\\\\\...
        tap 0                       mixing time

Up to the mixing time a shoebox is computed image by image (J. B. Allen and D. A. Berkley, Image method for
efficiently simulating small-room acoustics, JASA 65, 1979). From there on the images are so dense that noise
with their energy and the room's decay stands for them (E. A. Lehmann and A. M. Johansson, Diffuse
reverberation model, IEEE TASLP 18, 2010): that is what keeps a response under 50 ms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from schemas.errors import ConfigurationError

Signal = NDArray[np.float64]
"""`float64[taps]` or `float64[S]`."""

RATES_HZ = (8_000, 192_000)
SPEED_OF_SOUND_M_S = 343.0
SMALLEST_M, LARGEST_M = (2.0, 2.0, 2.3), (20.0, 12.0, 5.0)
RT60_S = (0.15, 1.2)
"""Time in which the sound of a room decays by 60 dB."""
OUTDOOR_SHARE = 0.2

IMAGES, LONGEST_MIXING_S, MIXING_SHARE = 6_000, 0.12, 0.2
"""Images end, after the direct path, where there are about so many, or so late, or at this share of the
decay: images of a flat room die away more slowly than Eyring's formula has it."""
REACH = 8
"""Taps on either side of an arrival: a windowed sinc puts it between two samples."""
RUMBLE_HZ = 60.0
"""High-pass against the swell at 0 Hz that positive images build up (Allen and Berkley, appendix B)."""


@dataclass(frozen=True, slots=True)
class Room:
    """A shoebox, a source and a microphone in it, in metres, and how long its sound takes to decay."""

    size_m: tuple[float, float, float]
    source_m: tuple[float, float, float]
    microphone_m: tuple[float, float, float]
    rt60_s: float


def room_response(rng: np.random.Generator, rate_hz: int) -> Signal:
    """Draw the response of a room or, now and then, of a street; its direct path has a height near 1.

    Raises:
        ConfigurationError: the rate is none of a recording.
    """
    _check_rate(rate_hz)
    if rng.random() < OUTDOOR_SHARE:
        return outdoor(rng, rate_hz)
    return shoebox(rng, draw_room(rng), rate_hz)


def draw_room(rng: np.random.Generator) -> Room:
    """Draw a room from a bathroom to a hall; small rooms are the more frequent ones."""
    share = rng.beta(1.0, 2.0)
    low, high = np.array(SMALLEST_M), np.array(LARGEST_M)
    size = low * (high / low) ** np.clip(share + rng.uniform(-0.2, 0.2, 3), 0.0, 1.0)
    rt60_s = float(np.exp(rng.uniform(*np.log(RT60_S))))
    while True:
        source, microphone = rng.uniform(0.3, size - 0.3, (2, 3))
        if np.linalg.norm(source - microphone) > 0.5:
            return Room(_metres(size), _metres(source), _metres(microphone), rt60_s)


def shoebox(rng: np.random.Generator, room: Room, rate_hz: int) -> Signal:
    """Return the response of a room, `float64[taps]`, until it has decayed by 60 dB."""
    mixing_s = (3 * IMAGES * float(np.prod(room.size_m)) / (4 * np.pi)) ** (1 / 3) / SPEED_OF_SOUND_M_S
    mixing_s = min(mixing_s, LONGEST_MIXING_S, MIXING_SHARE * room.rt60_s)
    direct_s = float(np.linalg.norm(np.subtract(room.source_m, room.microphone_m))) / SPEED_OF_SOUND_M_S
    delays_s, heights = images(room, _reflections(rng, room), direct_s + mixing_s)
    taps = round(room.rt60_s * rate_hz) + 2 * REACH
    early = _arrivals((delays_s - direct_s) * rate_hz, heights * direct_s, taps)
    whole = _with_tail(rng, early, room.rt60_s, round(mixing_s * rate_hz), rate_hz)
    return _without_rumble(whole, rate_hz)


def images(room: Room, reflections: Signal, until_s: float) -> tuple[Signal, Signal]:
    """Return delays in seconds and heights of the images that arrive in time, each `float64[I]`.

    Allen and Berkley, equations 8 and 10: along an axis of length L the images of a source at x lie at
    (1-2p)x + 2nL for p in {0, 1} and any n, after |n-p| reflections at the wall at 0 and |n| at the one at L.
    `reflections`, `float64[3, 2]`, are the pressure coefficients of both walls of every axis.
    """
    reach_m = until_s * SPEED_OF_SOUND_M_S
    squares, losses = np.zeros(1), np.ones(1)
    for axis, length in enumerate(room.size_m):
        most = int(np.ceil(reach_m / (2 * length))) + 1
        p, n = (part.ravel() for part in np.meshgrid([0, 1], np.arange(-most, most + 1)))
        offset = (1 - 2 * p) * room.source_m[axis] + 2 * n * length - room.microphone_m[axis]
        loss = reflections[axis, 0] ** np.abs(n - p) * reflections[axis, 1] ** np.abs(n)
        squares = (squares[:, None] + offset**2).ravel()
        losses = (losses[:, None] * loss).ravel()
        losses, squares = losses[squares < reach_m**2], squares[squares < reach_m**2]
    distances = np.sqrt(squares)
    delays_s = distances / SPEED_OF_SOUND_M_S
    return delays_s, losses / delays_s


def outdoor(rng: np.random.Generator, rate_hz: int) -> Signal:
    """Return a direct path, its reflection off the ground, a few house fronts and a faint scattered tail."""
    distance_m, above_m = rng.uniform(3.0, 60.0), rng.uniform(0.5, 3.0, 2)
    ground_m = np.hypot(distance_m, above_m.sum()) - np.hypot(distance_m, above_m[0] - above_m[1])
    fronts_m = rng.uniform(3.0, 120.0, rng.integers(0, 6))
    delays = np.concatenate([[0.0, ground_m], fronts_m]) / SPEED_OF_SOUND_M_S * rate_hz
    spread = distance_m / (distance_m + fronts_m) * rng.uniform(0.2, 0.7, fronts_m.size)
    heights = np.concatenate([[1.0, rng.uniform(0.3, 0.9)], spread])
    early = _arrivals(delays, heights, round(0.6 * rate_hz))
    decay_s, level = rng.uniform(0.2, 0.8), 10 ** (rng.uniform(-35.0, -22.0) / 20)
    scattered = level * _diffuse(rng, early.size, decay_s, rate_hz) * np.sqrt(2.0 / (0.07 * rate_hz))
    scattered[: 2 * REACH] = 0.0
    return _without_rumble(early + scattered, rate_hz)


def loudspeaker(rng: np.random.Generator, rate_hz: int) -> Signal:
    """Draw a telephone's, a sounder's or a public-address horn's response, `float64[taps]`, 30 ms of it.

    All let through 450 to 3500 Hz, unevenly: two to five resonances or dips of up to 10 dB. The
    telephone's edges are those of ITU-T G.712 (300 to 3400 Hz) and beyond, up to wideband.

    Raises:
        ConfigurationError: the rate is none of a recording.
    """
    _check_rate(rate_hz)
    low_hz, high_hz = rng.uniform(180.0, 420.0), min(rng.uniform(3600.0, 7500.0), 0.46 * rate_hz)
    order = int(rng.integers(1, 4))
    click = np.zeros(round(0.03 * rate_hz))
    click[0] = 1.0
    band = signal.butter(order, (low_hz, high_hz), "bandpass", fs=rate_hz, output="sos")
    response = np.asarray(signal.sosfilt(band, click))
    for _ in range(rng.integers(2, 6)):
        hz = float(np.exp(rng.uniform(np.log(400.0), np.log(min(6000.0, 0.4 * rate_hz)))))
        response = _peaking(response, hz, rng.uniform(1.0, 8.0), rng.uniform(-10.0, 10.0), rate_hz)
    fade = np.cos(np.linspace(0.0, np.pi / 2, response.size)) ** 2
    return np.asarray(response * fade)


def place(sound: Signal, response: Signal) -> Signal:
    """Let a sound go through a response: as long as before, as loud as before, on the direct path's time.

    The direct path is the first tap of at least half the highest one. Loud is the root mean square of the
    whole; silence stays silence.

    Raises:
        ConfigurationError: the response is empty, silent, or not finite.
    """
    if not response.size or not np.isfinite(response).all() or not response.any():
        raise ConfigurationError("response", response.shape, "finite taps, not all of them 0")
    heights = np.abs(response)
    direct = int(np.argmax(heights >= 0.5 * heights.max()))
    heard = np.asarray(signal.fftconvolve(sound, response)[direct : direct + sound.size])
    power = float(np.mean(heard**2))
    return heard * np.sqrt(np.mean(sound**2) / power) if power > 0 else heard


def _reflections(rng: np.random.Generator, room: Room) -> Signal:
    """Return pressure coefficients `float64[3, 2]` that give the room its decay, walls differing a little.

    Eyring's formula, solved for the mean absorption: a = 1 - exp(-24 ln(10) V / (c S T)).
    """
    x, y, z = room.size_m
    surface, volume = 2 * (x * y + y * z + z * x), x * y * z
    loss = 24 * np.log(10) * volume / (SPEED_OF_SOUND_M_S * surface * room.rt60_s)
    return np.asarray(np.exp(-loss * rng.uniform(0.8, 1.2, (3, 2)) / 2))


def _arrivals(positions: Signal, heights: Signal, taps: int) -> Signal:
    """Add up band-limited arrivals at positions in samples, not whole ones, `float64[taps]`.

    Position 0 lies at tap `REACH`, so that nothing of the first arrival is cut off.
    """
    whole = np.floor(positions).astype(np.int64)
    steps = np.arange(1 - REACH, REACH + 1)
    away = steps - (positions - whole)[:, None]
    kernels = np.sinc(away) * np.cos(np.pi * away / (2 * (REACH + 1))) ** 2 * heights[:, None]
    target = whole[:, None] + steps + REACH
    inside = (target >= 0) & (target < taps)
    return np.bincount(target[inside], weights=kernels[inside], minlength=taps).astype(np.float64)


def _with_tail(rng: np.random.Generator, early: Signal, rt60_s: float, mixing: int, rate_hz: int) -> Signal:
    """Cross over, at equal power, from images to noise of the energy that the last of them have."""
    noise = _diffuse(rng, early.size, rt60_s, rate_hz)
    end = mixing + REACH
    begin = int(0.6 * end)
    share = np.clip((np.arange(early.size) - begin) / max(1, end - begin), 0.0, 1.0)
    level = np.sqrt(np.sum(early[begin:end] ** 2) / max(float(np.sum(noise[begin:end] ** 2)), 1e-30))
    return np.asarray(early * np.sqrt(1 - share) + level * noise * np.sqrt(share))


def _diffuse(rng: np.random.Generator, taps: int, rt60_s: float, rate_hz: int) -> Signal:
    """Return decaying noise; its highs, swallowed by air and soft things, decay up to twice as fast."""
    seconds = np.arange(taps) / rate_hz
    split = signal.butter(1, min(rng.uniform(2000.0, 5000.0), 0.4 * rate_hz), fs=rate_hz, output="sos")
    noise = rng.normal(size=taps)
    lows = np.asarray(signal.sosfilt(split, noise))
    decay = np.log(1000.0) * seconds / rt60_s
    return np.asarray(lows * np.exp(-decay) + (noise - lows) * np.exp(-decay * rng.uniform(1.0, 2.0)))


def _peaking(sound: Signal, hz: float, quality: float, gain_db: float, rate_hz: int) -> Signal:
    """Raise or lower a band (R. Bristow-Johnson, Audio EQ Cookbook: peaking filter)."""
    amplitude, turn = 10 ** (gain_db / 40), 2 * np.pi * hz / rate_hz
    alpha = np.sin(turn) / (2 * quality)
    numerator = [1 + alpha * amplitude, -2 * np.cos(turn), 1 - alpha * amplitude]
    denominator = [1 + alpha / amplitude, -2 * np.cos(turn), 1 - alpha / amplitude]
    return np.asarray(signal.lfilter(numerator, denominator, sound))


def _without_rumble(response: Signal, rate_hz: int) -> Signal:
    high_pass = signal.butter(1, RUMBLE_HZ, "highpass", fs=rate_hz, output="sos")
    return np.asarray(signal.sosfilt(high_pass, response))


def _metres(point: Signal) -> tuple[float, float, float]:
    x, y, z = point.tolist()
    return x, y, z


def _check_rate(rate_hz: int) -> None:
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise ConfigurationError("rate_hz", rate_hz, f"{RATES_HZ[0]} to {RATES_HZ[1]}")
