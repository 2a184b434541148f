"""Sound is published when it is due, neither earlier nor drifting, and a stop or a pause is immediate."""

from collections.abc import Iterator
from itertools import pairwise
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.capture import Capture, CaptureSettings, Pace, Schedule
from producers.framer import FramerSettings, duration_us
from producers.outlet import Played
from producers.publisher import FramePublisher
from producers.source import Block
from schemas.codec import Codec
from schemas.errors import CaptureError, ConfigurationError
from tests.producers.conftest import (
    DEADLINE_S,
    ArraySource,
    CountedEpochs,
    ManualClock,
    MemorySink,
    counting,
    heard,
    records_of,
)


class BrokenSource(ArraySource):
    """Breaks after its last sample."""

    def blocks(self) -> Iterator[Block]:
        yield from super().blocks()
        raise CaptureError(self.name, "the cable was pulled")


class SlowSource(ArraySource):
    """Takes three seconds to open."""

    def __init__(self, clock: ManualClock, sound: Block) -> None:
        super().__init__(sound)
        self._clock = clock

    def blocks(self) -> Iterator[Block]:
        self._clock.now_us += 3_000_000
        yield from super().blocks()


def capture_to(sink: MemorySink, settings: CaptureSettings | None = None) -> Capture:
    return Capture("roof", sink, settings, sink.clock, CountedEpochs())


def epochs_of(sink: MemorySink) -> list[bytes]:
    return list(dict.fromkeys(frame.epoch for frame in sink.frames))


@given(
    block_samples=st.integers(1, 3000),
    rate_hz=st.sampled_from([8000, 11_025, 16_000, 44_100]),
    frame_ms=st.integers(1, 200),
)
def test_each_frame_is_sent_exactly_when_its_last_sample_is_due(
    block_samples: int, rate_hz: int, frame_ms: int
) -> None:
    sink, sound = MemorySink(ManualClock()), counting(5000)
    settings = CaptureSettings(framer=FramerSettings(frame_ms=frame_ms))
    played = capture_to(sink, settings).play([ArraySource(sound, rate_hz, block_samples)], Event())
    assert np.array_equal(heard(sink.frames), sound)
    assert played == Played(frames=len(sink.frames), samples=5000, epochs=1)
    for frame, at_us in zip(sink.frames, sink.at_us, strict=True):
        assert at_us == duration_us(frame.end_sample, rate_hz)
        assert frame.captured_at_us == sink.clock.offset_us + at_us


def test_an_hour_at_44100_hz_ends_after_exactly_an_hour() -> None:
    schedule = Schedule(0)
    dues_us = [schedule.advance(882, 44_100) for _ in range(180_000)]
    assert dues_us[-1] == 3_600_000_000
    assert all(later - due in {20_000} for due, later in pairwise(dues_us))


def test_a_schedule_goes_on_where_the_rate_changes_and_after_a_delay() -> None:
    schedule = Schedule(5)
    schedule.advance(16_000, 16_000)
    assert schedule.advance(4000, 8000) == 1_500_005
    schedule.delay(1000)
    assert schedule.advance(8000, 8000) == 2_501_005


def test_a_late_machine_catches_up_and_captured_at_stays_when_it_was_due(
    clock: ManualClock, sink: MemorySink
) -> None:
    clock.at(0.1, lambda: setattr(clock, "now_us", 1_000_000))
    capture_to(sink).play([ArraySource(counting(16_000))], Event())
    assert sink.at_us[4] == sink.at_us[-1] == 1_000_000
    assert [frame.captured_at_us - clock.offset_us for frame in sink.frames] == list(
        range(20_000, 1_000_001, 20_000)
    )
    assert len(epochs_of(sink)) == 1


def test_a_source_that_is_slow_to_open_is_not_late_but_begins_later(
    clock: ManualClock, sink: MemorySink
) -> None:
    sources = [SlowSource(clock, counting(640)), SlowSource(clock, counting(640))]
    capture_to(sink).play(sources, Event())
    assert sink.at_us == [3_020_000, 3_040_000, 6_060_000, 6_080_000]
    assert [frame.captured_at_us - clock.offset_us for frame in sink.frames] == sink.at_us


def test_as_fast_as_possible_nothing_waits_and_no_sound_lies_in_the_future(
    clock: ManualClock, sink: MemorySink
) -> None:
    sources = [ArraySource(counting(16_000)), ArraySource(counting(4410), 44_100)]
    capture_to(sink, CaptureSettings(pace=Pace.FAST)).play(sources, Event())
    assert clock.now_us == 0
    last_us = sink.frames[-1].captured_at_us
    assert clock.wall_us() - 10 <= last_us <= clock.wall_us()
    assert sink.frames[0].captured_at_us == pytest.approx(clock.wall_us() - 1_080_000, abs=10)


def test_every_source_is_an_epoch_of_its_own_that_ends_in_a_short_frame(sink: MemorySink) -> None:
    capture_to(sink).play([ArraySource(counting(400)), ArraySource(counting(400))], Event())
    assert [(f.first_sample, f.samples) for f in sink.frames] == [(0, 320), (320, 80)] * 2
    assert len(epochs_of(sink)) == 2


def test_gapless_sources_are_one_epoch(sink: MemorySink) -> None:
    sources = [ArraySource(counting(400)), ArraySource(counting(400))]
    capture_to(sink, CaptureSettings(gapless=True)).play(sources, Event())
    assert [(f.first_sample, f.samples) for f in sink.frames] == [(0, 320), (320, 320), (640, 160)]
    assert len(epochs_of(sink)) == 1


def test_gapless_sources_of_another_rate_are_still_another_epoch(sink: MemorySink) -> None:
    sources = [ArraySource(counting(400)), ArraySource(counting(200), 8000)]
    capture_to(sink, CaptureSettings(gapless=True)).play(sources, Event())
    assert len(epochs_of(sink)) == 2
    assert sum(frame.samples for frame in sink.frames) == 600


def test_sources_repeat_without_end_until_stopped_in_the_middle_of_a_frame(
    clock: ManualClock, sink: MemorySink
) -> None:
    stop = Event()
    clock.at(1.005, stop.set)
    settings = CaptureSettings(gapless=True, repeat=True)
    capture_to(sink, settings).play([ArraySource(counting(1000))], stop)
    assert clock.now_us == 1_005_000
    assert sum(frame.samples for frame in sink.frames) == 16_000
    assert len(epochs_of(sink)) == 1


def test_a_pause_ends_the_epoch_and_the_sound_goes_on_where_it_was_left(
    clock: ManualClock, sink: MemorySink
) -> None:
    capture = capture_to(sink)
    clock.at(0.5, capture.pause)
    clock.at(3.0, capture.resume)
    capture.play([ArraySource(counting(16_000))], Event())
    assert np.array_equal(heard(sink.frames), counting(16_000))
    assert len(epochs_of(sink)) == 2
    before, after = ([f for f in sink.frames if f.epoch == epoch] for epoch in epochs_of(sink))
    paused_us = after[0].captured_at_us - before[-1].captured_at_us
    assert paused_us == pytest.approx(2_500_000, abs=100_000)
    assert sink.frames[-1].captured_at_us == clock.wall_us()


def test_a_stop_while_paused_is_immediate(clock: ManualClock, sink: MemorySink) -> None:
    stop, capture = Event(), capture_to(sink)
    clock.at(0.5, capture.pause)
    clock.at(7.0, stop.set)
    capture.play([ArraySource(counting(160_000))], stop)
    assert clock.now_us == 7_000_000
    assert sum(frame.samples for frame in sink.frames) == 8000


def test_a_step_of_the_wall_clock_opens_an_epoch_on_the_new_time(
    clock: ManualClock, sink: MemorySink
) -> None:
    clock.at(0.5, lambda: setattr(clock, "offset_us", clock.offset_us - 10_000_000))
    capture_to(sink).play([ArraySource(counting(16_000))], Event())
    before, after = ([f for f in sink.frames if f.epoch == epoch] for epoch in epochs_of(sink))
    assert len(before) + len(after) == len(sink.frames)
    assert after[-1].captured_at_us == clock.wall_us()
    assert before[-1].captured_at_us - after[0].captured_at_us == 10_000_000 - 20_000


def test_new_partitions_open_an_epoch(clock: ManualClock, sink: MemorySink) -> None:
    clock.at(1.5, lambda: setattr(sink, "partitions", 16))
    settings = CaptureSettings(partition_check_s=1.0)
    capture_to(sink, settings).play([ArraySource(counting(64_000))], Event())
    assert len(epochs_of(sink)) == 2
    first = [frame for frame in sink.frames if frame.epoch == epochs_of(sink)[0]]
    assert first[-1].end_sample == pytest.approx(32_000, abs=320)
    assert np.array_equal(heard(sink.frames), counting(64_000))


def test_frames_that_find_no_room_are_counted_as_lost(clock: ManualClock) -> None:
    sink = MemorySink(clock, room=3)
    played = capture_to(sink).play([ArraySource(counting(3200))], Event())
    assert played == Played(frames=3, samples=960, refused=7, epochs=1, losses=7, lost_samples=2240)


def test_a_buffer_that_was_full_is_said_once_and_ends_the_epoch_without_a_gap_inside_it(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    sink = MemorySink(clock, room=3)
    clock.at(0.155, lambda: setattr(sink, "room", None))
    played = capture_to(sink).play([ArraySource(counting(16_000))], Event())
    before, after = ([f for f in sink.frames if f.epoch == epoch] for epoch in epochs_of(sink))
    assert (before[-1].end_sample, after[0].first_sample) == (960, 0)
    assert np.array_equal(heard(before), counting(16_000)[:960])
    assert np.array_equal(heard(after), counting(16_000)[2240:])
    assert (played.refused, played.lost_samples, played.epochs) == (4, 1280, 2)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "roof: sound was lost: the publisher's buffer is full; 320 samples (0.02 s); "
        "what follows is a new epoch",
        "roof: sound was lost: the publisher's buffer is full; 3 times, 960 samples (0.06 s); "
        "what follows is a new epoch",
    ]


def test_what_was_read_of_a_source_that_breaks_is_published(sink: MemorySink) -> None:
    with pytest.raises(CaptureError, match="the cable was pulled"):
        capture_to(sink).play([BrokenSource(counting(400))], Event())
    assert np.array_equal(heard(sink.frames), counting(400))


def test_sound_without_a_known_end_cannot_have_just_ended(sink: MemorySink) -> None:
    source = ArraySource(counting(10))
    source.samples = None
    with pytest.raises(ConfigurationError, match="length is unknown"):
        capture_to(sink, CaptureSettings(pace=Pace.FAST)).play([source], Event())
    with pytest.raises(ConfigurationError, match="repeat"):
        CaptureSettings(pace=Pace.FAST, repeat=True)


def test_a_recording_reaches_the_topic_sample_for_sample(embedded: str) -> None:
    publisher = FramePublisher({"bootstrap.servers": embedded}, "captured", Codec())
    capture = Capture("roof", publisher, CaptureSettings(pace=Pace.FAST))
    played = capture.play([ArraySource(counting(20_000, 2))], Event())
    assert publisher.close(DEADLINE_S) == 0
    assert played.samples == publisher.samples_acknowledged["roof"] == 20_000
    frames = [record.frame for record in records_of(embedded, "captured", played.frames)]
    assert np.array_equal(heard(frames), counting(20_000, 2))
