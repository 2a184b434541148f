"""A clip pool -> the frames of N simulated sensors, from one thread, on one schedule.

    turn k    | s3  s1 s7   s2 ...   | s3  s1 s7   s2 ...   |      every sensor at its phase,
              t0                     t0 + frame                    in the same order each time

All sensors have the same rate and frame length, so their order never changes: a wheel, where sensors of many
kinds would need a heap. A frame is due at `t0 + phase + samples / rate / speed`, computed from the start.
Random phases reach over a second of sound, not over a frame: sensors that count from the same moment would
fill their windows at the same moment, which no real fleet does.
Each sensor is one epoch; what it plays is a function of the seed (`Fleet.plan`), and so is the ground truth.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, pairwise
from threading import Event

import numpy as np

from producers.clips import ClipPool, Placement, Playlist, plan
from producers.clock import Clock, SystemClock
from producers.errors import BufferFullError
from producers.framer import MAX_FRAME_MS, MIN_FRAME_MS, NewEpoch, duration_us, frame_end
from producers.lateness import Lateness
from producers.publisher import FramePublisher
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch

FLUSH_TIMEOUT_S = 30.0
PHASES_OVER_S = 1.0
_OVER = (0, 0)


class Phases(StrEnum):
    """Whether the sensors begin spread over a second of sound, or all at once."""

    RANDOM = "random"
    ALIGNED = "aligned"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """A fleet. `speed`: a multiple of real time, None for as fast as possible. `seconds`: of sound, None for
    endless.

    `tick_ms`: the shortest wait; what becomes due in it leaves together, a little late, for fewer wake-ups.
    `captured_at_us` is when a frame is due by the wall clock; as fast as possible, it is as if the sound had
    just ended.
    """

    sensors: int = 10
    pattern: str = "sensor-{:04d}"
    frame_ms: int = 20
    seconds: float | None = None
    speed: float | None = 1.0
    phases: Phases = Phases.RANDOM
    seed: int = 0
    tick_ms: float = 0.5

    def __post_init__(self) -> None:
        if self.sensors < 1:
            raise ConfigurationError("sensors", self.sensors, "1 or more")
        if self.speed is not None and not 0 < self.speed < math.inf:
            raise ConfigurationError("speed", self.speed, "more than 0, or nothing for as fast as possible")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ConfigurationError("seconds", self.seconds, "more than 0, or nothing for endless")
        if self.seed < 0:
            raise ConfigurationError("seed", self.seed, "0 or more")
        if self.speed is None and self.seconds is None:
            accepted = "a number where speed is as fast as possible: endless sound cannot just have ended"
            raise ConfigurationError("seconds", None, accepted)
        if not MIN_FRAME_MS <= self.frame_ms <= MAX_FRAME_MS:
            raise ConfigurationError("frame_ms", self.frame_ms, f"{MIN_FRAME_MS} to {MAX_FRAME_MS}")
        if not 0 <= self.tick_ms < math.inf:
            raise ConfigurationError("tick_ms", self.tick_ms, "0 or more")
        if len(set(self.names())) != self.sensors:
            raise ConfigurationError("pattern", self.pattern, "a name for each number, such as sensor-{:04d}")

    def names(self) -> list[str]:
        """Return the sensors' ids, counted from 1.

        Raises:
            ConfigurationError: the pattern is not a format for one number.

        """
        try:
            return [self.pattern.format(number) for number in range(1, self.sensors + 1)]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
            raise ConfigurationError("pattern", self.pattern, "a format such as sensor-{:04d}") from exc


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What a fleet did. Lateness: from when a frame was due to when it was handed over."""

    frames_sent: int
    acknowledged: int
    failed: int
    refused: int
    elapsed_s: float
    max_late_ms: float
    p99_late_ms: float
    samples_sent: Mapping[str, int]
    samples_acknowledged: Mapping[str, int]


@dataclass(slots=True)
class _Sensor:
    name: str
    epoch: bytes
    phase_us: int
    first_turn: int
    playlist: Playlist
    frames: Iterator[tuple[int, int]]
    over: bool = False
    sent_frames: int = 0
    sent_samples: int = 0
    refused: int = 0


class Fleet:
    """Plays a clip pool as many sensors through one publisher; `run` once."""

    def __init__(
        self,
        settings: FleetSettings,
        pool: ClipPool,
        publisher: FramePublisher,
        clock: Clock | None = None,
        new_epoch: NewEpoch = new_epoch,
    ) -> None:
        self._settings, self._pool, self._publisher = settings, pool, publisher
        self._clock = clock or SystemClock()
        self._sensors = self._make_sensors(new_epoch)
        self._lateness = Lateness()

    def plan(self, sensor: str, samples: int) -> tuple[Placement, ...]:
        """Return which clips a sensor plays in its first `samples` samples."""
        index = self._settings.names().index(sensor)
        return tuple(plan(self._pool, self._settings.seed, index, samples))

    def run(self, stop: Event, flush_timeout_s: float = FLUSH_TIMEOUT_S) -> FleetReport:
        """Play until the seconds are over or `stop` is set, then wait until everything is delivered.

        What is not delivered in `flush_timeout_s` stays with the publisher, whose owner closes it.

        Raises:
            ConfigurationError: a sensor's id cannot be a key.
            DeliveryError: the publisher has failed for good.

        """
        before = self._publisher.counts
        start_us = self._clock.monotonic_us()
        self._play(start_us, stop)
        self._publisher.flush(flush_timeout_s)
        after, acknowledged = self._publisher.counts, self._publisher.samples_acknowledged
        return FleetReport(
            frames_sent=sum(sensor.sent_frames for sensor in self._sensors),
            acknowledged=after.acknowledged - before.acknowledged,
            failed=after.failed - before.failed,
            refused=sum(sensor.refused for sensor in self._sensors),
            elapsed_s=(self._clock.monotonic_us() - start_us) / 1e6,
            max_late_ms=self._lateness.max_ms,
            p99_late_ms=self._lateness.quantile_ms(0.99),
            samples_sent={sensor.name: sensor.sent_samples for sensor in self._sensors},
            samples_acknowledged={sensor.name: acknowledged.get(sensor.name, 0) for sensor in self._sensors},
        )

    def _make_sensors(self, new_epoch: NewEpoch) -> list[_Sensor]:
        settings = self._settings
        turn_us = 1000 * settings.frame_ms / (settings.speed or 1.0)
        spread_us = 1e6 * PHASES_OVER_S / (settings.speed or 1.0)
        phases = np.random.default_rng(settings.seed).uniform(0, spread_us, settings.sensors)
        if settings.phases is Phases.ALIGNED or settings.speed is None:
            phases[:] = 0
        sensors = [
            _Sensor(
                name,
                new_epoch(None),
                int(phases[i]),
                int(phases[i] / turn_us),
                Playlist(self._pool, settings.seed, i),
                pairwise(self._ends()),
            )
            for i, name in enumerate(settings.names())
        ]
        return sorted(sensors, key=lambda sensor: sensor.phase_us % turn_us)

    def _play(self, start_us: int, stop: Event) -> None:
        speed = self._settings.speed
        offset_us = self._clock.wall_us() - start_us
        if speed is None:
            offset_us -= round(1e6 * (self._settings.seconds or 0.0)) + 1
        playing = self._sensors
        for turn in count():
            for sensor in playing:
                if turn < sensor.first_turn:
                    continue
                first_sample, end_sample = next(sensor.frames, _OVER)
                if end_sample == 0:
                    sensor.over = True
                    continue
                sound_us = duration_us(end_sample, self._pool.sample_rate_hz) / (speed or 1.0)
                due_us = start_us + sensor.phase_us + int(sound_us)
                if speed is not None and self._stopped_before(due_us, stop):
                    return
                self._send(sensor, first_sample, end_sample - first_sample, due_us + offset_us, stop)
            playing = [sensor for sensor in playing if not sensor.over]
            if stop.is_set() or not playing:
                return

    def _ends(self) -> Iterator[int]:
        """Give 0 and the sample before which each frame ends."""
        rate_hz, frame_ms, seconds = (
            self._pool.sample_rate_hz,
            self._settings.frame_ms,
            self._settings.seconds,
        )
        total = None if seconds is None else round(seconds * rate_hz)
        end = 0
        yield end
        while total is None or end < total:
            end = frame_end(end, rate_hz, frame_ms)
            yield end if total is None else min(end, total)

    def _stopped_before(self, due_us: int, stop: Event) -> bool:
        clock = self._clock
        while (late_us := clock.monotonic_us() - due_us) < 0:
            if clock.wait(stop, max(-late_us / 1e6, self._settings.tick_ms / 1e3)):
                return True
        self._lateness.add(late_us)
        return False

    def _send(
        self, sensor: _Sensor, first_sample: int, samples: int, captured_at_us: int, stop: Event
    ) -> None:
        frame = AudioFrame(
            sensor.epoch,
            first_sample,
            samples,
            captured_at_us,
            self._pool.sample_rate_hz,
            1,
            Encoding.PCM_S16LE,
            sensor.playlist.read(samples),
        )
        try:
            if self._settings.speed is None:
                self._publisher.publish_waiting(sensor.name, frame, stop)
            else:
                self._publisher.publish(sensor.name, frame)
        except BufferFullError:
            sensor.refused += 1  # a gap inside the epoch, and in the report
        else:
            sensor.sent_frames += 1
            sensor.sent_samples += samples
