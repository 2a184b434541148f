"""A fleet's sensors are continuous, on time at any speed, and play what the plan says."""

import math
from itertools import pairwise
from threading import Event, Timer

import numpy as np
import pytest

from producers.client import PublisherSettings
from producers.clips import Clip, ClipPool
from producers.fleet import Fleet, FleetReport, FleetSettings, Phases
from producers.framer import duration_us
from producers.publisher import FramePublisher
from schemas.codec import Codec
from schemas.errors import ConfigurationError
from tests.producers.conftest import (
    DEADLINE_S,
    CountedEpochs,
    ManualClock,
    Record,
    counting,
    heard,
    records_of,
)

POOL = ClipPool([Clip("a", "siren", counting(5000)[:, 0]), Clip("b", None, counting(900)[:, 0])], 16_000)


def run(
    embedded: str, topic: str, settings: FleetSettings, clock: ManualClock, pool: ClipPool = POOL
) -> tuple[FleetReport, dict[str, list[Record]]]:
    """Run a fleet and read back what it published, by sensor."""
    publisher = FramePublisher({"bootstrap.servers": embedded}, topic, Codec())
    report = Fleet(settings, pool, publisher, clock).run(Event())
    assert publisher.close(DEADLINE_S) == 0
    by_sensor: dict[str, list[Record]] = {}
    for record in records_of(embedded, topic, report.frames_sent):
        by_sensor.setdefault(record.sensor, []).append(record)
    return report, by_sensor


@pytest.mark.parametrize("speed", [0.5, 1.0, 8.0, None])
def test_every_sensor_is_one_unbroken_epoch_of_exactly_the_seconds_asked_for(
    embedded: str, clock: ManualClock, speed: float | None
) -> None:
    settings = FleetSettings(sensors=3, seconds=1.01, speed=speed)
    report, by_sensor = run(embedded, f"unbroken-{speed}", settings, clock)
    assert sorted(by_sensor) == ["sensor-0001", "sensor-0002", "sensor-0003"]
    assert report.samples_sent == report.samples_acknowledged == dict.fromkeys(by_sensor, 16_160)
    assert (report.failed, report.refused, report.acknowledged) == (0, 0, report.frames_sent)
    epochs = set()
    for records in by_sensor.values():
        frames = [record.frame for record in records]
        epochs |= {frame.epoch for frame in frames}
        assert frames[0].first_sample == 0
        assert all(later.first_sample == frame.end_sample for frame, later in pairwise(frames))
        assert all(later.captured_at_us > frame.captured_at_us for frame, later in pairwise(frames))
        assert frames[-1].captured_at_us <= clock.wall_us()
    assert len(epochs) == 3


def test_the_plan_is_the_truth_about_what_was_published(embedded: str, clock: ManualClock) -> None:
    settings = FleetSettings(sensors=2, seconds=3.0, speed=None, seed=5)
    report, by_sensor = run(embedded, "planned", settings, clock)
    fleet = Fleet(settings, POOL, FramePublisher({"bootstrap.servers": embedded}, "planned", Codec()))
    clips = {clip.name: clip.samples for clip in POOL.clips}
    for sensor, records in by_sensor.items():
        plan = fleet.plan(sensor, report.samples_sent[sensor])
        assert {placement.label for placement in plan} == {"siren", None}
        expected = [clips[p.clip][: p.end_sample - p.first_sample] for p in plan]
        assert np.array_equal(heard([r.frame for r in records])[:, 0], np.concatenate(expected))


def test_aligned_sensors_send_together_and_frames_are_due_by_the_sample_count(
    embedded: str, clock: ManualClock
) -> None:
    pool = ClipPool([Clip("a", None, counting(999)[:, 0])], 11_025)
    settings = FleetSettings(sensors=4, seconds=2.0, speed=2.0, phases=Phases.ALIGNED, frame_ms=15, tick_ms=0)
    report, by_sensor = run(embedded, "aligned", settings, clock, pool)
    assert report.max_late_ms <= 0.001
    for records in by_sensor.values():
        for frame in (record.frame for record in records):
            due_us = clock.offset_us + duration_us(frame.end_sample, 11_025) // 2
            assert frame.captured_at_us == due_us


def test_random_phases_spread_the_sensors_over_a_second(embedded: str, clock: ManualClock) -> None:
    _, by_sensor = run(embedded, "spread", FleetSettings(sensors=50, seconds=0.02), clock)
    phases_us = [records[0].frame.captured_at_us - clock.offset_us - 20_000 for records in by_sensor.values()]
    assert min(phases_us) >= 0
    assert 900_000 < max(phases_us) < 1_000_000
    assert len(set(phases_us)) == 50


def test_an_endless_fleet_stops_at_once_and_everything_it_sent_is_delivered(
    embedded: str, clock: ManualClock
) -> None:
    stop = Event()
    clock.at(10.0, stop.set)
    publisher = FramePublisher({"bootstrap.servers": embedded}, "endless", Codec())
    settings = FleetSettings(sensors=2, phases=Phases.ALIGNED)
    report = Fleet(settings, POOL, publisher, clock).run(stop)
    assert clock.now_us == 10_000_000
    assert report.acknowledged == report.frames_sent == pytest.approx(2 * 500, abs=2)


def test_a_stop_is_noticed_while_a_fleet_runs_as_fast_as_it_can(embedded: str) -> None:
    stop = Event()
    publisher = FramePublisher({"bootstrap.servers": embedded}, "fast", Codec())
    timer = Timer(0.05, stop.set)
    timer.start()
    report = Fleet(FleetSettings(sensors=2, seconds=36_000, speed=None), POOL, publisher).run(stop)
    timer.join()
    assert 0 < report.acknowledged == report.frames_sent < 2 * 50 * 36_000


def test_a_fleet_that_cannot_keep_up_says_how_late_it_was(embedded: str, clock: ManualClock) -> None:
    clock.at(0.5, lambda: setattr(clock, "now_us", 2_500_000))
    report, by_sensor = run(
        embedded, "late", FleetSettings(sensors=1, seconds=10.0, phases=Phases.ALIGNED), clock
    )
    assert report.max_late_ms == pytest.approx(2000, abs=21)
    assert 1500 < report.p99_late_ms <= report.max_late_ms
    assert sum(record.frame.samples for record in by_sensor["sensor-0001"]) == 160_000


def test_frames_that_find_no_room_are_gaps_and_are_reported(clock: ManualClock) -> None:
    nobody = {"bootstrap.servers": "127.0.0.1:1"}
    settings = PublisherSettings(buffer_frames=10, delivery_timeout_ms=1000)
    publisher = FramePublisher(nobody, "frames", Codec(), settings)
    report = Fleet(FleetSettings(sensors=1, seconds=1.0), POOL, publisher, clock).run(Event())
    assert (report.frames_sent, report.refused, report.failed, report.acknowledged) == (10, 40, 10, 0)


def test_epochs_are_named_once_for_each_sensor(embedded: str) -> None:
    epochs = CountedEpochs()
    publisher = FramePublisher({"bootstrap.servers": embedded}, "named", Codec())
    Fleet(FleetSettings(sensors=1), POOL, publisher, new_epoch=epochs)
    assert len(epochs.named) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sensors", 0),
        ("speed", 0.0),
        ("seconds", -1.0),
        ("tick_ms", -1.0),
        ("speed", math.inf),
        ("speed", math.nan),
        ("seconds", math.nan),
        ("seed", -1),
        ("pattern", "{0.real.x}"),
        ("pattern", "same"),
        ("pattern", "{x}"),
    ],
)
def test_settings_that_make_no_fleet_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=key):
        FleetSettings(**{"sensors": 2, key: value})  # type: ignore[arg-type]


def test_endless_sound_as_fast_as_possible_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="seconds"):
        FleetSettings(speed=None, seconds=None)
