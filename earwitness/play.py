"""`earwitness capture` and `earwitness simulate`: sound into the frames topic."""

import gc
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from earwitness.opening import Sound
from earwitness.progress import Reading
from earwitness.settings import Settings
from earwitness.topics import TopicAdmin
from producers.capture import Capture, CaptureSettings
from producers.clips import Clip, ClipPool, mono
from producers.fleet import Fleet, FleetReport, FleetSettings
from producers.live import LiveCapture, LiveSettings
from producers.meter import Meter
from producers.outlet import Played
from producers.publisher import FramePublisher
from producers.sources.files import files_in
from producers.sources.folder import WatchedFolder, open_file
from producers.sources.scene import Scene
from producers.spooling import SpoolingSink, SpoolState
from schemas.errors import CaptureError, ConfigurationError, DeliveryError
from schemas.frame import AudioFrame

_LOG = logging.getLogger(__name__)

FLUSH_S, SPOOLED_FLUSH_S = 30.0, 5.0
"""How long what is on its way may take at the end; what a spool has need not be waited for."""
_OF_ONE_FILE = {"frame_ms", "pace"}
"""Settings that do not fit the channels, the rate or the length of one file, and may well fit the next."""


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """What a capture did, and what of it is stored.

    `broken`: recordings not captured to their end. `again`: those captured again, because they were changed.
    `spool`: what became of the frames that waited in the spool, where there is one.
    """

    played: Played
    acknowledged: int
    undelivered: int = 0
    broken: int = 0
    again: int = 0
    spool: SpoolState | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing was lost; what waits in the spool is not."""
        kept = self.spool.kept if self.spool is not None else None
        kept_whole = kept is None or kept.whole
        return kept_whole and not (self.undelivered or self.broken or self.played.losses)

    def as_line(self, sensor: str) -> str:
        """Return it as one line."""
        played = self.played
        said = [f"{sensor}: {self.acknowledged} frames stored, {played.samples} samples"]
        said.append(f"{played.epochs} {'epoch' if played.epochs == 1 else 'epochs'}")
        if played.losses:
            said.append(f"LOST {played.lost_samples} samples that were counted, {played.losses} times")
        if self.undelivered:
            said.append(f"NOT DELIVERED: {self.undelivered} frames")
        if self.broken:
            said.append(f"BROKEN: {self.broken} recordings")
        if self.again:
            said.append(f"CAPTURED AGAIN: {self.again} recordings that changed")
        if self.spool is not None:
            said += self.spool.as_words()
        return "; ".join(said)


class CaptureRun:
    """One `earwitness capture`, of whatever kind of sound."""

    def __init__(
        self, sensor: str, publisher: FramePublisher | SpoolingSink, how: CaptureSettings, stop: Event
    ) -> None:
        self._sensor, self._publisher, self._how, self._stop = sensor, publisher, how, stop
        self._meter, self._past, self.broken, self.again = Meter(), Played(), 0, 0
        self._playing: tuple[str, Capture] | None = None
        self._live: LiveCapture | None = None

    @property
    def played(self) -> Played:
        """What was captured so far."""
        if self._live is not None:
            return self._live.played
        return self._past + self._playing[1].played if self._playing is not None else self._past

    def reading(self) -> Reading:
        """Return how it is doing; the level is of the sound since the last time."""
        spool = self._publisher.spool if isinstance(self._publisher, SpoolingSink) else None
        return Reading(self._meter.take(), self.played, self._publisher.counts, spool)

    def play(self, sound: Sound) -> None:
        """Capture until the sound ends or `stop` is set.

        Raises:
            CaptureError: there is no sound, or no more of it.
            ConfigurationError: the sensor, or a setting, cannot work for any sound.
            DeliveryError: the publisher has failed for good.

        """
        if isinstance(sound, WatchedFolder):
            for file in sound.files(self._stop):
                self._play_file(file)
                self.again = sound.again
        elif isinstance(sound, list):
            self._player(self._sensor).play(sound, self._stop)
        else:
            settings = LiveSettings(self._how.partition_check_s, self._how.framer)
            self._live = LiveCapture(self._sensor, self._publisher, settings, meter=self._meter)
            self._live.run(sound, self._stop)

    def _play_file(self, file: Path) -> None:
        sensor = self._sensor.replace("{stem}", file.stem).replace("{folder}", file.parent.name)
        try:
            _LOG.info("%s: %s", sensor, file)
            self._player(sensor).play([open_file(file)], self._stop)
        except CaptureError as exc:
            self._say_broken(str(exc))
        except ConfigurationError as exc:
            named_by_file = exc.key == "sensor" and sensor != self._sensor
            if not named_by_file and exc.key not in _OF_ONE_FILE:
                raise
            self._say_broken(f"cannot capture from {str(file)!a}: {exc}")

    def _say_broken(self, why: str) -> None:
        self.broken += 1
        _LOG.error("broken: %s; the watch goes on", why)

    def _player(self, sensor: str) -> Capture:
        if self._playing is None or self._playing[0] != sensor:
            self._past = self.played
            self._playing = sensor, Capture(sensor, self._publisher, self._how, meter=self._meter)
        return self._playing[1]


Show = Callable[[Callable[[], Reading]], AbstractContextManager[None]]
"""Shows readings while it is entered."""


def capture(
    settings: Settings, sound: Sound, sensor: str, how: CaptureSettings, stop: Event, show: Show
) -> CaptureReport:
    """Capture a sound as one sensor; `{stem}` and `{folder}` in its name stand for those of a watched file.

    With a spool, a capture whose sound is over goes on until all that waited is delivered, or it is stopped.

    Raises:
        CaptureError: there is no sound to capture.
        ConfigurationError: the sensor, or a setting, cannot work for any sound.
        DeliveryError: the publisher has failed for good.

    """
    publisher = open_publisher(settings) if settings.spool.directory is None else open_spooling(settings)
    run = CaptureRun(sensor, publisher, how, stop)
    try:
        with show(run.reading):
            run.play(sound)
            if isinstance(publisher, SpoolingSink):
                publisher.finish(stop)
    finally:
        undelivered = publisher.close(FLUSH_S if isinstance(publisher, FramePublisher) else SPOOLED_FLUSH_S)
    spool = publisher.spool if isinstance(publisher, SpoolingSink) else None
    return CaptureReport(run.played, publisher.counts.acknowledged, undelivered, run.broken, run.again, spool)


def simulate(
    settings: Settings, fleet: FleetSettings, sounds: Path | None, sample_rate_hz: int, stop: Event
) -> FleetReport:
    """Play sounds, or the synthetic scene, as a fleet of sensors.

    Raises:
        CaptureError: a file cannot be read.

    """
    pool = clip_pool(sounds, sample_rate_hz)
    publisher = open_publisher(settings)
    gc.collect()
    gc.freeze()  # the pool stays: going through it again and again made frames late
    try:
        report = Fleet(fleet, pool, publisher).run(stop)
    finally:
        undelivered = publisher.close(FLUSH_S)
    if undelivered > report.failed:
        raise DeliveryError(f"{undelivered} frames were not delivered: {publisher.counts}")
    return report


def clip_pool(sounds: Path | None, sample_rate_hz: int) -> ClipPool:
    """Decode what a fleet plays: a file, a folder, or the synthetic scene."""
    if sounds is not None:
        return ClipPool.read(files_in(sounds), sample_rate_hz)
    scene = Scene()
    return ClipPool([Clip(scene.name, None, mono(scene, sample_rate_hz))], sample_rate_hz)


def open_publisher(settings: Settings) -> FramePublisher:
    """Open a publisher to the tenant's frames topic.

    Raises:
        ConfigurationError: a setting cannot work, or the schema registry does not take frames.

    """
    kafka, topic, codec = settings.kafka.librdkafka(), settings.tenant.frames, settings.codec()
    if not settings.kafka.embedded:
        TopicAdmin(kafka).check_admitted(topic)
    codec.prepare(AudioFrame)
    return FramePublisher(kafka, topic, codec, settings.publisher)


def open_spooling(settings: Settings) -> SpoolingSink:
    """Open a sink that spools while the broker, or the schema registry, takes nothing.

    Raises:
        ConfigurationError: a setting cannot work, or another process uses the spool.

    """
    kafka, tenant = settings.kafka.librdkafka(), settings.tenant
    return SpoolingSink(kafka, tenant, settings.codec(), settings.publisher, settings.spool)
