"""Seed -> a partition's log: sensors with everything that goes wrong with them, and what truly was heard.

Time runs in ticks of 4 ms, the sensors' rates are about 1000 Hz, and the rules count milliseconds, so that
one log of a second and a half holds what a real one holds in an hour: gaps, jumps either way, pauses, new and
stale epochs, late frames, changes of rate, bytes that are no frame, ticks, a head that retention has cut, and
append times that step back by up to `MARGIN_MS`.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from processors.decision import Decision, DecisionSettings
from processors.partition import TICK_HEADER
from schemas.codec import Codec
from schemas.deadletter import Header
from schemas.frame import AudioFrame, Encoding
from schemas.model import ModelSpec, MOfN

TICK_MS, IDLE_MS, MARGIN_MS, MAX_GAP_MS = 4, 120, 12, 100
BEGIN_MS = 1_750_000_000_000
LABELS = ("loud", "high")
_SOUND_SAMPLES = 8192
_BLOCK = 24
CODEC = Codec()

Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """What a frame holds, channels averaged."""

    epoch: bytes
    first: int
    mono: Pcm
    captured_us: int
    rate_hz: int
    channels: int


@dataclass(slots=True, eq=False)
class Entry:
    """A record of the log; `sound` is None where the record is a tick or cannot be read."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    sound: Sound | None = None

    @property
    def is_tick(self) -> bool:
        return bool(self.headers)


@dataclass(slots=True)
class _Sensor:
    number: int
    key: bytes
    rate_hz: int
    channels: int
    encoding: Encoding
    clock_us: int
    epoch: int = 1
    position: int = 0
    owed: float = 0.0
    on: bool = True
    back_in: int = 0
    cut: list[tuple[int, int, int]] = field(default_factory=list)
    bases: dict[int, int] = field(default_factory=dict)


def make_decision(r: random.Random, plain: bool = False) -> Decision:
    """Draw a small model and rules in milliseconds; `plain` is 2 of 3 windows of four hops."""
    m, n, hop, segment, rate = 2, 3, 4, 8, 1000
    own: dict[str, MOfN] | None = None
    if not plain:
        m, n = r.choice(((2, 3), (2, 3), (1, 1), (3, 5), (1, 4)))
        hop, segment = r.choice((4, 4, 7, 16)), r.choice((8, 8, 5, 1))
        rate = r.choice((1000, 1000, 1000, 1000, 1000, 1000, 1600))
        own = r.choice(
            (None, {LABELS[0]: (1, n)}, {LABELS[-1]: (1, 1)}, {LABELS[0]: (n, n), LABELS[-1]: (1, 1)})
        )
    spec = ModelSpec(
        name="tiny",
        version="1",
        sample_rate_hz=rate,
        window_samples=16,
        hop_samples=hop,
        labels=LABELS,
        thresholds=dict.fromkeys(LABELS, 0.5),
        m=m,
        n=n,
        m_of_n=own,
        licence="Apache-2.0",
        digest="0" * 64,
    )
    rules = DecisionSettings(
        segment_windows=segment,
        max_missing_s=r.choice((0.0, 0.004, 0.008)),
        max_gap_s=MAX_GAP_MS / 1000,
        idle_s=IDLE_MS / 1000,
        margin_s=MARGIN_MS / 1000,
    )
    return Decision(spec, rules)


def score(pcm: Pcm) -> NDArray[np.float32]:
    """int16[B, length] -> float32[B, labels]: exact, each row for itself, not finite for some contents."""
    values = pcm.astype(np.int64)
    loud = np.abs(values).sum(axis=1) / (pcm.shape[1] * 24_000)
    high = values.sum(axis=1) / (pcm.shape[1] * 10_000)
    scores: NDArray[np.float32] = np.clip(np.stack([loud, high], axis=1), 0, 1).astype(np.float32)
    scores[values.sum(axis=1) % 61 == 7, 1] = np.nan
    return scores


def seeded(seed: int) -> random.Random:
    """Return chance that repeats itself."""
    return random.Random(seed)  # noqa: S311 - nothing is kept secret by it


def make_log(r: random.Random, sensors: int = 3, ticks: int = 240, clean: bool = False) -> list[Entry]:
    """Draw a log; a `clean` one has no late frames, stale epochs or unreadable records."""
    log = _LogMaker(r, sensors, clean).run(ticks)
    return log if clean else log[r.choice((0, 0, r.randint(30, 200))) :]


class _LogMaker:
    def __init__(self, r: random.Random, sensors: int, clean: bool) -> None:
        self._r, self._clean = r, clean
        self._log: list[Entry] = []
        self._now_ms = BEGIN_MS
        self._cuts = r.random() < 0.6
        rates = (1000, 2000, 1323) if r.random() < 0.2 else (1000,)
        self._sensors = [
            _Sensor(
                i,
                f"sensor-{i}".encode(),
                r.choice(rates),
                r.choice((1, 1, 2)),
                r.choice((Encoding.PCM_S16LE, Encoding.PCM_S16LE, Encoding.PCM_F32LE)),
                r.randint(-10_000_000, 10_000_000),
            )
            for i in range(sensors)
        ]

    def run(self, ticks: int) -> list[Entry]:
        r, skipped, step = self._r, 0, 0
        steps = r.choice((0.01, 0.01, 0.4))
        for tick in range(ticks):
            if r.random() < steps:
                step = r.randint(-MARGIN_MS + TICK_MS - 1, 0)
            if r.random() < 0.004:
                skipped += r.randint(10, 80)  # the whole partition goes quiet
                self._tick()
            for sensor in r.sample(self._sensors, len(self._sensors)):
                self._now_ms = BEGIN_MS + (tick + skipped) * TICK_MS + step + r.randint(0, TICK_MS - 1)
                self._live(sensor)
            if r.random() < 0.01:
                self._tick()
        return self._log

    def _live(self, sensor: _Sensor) -> None:
        """One tick of a sensor's life."""
        r = self._r
        if sensor.on and r.random() < 0.012:
            sensor.on = False
            about_idle = IDLE_MS // TICK_MS + r.randint(-3, 1)
            sensor.back_in = r.choice((about_idle, int(r.expovariate(0.04))))
        elif not sensor.on and sensor.back_in > 0:
            sensor.back_in -= 1
        elif not sensor.on:
            self._resume(sensor)
        if not sensor.on:
            return
        self._jump(sensor)
        if not self._clean:
            self._disturb(sensor)
        sensor.owed += sensor.rate_hz * TICK_MS / 1000
        size = int(sensor.owed)
        if self._cuts and r.random() < 0.4 and sensor.owed < 100:
            return
        sensor.owed -= size
        for a, b in pairwise(self._cut(size)):
            if r.random() >= 0.03:  # the others never arrive
                self._frame(sensor, sensor.epoch, sensor.position + a, b - a)
                if not self._clean and r.random() < 0.003:
                    self._frame(sensor, sensor.epoch, sensor.position + b, 4, rate_hz=1999)
            sensor.cut.append((sensor.epoch, sensor.position + a, b - a))
        sensor.position += size

    def _cut(self, size: int) -> list[int]:
        inner = self._r.sample(range(1, size), min(size - 1, self._r.randint(0, 2))) if self._cuts else []
        return [0, *sorted(inner), size]

    def _resume(self, sensor: _Sensor) -> None:
        r, frame = self._r, sensor.rate_hz * TICK_MS // 1000
        sensor.on = True
        if r.random() < 0.4:
            sensor.epoch += 1
            sensor.position = r.choice((0, 0, r.randint(0, 200)))
        elif r.random() < 0.4:
            sensor.position += r.randint(1, 60) * frame

    def _jump(self, sensor: _Sensor) -> None:
        r, frame = self._r, sensor.rate_hz * TICK_MS // 1000
        if r.random() < 0.008:
            sensor.position += r.randint(5, 60) * frame + r.randint(0, 3)
        if r.random() < 0.004 and sensor.position > 80 * frame:
            sensor.position -= r.randint(26, 80) * frame

    def _disturb(self, sensor: _Sensor) -> None:
        r, frame = self._r, sensor.rate_hz * TICK_MS // 1000
        if r.random() < 0.02 and sensor.cut:
            self._frame(sensor, *r.choice(sensor.cut[-12:]))  # once more, or late
        if r.random() < 0.003 and sensor.epoch > 1:
            self._frame(sensor, sensor.epoch - 1, r.randint(0, 200), frame)
        if r.random() < 0.008:
            self._unreadable(sensor)

    def _tick(self) -> None:
        self._append(None, None, None, [(TICK_HEADER, b"")])

    def _unreadable(self, sensor: _Sensor) -> None:
        good = next((e.value for e in reversed(self._log) if e.sound), None) or b""
        key, value = self._r.choice(
            (
                (sensor.key, None),
                (sensor.key, b""),
                (sensor.key, self._r.randbytes(40)),
                (sensor.key, good[:-1]),
                (sensor.key, good + b"\0"),
                (b"\xff", good),
                (None, good),
                (None, None),
            )
        )
        self._append(key, value, None)

    def _frame(self, s: _Sensor, epoch: int, first: int, samples: int, rate_hz: int | None = None) -> None:
        r = self._r
        base = s.bases.setdefault(epoch, r.choice((0, 0, 2**40 + r.randint(0, 999))))
        channels = np.stack([_sound(s.number, epoch, c, first, samples) for c in range(s.channels)], axis=1)
        if s.encoding is Encoding.PCM_S16LE:
            data = channels.astype("<i2").tobytes()
        else:
            data = ((channels + 0.25) / 32768).astype("<f4").tobytes()
        captured_us = self._now_ms * 1000 + s.clock_us + r.randint(-500, 500)
        name = epoch.to_bytes(6) + b"\x70" + bytes([s.number]) + b"\x80" + bytes(7)
        frame = AudioFrame(
            name, base + first, samples, captured_us, rate_hz or s.rate_hz, s.channels, s.encoding, data
        )
        mono = _mean(channels)
        sound = Sound(name, base + first, mono, captured_us, rate_hz or s.rate_hz, s.channels)
        self._append(s.key, CODEC.encode(frame), sound)

    def _append(
        self, key: bytes | None, value: bytes | None, sound: Sound | None, headers: Sequence[Header] = ()
    ) -> None:
        self._log.append(Entry(len(self._log), self._now_ms, key, value, headers, sound))


def _mean(channels: Pcm) -> Pcm:
    """Average one or two channels, half to even, in integers."""
    if channels.shape[1] == 1:
        return channels[:, 0]
    total = channels.astype(np.int32).sum(axis=1)
    half = total >> 1
    mean: Pcm = (half + (total & half & 1)).astype(np.int16)
    return mean


_SOUNDS: dict[tuple[int, int, int], Pcm] = {}


def _sound(sensor: int, epoch: int, channel: int, first: int, samples: int) -> Pcm:
    """Return sound that tells who and where: noise, in blocks that are loud or quiet, raised or level."""
    name = sensor, epoch, channel
    if name not in _SOUNDS:
        seed = int.from_bytes(hashlib.sha256(repr(name).encode()).digest()[:8])
        shape = np.random.default_rng(sensor * 1000 + epoch)  # the same for both channels
        blocks = _SOUND_SAMPLES // _BLOCK + 1
        loud = np.where(shape.random(blocks) < 0.45, 26_000, 9_000).repeat(_BLOCK)[:_SOUND_SAMPLES]
        raised = np.where(shape.random(blocks) < 0.45, 6_000, 0).repeat(_BLOCK)[:_SOUND_SAMPLES]
        noise = np.random.default_rng(seed).uniform(-1, 1, _SOUND_SAMPLES)
        _SOUNDS[name] = (loud * noise + raised).astype(np.int16)
    return _SOUNDS[name][np.arange(first, first + samples) % _SOUND_SAMPLES]
