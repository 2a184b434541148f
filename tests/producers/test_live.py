"""Live sound is published when it comes; wherever it breaks, an epoch ends and somebody says so."""

from collections.abc import Sequence
from threading import Event

import numpy as np
import pytest

from producers.framer import FramerSettings, duration_us
from producers.live import LiveCapture, LiveSettings
from producers.outlet import Played
from producers.source import Arrival, Arrivals, Loss, Room
from schemas.errors import CaptureError
from tests.producers.conftest import CountedEpochs, ManualClock, MemorySink, counting, heard

RATE_HZ = 16_000


class ScriptedSource:
    """Gives arrivals as they stand in a list, and fails at the end if it is told to."""

    name = "script"

    def __init__(self, arrivals: Sequence[Arrival], fails: bool = False) -> None:
        self._arrivals, self._fails = arrivals, fails
        self.closed = False

    def arrivals(self, room: Room, stop: Event) -> Arrivals:
        try:
            yield from self._arrivals
            if self._fails:
                raise CaptureError(self.name, "it is gone for good")
        finally:
            self.closed = True


def arrivals_of(clock: ManualClock, sizes: list[int], lost: dict[int, Loss] | None = None) -> list[Arrival]:
    """Cut a counting sound into arrivals that are exactly on time."""
    sound, end, made = counting(sum(sizes)), 0, []
    for number, size in enumerate(sizes):
        end += size
        at_us = clock.offset_us + duration_us(end, RATE_HZ)
        made.append(Arrival(sound[end - size : end], RATE_HZ, at_us, (lost or {}).get(number)))
    return made


def captured(sink: MemorySink, arrivals: list[Arrival], settings: LiveSettings | None = None) -> Played:
    capture = LiveCapture("roof", sink, settings, sink.clock, CountedEpochs())
    return capture.run(ScriptedSource(arrivals), Event())


def epochs_of(sink: MemorySink) -> list[bytes]:
    return list(dict.fromkeys(frame.epoch for frame in sink.frames))


def test_arrivals_of_any_size_become_the_same_frames(clock: ManualClock, sink: MemorySink) -> None:
    other = MemorySink(clock)
    captured(sink, arrivals_of(clock, [1, 319, 320, 1000, 7, 353]))
    captured(other, arrivals_of(clock, [2000]))
    assert np.array_equal(heard(sink.frames), counting(2000))
    assert [(f.first_sample, f.samples, f.data) for f in sink.frames] == [
        (f.first_sample, f.samples, f.data) for f in other.frames
    ]
    for one, same in zip(sink.frames, other.frames, strict=True):
        assert one.captured_at_us == pytest.approx(same.captured_at_us, abs=1)


def test_a_loss_ends_the_epoch_exactly_where_it_was_and_is_said_aloud(
    clock: ManualClock, sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    lost = {1: Loss(8000, "the cable was cut")}
    played = captured(sink, arrivals_of(clock, [500, 1000], lost))
    before, after = ([f for f in sink.frames if f.epoch == epoch] for epoch in epochs_of(sink))
    assert np.array_equal(heard(before), counting(500))
    assert np.array_equal(heard(after), counting(1500)[500:])
    assert after[0].first_sample == 0
    assert (played.epochs, played.losses, played.lost_samples) == (2, 1, 8000)
    (said,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert said.getMessage() == (
        "roof: sound was lost: the cable was cut; 8000 samples (0.50 s); what follows is a new epoch"
    )


def test_a_loss_that_nobody_counted_says_so(
    clock: ManualClock, sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    played = captured(sink, arrivals_of(clock, [320, 320], {1: Loss(None, "overflow")}))
    assert (played.losses, played.lost_samples) == (1, 0)
    assert "overflow; nobody knows how much; what follows is a new epoch" in caplog.text


def test_a_pause_opens_an_epoch_and_is_no_loss(
    clock: ManualClock, sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    played = captured(sink, arrivals_of(clock, [320, 320], {1: Loss(0, "it had stopped")}))
    assert (played.epochs, played.losses) == (2, 0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_losses_that_go_on_are_summed_up_in_a_line_every_ten_seconds(
    sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    class SlowSource(ScriptedSource):
        """A tenth of a second passes with each arrival."""

        def arrivals(self, room: Room, stop: Event) -> Arrivals:
            for arrival in self._arrivals:
                sink.clock.now_us += 100_000
                yield arrival

    sizes = [320] * 300
    arrivals = arrivals_of(sink.clock, sizes, {number: Loss(10, "bad luck") for number in range(1, 300)})
    LiveCapture("roof", sink, None, sink.clock).run(SlowSource(arrivals), Event())
    said = [record.getMessage() for record in caplog.records if "bad luck" in record.getMessage()]
    assert [line.split("; ")[1] for line in said] == [
        "10 samples (0.00 s)",
        "100 times, 1000 samples (0.06 s)",
        "100 times, 1000 samples (0.06 s)",
        "98 times, 980 samples (0.06 s)",
    ]


def test_a_full_buffer_is_never_waited_for_and_ends_the_epoch(clock: ManualClock) -> None:
    sink = MemorySink(clock, room=3)
    played = captured(sink, arrivals_of(clock, [320] * 10))
    assert clock.now_us == 0
    assert (played.frames, played.refused, played.lost_samples) == (3, 7, 2240)


def test_new_partitions_open_an_epoch(sink: MemorySink) -> None:
    class Growing(ScriptedSource):
        """The topic grows in the middle."""

        def arrivals(self, room: Room, stop: Event) -> Arrivals:
            yield from self._arrivals[:5]
            sink.partitions, sink.clock.now_us = 16, sink.clock.now_us + 2_000_000
            yield from self._arrivals[5:]

    settings = LiveSettings(partition_check_s=1.0)
    LiveCapture("roof", sink, settings, sink.clock).run(Growing(arrivals_of(sink.clock, [320] * 10)), Event())
    assert [sum(f.epoch == epoch for f in sink.frames) for epoch in epochs_of(sink)] == [5, 5]


def test_a_step_of_the_capture_clock_is_said(
    clock: ManualClock, sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = arrivals_of(clock, [320, 320])
    stepped = Arrival(second.block, RATE_HZ, second.captured_at_us + 3_600_000_000)
    assert captured(sink, [first, stepped]).epochs == 2
    assert "the clock stepped" in caplog.text


def test_what_came_of_a_source_that_is_gone_is_published(clock: ManualClock, sink: MemorySink) -> None:
    source = ScriptedSource(arrivals_of(clock, [500]), fails=True)
    with pytest.raises(CaptureError, match="gone for good"):
        LiveCapture("roof", sink, None, clock).run(source, Event())
    assert np.array_equal(heard(sink.frames), counting(500))
    assert source.closed


def test_a_source_is_closed_when_publishing_fails(clock: ManualClock) -> None:
    class Failing(MemorySink):
        """Cannot publish any more."""

        def publish(self, sensor: str, frame: object) -> None:
            raise CaptureError("sink", "failed for good")

    source = ScriptedSource(arrivals_of(clock, [320]))
    with pytest.raises(CaptureError, match="failed for good"):
        LiveCapture("roof", Failing(clock), None, clock).run(source, Event())
    assert source.closed


def test_frames_are_as_long_as_they_are_told_to_be(clock: ManualClock, sink: MemorySink) -> None:
    captured(sink, arrivals_of(clock, [1600] * 2), LiveSettings(framer=FramerSettings(frame_ms=100)))
    assert [frame.samples for frame in sink.frames] == [1600, 1600]
