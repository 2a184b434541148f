"""`earwitness capture` and `earwitness simulate`: sound into the frames topic."""

import gc
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from earwitness.settings import Settings
from producers.capture import Capture, CaptureSettings, Played
from producers.clips import Clip, ClipPool, mono
from producers.fleet import Fleet, FleetReport, FleetSettings
from producers.publisher import FramePublisher
from producers.sources.files import FileSource, files_in
from producers.sources.scene import Scene
from schemas.errors import DeliveryError

FLUSH_S = 30.0


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """What a capture did, and what of it is stored."""

    played: Played
    acknowledged: int


def capture(settings: Settings, path: Path, sensor: str, how: CaptureSettings, stop: Event) -> CaptureReport:
    """Play a file, or a folder of files, as one sensor.

    Raises:
        CaptureError: there is no sound to play.
        DeliveryError: frames could not be delivered.

    """
    sources = [FileSource(file) for file in files_in(path)]
    publisher = open_publisher(settings)
    try:
        played = Capture(sensor, publisher, how).play(sources, stop)
    finally:
        undelivered = publisher.close(FLUSH_S)
    lost = undelivered + publisher.counts.refused
    if lost:
        raise DeliveryError(f"{lost} frames of {sensor} were not delivered: {publisher.counts}")
    return CaptureReport(played, publisher.counts.acknowledged)


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
    """Open a publisher to the tenant's frames topic."""
    kafka, topic = settings.kafka.librdkafka(), settings.tenant.frames
    return FramePublisher(kafka, topic, settings.codec(), settings.publisher)
